"""One run of Weights & Biases: a second sink that can be absent, for training and analysis alike.

The local files are the truth, and no trouble here stops anything.  wandb is imported only where it is used.
Its first start costs about two seconds a process, a further run about 0.2 s (offline).
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

MODES = ("auto", "online", "offline", "disabled")
DEFAULT_PROJECT = "lora-section-7"

FOLDER = ".wandb"
START_TIMEOUT_SECONDS = 30.0
FINISH_TIMEOUT_SECONDS = 120.0

_OF_AGENT = ("WANDB_SWEEP_ID", "WANDB_RUN_ID", "WANDB_SWEEP_PARAM_PATH")
"""What an agent of a W&B sweep gives the process that it starts: the sweep, the run, its parameters."""
_TRUE = ("1", "on", "true", "yes")


class Tracker:
    """Where numbers go besides the files.  This one drops them.

    Attributes:
        where: an address, or the command that sends what was logged offline; empty where nothing was logged.
    """

    where = ""

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Values measured at an optimizer step."""

    def summary(self, values: Mapping[str, Any]) -> None:
        """Final figures."""

    def media(self, make: Callable[[Any], Mapping[str, Any]]) -> None:
        """Tables, images and pages: what `make` makes with the module wandb, which it is given."""

    def finish(self, succeeded: bool) -> None:
        """Close the run with its true status."""


class WandbTracker(Tracker):
    """One W&B run.  At its first failure it warns once and drops what follows."""

    def __init__(self, run: Any, where: str) -> None:
        self._run, self.where = run, where

    def log(self, values: Mapping[str, float], step: int) -> None:
        # The step is a value like the others: W&B's own counter never goes back, as a repeated run must.
        self._try(lambda run: run.log({**values, "step": step}))

    def summary(self, values: Mapping[str, Any]) -> None:
        self._try(lambda run: run.summary.update(values))

    def media(self, make: Callable[[Any], Mapping[str, Any]]) -> None:
        import wandb

        self._try(lambda run: run.log(dict(make(wandb))))

    def finish(self, succeeded: bool) -> None:
        self._try(lambda run: run.finish(exit_code=0 if succeeded else 1))

    def _try(self, action: Callable[[Any], object]) -> None:
        if self._run is None:
            return
        try:
            action(self._run)
        except Exception as error:
            self._run = None
            _warn(f"it broke down ({_line(error)}); this run goes on without it")


def wandb_id(study: str, name: str) -> str:
    """The W&B id of a thing of a study: what is repeated goes on under the id it had."""
    return hashlib.sha256(f"{study}/{name}".encode()).hexdigest()[:12]


# A start that failed is not tried again in this process: each try may cost a time-out.
_given_up = False


def start(
    study: Path,
    *,
    mode: str,
    project: str,
    entity: str | None,
    identity: Mapping[str, Any],
    switch: str = "wandb.mode=disabled",
    for_agent: bool = False,
) -> Tracker:
    """A started tracker, or one that drops all where W&B is disabled or cannot start.

    Args:
        study: the study's folder; what W&B writes lies in its hidden folder `.wandb`.
        mode: one of MODES.
        project: empty for `default_project`.
        identity: id, name, group, job_type, ... as `wandb.init` takes them; WANDB_TAGS come to its tags.
        switch: what a user writes to do without W&B, for the warning.
        for_agent: whether this is what an agent of a W&B sweep started, where there is one: then it logs into
            the agent's run, under the id and in the project of the sweep. All else is a run of its own, also
            under an agent.
    """
    global _given_up
    if _given_up:
        return Tracker()
    joined = for_agent and all(os.environ.get(name) for name in _OF_AGENT[:2])
    given = dict(identity)
    if joined:  # wandb takes id, project and entity from the agent
        given.pop("id", None)
    else:
        given |= {"project": project or default_project(), "entity": entity}
    tags = os.environ.get("WANDB_TAGS", "").split(",")
    given["tags"] = list(dict.fromkeys([*given.get("tags", ()), *filter(None, map(str.strip, tags))]))
    try:
        with contextlib.nullcontext() if joined else _without_agent():
            resolved = _mode(mode)
            if resolved == "disabled":
                return Tracker()
            import wandb

            # Made here, because wandb falls back to a temporary folder where it cannot write.
            folder = study / FOLDER
            folder.mkdir(parents=True, exist_ok=True)
            run = wandb.init(
                mode=resolved,
                dir=str(folder),
                resume="allow",
                reinit="create_new",
                settings=wandb.Settings(
                    silent=True,
                    console="off",
                    disable_git=True,
                    disable_code=True,
                    disable_job_creation=True,
                    save_code=False,
                    init_timeout=START_TIMEOUT_SECONDS,
                    finish_timeout=FINISH_TIMEOUT_SECONDS,
                ),
                **given,
            )
        run.define_metric("step", hidden=True)
        run.define_metric("*", step_metric="step")
    except Exception as error:
        _given_up = True
        _warn(f"it cannot start ({_line(error)}); runs go on without it ({switch}: no warning)")
        return Tracker()
    return WandbTracker(run, f"wandb sync {folder}/wandb/offline-run-*" if resolved == "offline" else run.url)


def default_project() -> str:
    """Where no project is given: that of WANDB_PROJECT, else DEFAULT_PROJECT."""
    return os.environ.get("WANDB_PROJECT") or DEFAULT_PROJECT


def _mode(mode: str) -> Any:
    """ "auto" is what WANDB_DISABLED and WANDB_MODE say, else online where there is an API key, else offline.

    WANDB_MODE=dryrun is W&B's older word for offline.
    """
    if mode != "auto":
        return mode
    if os.environ.get("WANDB_DISABLED", "").strip().lower() in _TRUE:
        return "disabled"
    named = os.environ.get("WANDB_MODE", "").strip().lower()
    return named or ("online" if _has_key() else "offline")


@contextlib.contextmanager
def _without_agent() -> Iterator[None]:
    """Let W&B not see that an agent of a sweep started this process: it would log every run into the agent's.

    W&B reads these variables once a process, when it is first used.
    """
    hidden = {name: os.environ.pop(name) for name in _OF_AGENT if name in os.environ}
    try:
        yield
    finally:
        os.environ |= hidden


@functools.cache
def _has_key() -> bool:
    """Whether W&B finds an API key: in the environment, in .netrc or in its settings.  Never prompts."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    import wandb

    with contextlib.redirect_stderr(io.StringIO()):
        return wandb.login(prompt=False, verify=False)


def _line(error: Exception) -> str:
    text = " ".join(str(error).split())[:200]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _warn(what: str) -> None:
    print(f"warning: Weights & Biases: {what}", file=sys.stderr, flush=True)
