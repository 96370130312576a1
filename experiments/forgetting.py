"""What a run forgets: the loss on the base model's own pretraining text, before and after adaptation.

    python run.py forgetting=true             the embedded model, whose text is generated
    python run.py model=... forgetting=FILE   another text model, and a file of text as it was trained on

Of a finished run the same is measured without training, from the parameters in its folder.  It is no part of
a run's address: nothing of the run changes.  Biderman et al. (arXiv 2405.09673) and Shuttleworth et al.
(2410.21228) measure forgetting so.
"""

from __future__ import annotations

import copy
import functools
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from experiments.errors import UserError
from experiments.identity import file_sha256
from experiments.models import EMBEDDED
from experiments.objective import Encoded, Objective

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from experiments.config import RunConfig
    from experiments.store import RunFolder
    from experiments.text_objective import TextObjective
    from experiments.workbench import Workbench

SEED = 1_000_003
"""Of the embedded model's text: a stream of documents that no pretraining has drawn from."""
DOCUMENTS = 600
TOKENS = 2**16
"""Of a file, from its beginning."""
AT_ONCE = 2048
"""Tokens that are predicted together, each from the whole vocabulary."""
FILE = "file:"


@dataclass(frozen=True)
class Text:
    """Pretraining text, and how well the base model knows it.

    Attributes:
        identity: of its content.
        pieces: each by itself, from its first token on.
        before: the base model's loss, in nats a token.
    """

    identity: str
    pieces: tuple[Encoded, ...]
    before: float

    @property
    def tokens(self) -> int:
        """That are predicted: all but the first of each piece."""
        return sum(len(piece.ids) - piece.target_start for piece in self.pieces)


def text_of(config: RunConfig) -> str:
    """What names the text that is asked for.

    Raises:
        UserError: there is none for this model, or no such file.
    """
    if config.forgetting is True:
        if config.model.name == EMBEDDED:
            return f"{EMBEDDED}:{hashlib.sha256(repr(_drawn()).encode()).hexdigest()[:16]}"
        raise UserError(
            f"forgetting=true is the embedded model's, whose pretraining text is known; for "
            f"{config.model.name} give a file of text such as it was trained on: forgetting=FILE"
        )
    file = Path(str(config.forgetting)).expanduser()
    if not file.is_file():
        raise UserError(f"forgetting={config.forgetting}: there is no such file; give true or a file of text")
    return f"{FILE}{file_sha256(file)[:16]}"


def lacks(config: RunConfig, record: Mapping[str, Any]) -> bool:
    """Whether forgetting is asked for, and a finished run's record does not tell it of this text."""
    return bool(config.forgetting) and record.get("forgetting", {}).get("text") != text_of(config)


def pretraining_text(config: RunConfig, bench: Workbench, device: torch.device, precision: str) -> Text:
    """The text that is asked for, with the base model's loss on it; made once a process.

    Raises:
        UserError: as `text_of`; the model is an encoder, the file is no text of its words or too short.
    """
    if not bench.base.generates:
        raise UserError(
            f"forgetting: {config.model.name} is an encoder, which predicts no next token; forgetting is "
            "measured of text models"
        )
    objective = cast("TextObjective", bench.objective)
    limit = bench.base.max_length
    return _text(
        text_of(config), str(config.forgetting), bench.base.model, objective, limit, device, precision
    )


@functools.lru_cache(maxsize=1)
def _text(
    identity: str,
    source: str,
    base: PreTrainedModel,
    objective: TextObjective,
    limit: int,
    device: torch.device,
    precision: str,
) -> Text:
    file = Path(source).expanduser()
    found = _windows(file, objective, limit) if identity.startswith(FILE) else _documents(objective, limit)
    pieces = tuple(Encoded(tuple(ids), 1) for ids in found)
    if device.type != "cpu":  # the base model stays where it is
        base = copy.deepcopy(base).to(device)
    return Text(identity, pieces, loss_on(pieces, base, objective, device, precision))


@functools.cache
def _drawn() -> tuple[str, ...]:
    from experiments.embedded.pretraining import documents

    return tuple(f"{one.text} {one.answer}" for one in islice(documents(SEED), DOCUMENTS))


def _documents(objective: TextObjective, limit: int) -> Iterator[list[int]]:
    """Of the embedded model's text; as in its pretraining, one that does not fit is left out."""
    for ids in objective.tokenizer([*_drawn()])["input_ids"]:
        if len(ids) < limit:
            yield [*ids, objective.tokenizer.eos_token_id]


def _windows(file: Path, objective: TextObjective, limit: int) -> Iterator[list[int]]:
    """The file's tokens in rows as long as the model reads, each after the tokenizer's first token."""
    tokenizer = objective.tokenizer
    try:
        ids = tokenizer(file.read_text(encoding="utf-8"), add_special_tokens=False)["input_ids"][:TOKENS]
    except (OSError, ValueError) as error:
        raise UserError(f"forgetting={file} cannot be read as text: {error}") from error
    unknown = tokenizer.unk_token_id
    if unknown not in (None, tokenizer.eos_token_id) and ids.count(unknown) > len(ids) / 10:
        raise UserError(f"forgetting={file}: more than a tenth of its words are unknown to this model")
    if len(ids) < 2:
        raise UserError(f"forgetting={file} has fewer than two tokens; give a longer text")
    room = limit - len(objective.start)
    for begin in range(0, len(ids) - 1, room):
        yield [*objective.start, *ids[begin : begin + room]]


def loss_on(
    pieces: Sequence[Encoded],
    model: PreTrainedModel,
    objective: Objective,
    device: torch.device,
    precision: str,
) -> float:
    """Mean cross-entropy of each token given those before it in its piece, in nats."""
    import torch

    from experiments.batches import evaluation_batches
    from experiments.device import autocast

    training = model.training
    model.eval()
    lengths = [len(piece.ids) for piece in pieces]
    total = 0.0
    with torch.inference_mode(), autocast(device, precision):
        for batch in evaluation_batches(lengths, max(1, AT_ONCE // max(lengths))):
            chosen = [pieces[index] for index in batch]
            count = sum(len(piece.ids) - piece.target_start for piece in chosen)
            total += count * objective.loss(model, chosen, device, 0.0).item()
    model.train(training)
    return total / sum(len(piece.ids) - piece.target_start for piece in pieces)


def told(text: Text, last: float, best: float) -> dict[str, Any]:
    """What a run's record says: losses in nats a token, before, and after at both checkpoints."""
    return {
        "text": text.identity,
        "tokens": text.tokens,
        "before": text.before,
        "last": last,
        "best": best,
    }


def of_finished(
    config: RunConfig,
    bench: Workbench,
    folder: RunFolder,
    device: torch.device,
    precision: str,
    source: RunFolder | None,
) -> dict[str, Any]:
    """What a finished run has forgotten, from what its folder holds; nothing is trained.

    Args:
        source: the run that it starts from, where it does.

    Raises:
        UserError: as `pretraining_text`, or the run did not keep all that it trained.
    """
    from experiments.methods import lookup

    method = lookup(config.method)
    text = pretraining_text(config, bench, device, precision)
    model = method.prepare(bench.base.model, config).to(device)
    losses = {}
    for best in (False, True):
        if source is not None:
            method.begin(model, config, source)
        else:
            method.load(model, folder, best)
        losses["best" if best else "last"] = loss_on(text.pieces, model, bench.objective, device, precision)
    return told(text, **losses)
