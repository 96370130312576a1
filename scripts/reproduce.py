"""Train every run behind the paper's tables and figures, then make them.

    python scripts/reproduce.py                        the embedded model, both tasks, seeds 0 to 4
    python scripts/reproduce.py --seeds 1              the short version: seed 0 alone
    python scripts/reproduce.py --study mine --workers 1 model=gpt2-medium device=cuda

The runs are those of the experiments in conf/experiment, each trained once. Finished ones are kept, a failed
one does not stop the rest, and after Ctrl-C or worse the same command goes on with what is missing. What is
not an option is an override, as for run.py, and beats the experiments.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from experiments.errors import UserError
from experiments.plan import PlannedRun, experiment_names, plan

if TYPE_CHECKING:
    from experiments.config import RunConfig
    from experiments.job import Outcome
    from experiments.progress import Progress
    from experiments.reproduction import Stored

DONE, FAILED, WRONG_USE, INTERRUPTED = 0, 1, 2, 130
INTERRUPTED_LINE = (
    "interrupted: finished runs are kept; the same command skips them and goes on with what is missing"
)
COMPARE_SEEDS = ("fig4", "fig7")
"""Commands of the analysis that one seed is not enough for."""
LACKS = " lacks "
"""What a command says of a study without its runs."""
TRAINED_BY = {"fig6": "fig3", "fig7": "fig4", "fig8": "subspaces"}
"""The experiment that trains a command's runs, where it has not the command's name."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 0; 1 where a run or a result failed; 2 for wrong use; 130 for Ctrl-C."""
    options, overrides = _parser().parse_known_args(arguments)
    status = WRONG_USE
    try:
        runs = _planned(options, overrides)
        status = FAILED
        return _reproduce(runs, options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return status
    except KeyboardInterrupt:
        print(f"\n{INTERRUPTED_LINE}", file=sys.stderr)
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        usage="python scripts/reproduce.py [option ...] [key=value ...]",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--study", default="embedded", metavar="NAME", help="where the runs lie (default: %(default)s)")
    add("--seeds", type=_positive, default=5, metavar="N", help="seeds 0 to N - 1 (default: %(default)s)")
    add("--workers", type=_positive, metavar="N", help="processes of one thread (default: one a core)")
    add("--out", type=Path, metavar="DIR", help="where the analysis writes (default: results/STUDY)")
    known = experiment_names()
    names = f"of conf/experiment: {', '.join(known)} (default: all)"
    add("--experiments", type=_experiments, default=known, metavar="NAME,NAME", help=names)
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not valid; give a number of at least 1")
    return int(text)


def _experiments(text: str) -> list[str]:
    names, known = text.split(","), experiment_names()
    for name in names:
        if name not in known:
            raise argparse.ArgumentTypeError(f"{name!r} is unknown; valid are {', '.join(known)}")
    return names


def _planned(options: argparse.Namespace, overrides: Sequence[str]) -> list[PlannedRun]:
    """The runs, all of one study.

    Raises:
        UserError: an override is not valid, or spreads the runs over several studies.
    """
    options_given = [word for word in overrides if word.startswith("-")]
    if options_given:
        raise UserError(f"{options_given[0]} is not an option (python scripts/reproduce.py --help)")
    seeds = ",".join(map(str, range(options.seeds)))
    runs = plan(options.experiments, [f"study={options.study}", f"seed={seeds}", *overrides])
    places = {(str(run.config.root), run.config.study) for run in runs}
    if len(places) > 1:
        raise UserError("the runs lie in several studies; give one study and one root")
    return runs


def _reproduce(runs: Sequence[PlannedRun], options: argparse.Namespace) -> int:
    from experiments import analysing
    from experiments.progress import show
    from experiments.reproduction import look_up
    from experiments.workers import repeat

    study = runs[0].config.study
    out = options.out or Path("results") / study
    stored = look_up(runs)
    kept = sum(one.record is not None for one in stored)
    print(f"study {study}: {len(runs)} runs, {kept} finished before", flush=True)
    progress = show(study, len(runs), kept)
    try:
        failed = _train(stored, options.workers or _cores(), progress)
        results = analysing.analyse(_analysis(runs[0].config, out), _results(runs), progress)
    finally:
        progress.close()
    print(f"\n{results.text}\n\n{progress.summary()}; {progress.gone()}; results in {out}", flush=True)
    for outcome in failed:
        print(f"failed: {outcome.name}: {outcome.error}\n    {outcome.command}", file=sys.stderr)
    damaged = _damaged(stored, failed, results.left_out)
    for one in damaged:
        reason = results.left_out[one.folder.id]
        print(f"damaged: {one.folder.id}: {reason}\n    {repeat(one.run)} force=true", file=sys.stderr)
    one_seed = len({run.config.seed for run in runs}) == 1
    others = {*experiment_names()} - {*options.experiments}
    complete = not failed and not damaged
    for error in results.errors:
        result = error.partition(": ")[0]
        name = result.partition(",")[0]
        if one_seed and error.startswith(COMPARE_SEEDS) and LACKS in error:
            print(f"not made: {result}: it compares seeds, and there is one")
        elif TRAINED_BY.get(name, name) in others and LACKS in error:
            print(f"not made: {result}: its experiment was not asked for")
        else:
            print(f"error: {error}", file=sys.stderr)
            complete = False
    return DONE if complete else FAILED


def _train(stored: Sequence[Stored], workers: int, progress: Progress) -> list[Outcome]:
    """Train what is missing; the runs that failed."""
    from experiments.reproduction import Reproduction, log_folder
    from experiments.workers import Pool, train_run

    missing = [one for one in stored if one.record is None]
    if not missing:
        return []
    config = missing[0].run.config
    with Pool(min(workers, len(missing)), train_run, log_folder(config.root, config.study)) as pool:
        return Reproduction(stored, pool, progress).train()


def _damaged(
    stored: Sequence[Stored], failed: Sequence[Outcome], left_out: Mapping[str, str]
) -> list[Stored]:
    """The runs that are finished, and that the analysis cannot read all the same."""
    told = {outcome.name for outcome in failed}
    return [one for one in stored if one.folder.id in left_out and one.folder.id not in told]


def _cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _analysis(config: RunConfig, out: Path) -> list[str]:
    """The arguments of `python -m analysis`."""
    project = "/".join(filter(None, (config.wandb.entity, config.wandb.project)))
    place = ["--study", config.study, "--root", str(config.root), "--out", str(out)]
    return ["all", *place, "--wandb", config.wandb.mode, "--project", project]


def _results(runs: Sequence[PlannedRun]) -> int:
    """How many results `python -m analysis all` should have."""
    from analysis.commands import COMMANDS

    tasks = len({run.config.task.name for run in runs})
    return sum(1 if command.every_task else tasks for command in COMMANDS.values())


if __name__ == "__main__":
    sys.exit(main())
