"""The error for what a user can mend, shown as one line without a traceback, and what was probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

OTHER_NAMES = {
    "r": "rank",
    "lora_r": "rank",
    "lora_alpha": "alpha",
    "lora_dropout": "dropout",
    "use_rslora": "scaling",
    "target_modules": "targets",
    "learning_rate": "lr",
    "max_steps": "steps",
    "num_train_epochs": "epochs",
    "per_device_train_batch_size": "batch_size",
    "gradient_accumulation_steps": "accumulate",
    "warmup_ratio": "warmup",
    "warmup_steps": "warmup",
    "max_grad_norm": "clip",
    "label_smoothing_factor": "label_smoothing",
    "eval_steps": "eval_every",
    "logging_steps": "log_every",
    "output_dir": "root",
}
"""What PEFT and the transformers Trainer call a key of ours."""


class UserError(Exception):
    """The message names what was given, what is valid, and what to do."""


class AbsentError(UserError):
    """A package or program that the command needs is not installed here; the command itself is right."""


class HubError(UserError):
    """Data of the hub that is out of reach: there is no network, or no such data."""


def nearest(word: str, choices: Iterable[str]) -> str:
    """ " Did you mean ...?" where one choice is closer to the word than the others, else nothing.

    The only one that begins with the word is closest: acc, accuracy.
    """
    choices = list(choices)
    begun = [choice for choice in choices if len(str(word)) > 2 and choice.startswith(str(word))]
    if len(begun) == 1:
        return f"; did you mean {begun[0]}?"
    close = difflib.get_close_matches(str(word), choices, n=2)
    alike = [difflib.SequenceMatcher(None, choice, str(word)).ratio() for choice in close]
    return f"; did you mean {close[0]}?" if len(set(alike)) == len(close) > 0 else ""
