"""Train one run, or a sweep with -m.  `python run.py --help` explains each key."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import hydra
from omegaconf import DictConfig

from experiments.config import CONF
from experiments.errors import AbsentError, UserError
from experiments.job import SWEEP
from experiments.overrides import quoted, with_searchpath
from experiments.plan import LAUNCHED, make_studies, plan
from experiments.terminal import spoken

DRY_RUN = "--dry-run"
INTERRUPTED = 130
INTERRUPTED_LINE = (
    "interrupted: finished runs are kept; the same command skips them and goes on with what is missing"
)


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def train(config: DictConfig) -> float | None:
    from experiments.launch import launch

    return launch(config)


def main() -> int:
    """The exit status: 0; 1 for a failed run; 2 for a wrong command line; 130 for Ctrl-C."""
    # Hydra cannot read a "~", which shells leave where it follows a "=".
    home = "=" + os.path.expanduser("~")
    words = [quoted(re.sub(r"=~(?=/|$)", home, word)) for word in sys.argv[1:]]
    if any(re.match(r"task=.*[,(]", word) for word in words):
        # Hydra composes a sweep over tasks with the default one first, which may lack a key of theirs.
        words = [re.sub(r"^task\.", "++task.", word) for word in words]
    sys.argv[1:] = words
    if {"--help", "-h"} & {*sys.argv[1:]}:
        from experiments.help import help_page

        print(help_page(sys.argv[1:]), end="")
        return 0
    if DRY_RUN in sys.argv[1:]:
        return _dry_run([word for word in sys.argv[1:] if word != DRY_RUN])
    since = time.time()
    os.environ[SWEEP] = repr(since)
    try:
        sys.argv[1:] = with_searchpath(sys.argv[1:])
        planned = plan(sys.argv[1:])
        make_studies(planned.runs)
    except UserError as error:
        return _refused(error)
    if planned.logs:
        print(f"one job a run, through submitit; what they print is in {planned.logs}", flush=True)
    status = 0
    try:
        train()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except KeyboardInterrupt:
        status = INTERRUPTED
    for run in planned.runs:  # where nothing came of it, nothing is left
        for folder in (run.config.root / run.config.study, run.config.root):
            with contextlib.suppress(OSError):
                folder.rmdir()
    complete = True
    runs = LAUNCHED or (planned.runs if planned.sweep else [])
    if runs and status in (0, INTERRUPTED):
        from experiments.sweep import report, tell_next

        complete = report(runs, since)
        if len({run.config.seed for run in runs}) > 1:
            _answer({(run.config.study, run.config.root): run for run in runs})
        tell_next(runs, since)
    if status == INTERRUPTED:
        print(f"\n{INTERRUPTED_LINE}", file=sys.stderr)
    return status or (0 if complete else 1)


def _dry_run(arguments: Sequence[str]) -> int:
    from experiments.dry_run import dry_run, stay_offline

    stay_offline()
    try:
        planned = plan(with_searchpath(arguments))
        if not planned.runs:
            raise UserError(f"{DRY_RUN} shows a plan, and here there is none: Hydra alone knows what runs")
    except UserError as error:
        return _refused(error)
    return dry_run(planned.runs, planned.workers)


def _refused(error: UserError) -> int:
    """Tell why; the exit status: 1 where something is not installed here, 2 where the command is wrong."""
    print(f"error: {error}", file=sys.stderr)
    return 1 if isinstance(error, AbsentError) else 2


def _answer(studies: Iterable[tuple[str, Path]]) -> None:
    """Which weights and which rank, as far as the seeds say; no trouble here is worth a failed sweep."""
    from analysis.answer import of_study
    from analysis.errors import AnalysisError

    with contextlib.suppress(AnalysisError):
        for study, root in studies:
            print("", *of_study(study, root), sep="\n", flush=True)


if __name__ == "__main__":
    sys.exit(spoken(main))
