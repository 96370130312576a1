"""Train every run behind the paper's tables and figures, then make them.

    python scripts/reproduce.py                        the embedded model, both tasks, seeds 0 to 4
    python scripts/reproduce.py --seeds 1              the short version: seed 0 alone
    python scripts/reproduce.py --study mine --workers 1 model=gpt2-medium device=cuda
    python scripts/reproduce.py --dry-run              what would be trained, and what is missing for it

The runs are those of the experiments in conf/experiment, each trained once. Finished ones are kept, a failed
one does not stop the rest, and after Ctrl-C, a crash or kill -9 the same command goes on with the rest.
What is not an option is an override, as for run.py, and beats the experiments.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from experiments.dry_run import dry_run, stay_offline
from experiments.errors import AbsentError, UserError
from experiments.plan import PlannedRun, experiment_names, plan_experiments
from experiments.terminal import spoken
from run import INTERRUPTED, INTERRUPTED_LINE

DONE, FAILED, WRONG_USE = 0, 1, 2
SECTION_7 = (
    *("table5", "table6", "table7", "fig3", "fig4", "subspaces", "table15_mixed_ranks", "baselines"),
    "truncation",
)
"""The experiments of the paper's Section 7, which are all that is made unless others are asked for."""
COMPARE_SEEDS = ("fig4", "fig7")
"""Commands of the analysis that one seed is not enough for."""
TRAINED_BY = {"fig6": "fig3", "fig7": "fig4", "fig8": "subspaces"}
"""The experiment that trains a command's runs, where it has not the command's name."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 0; 1 where a run or a result failed; 2 for wrong use; 130 for Ctrl-C."""
    options, overrides = _parser().parse_known_args(arguments)
    status = WRONG_USE
    try:
        if options.dry_run:
            stay_offline()
            return dry_run(_planned(options, overrides), options.workers)
        runs = _planned(options, overrides)
        status = FAILED
        return _reproduce(runs, options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED if isinstance(error, AbsentError) else status
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
    add("--seeds", type=int, default=5, metavar="N", help="seeds 0 to N - 1 (default: %(default)s)")
    add("--workers", type=int, metavar="N", help="processes (default: one an idle core, or GPU)")
    add("--out", type=Path, metavar="DIR", help="where the analysis writes (default: results/STUDY)")
    add("--dry-run", action="store_true", help="print the plan, what is missing and a guess of the cost")
    known = experiment_names()
    names = f"of conf/experiment: {', '.join(known)} (default: those of Section 7)"
    add("--experiments", default=",".join(sorted(SECTION_7)), metavar="NAME,NAME", help=names)
    return parser


def _planned(options: argparse.Namespace, overrides: Sequence[str]) -> list[PlannedRun]:
    """The runs, all of one study.

    Raises:
        UserError: an override is not valid, or spreads the runs over several studies.
    """
    options_given = [word for word in overrides if word.startswith("-")]
    if options_given:
        raise UserError(f"{options_given[0]} is not an option (python scripts/reproduce.py --help)")
    runs = plan_experiments(
        options.experiments.split(","),
        [f"study={options.study}", f"seed=range(0,{options.seeds})", *overrides],
    )
    if len({(str(run.config.root), run.config.study) for run in runs}) > 1:
        raise UserError("the runs lie in several studies; give one study and one root")
    return runs


def _reproduce(runs: Sequence[PlannedRun], options: argparse.Namespace) -> int:
    from analysis.commands import main as analyse
    from analysis.reading.study import Study
    from experiments.engine import train

    config = runs[0].config
    print(f"study {config.study}: ", end="", flush=True)
    outcomes = train(runs, options.workers)
    project = "/".join(filter(None, (config.wandb.entity, config.wandb.project)))
    place = ["--study", config.study, "--root", str(config.root)]
    out = ["--out", str(options.out or Path("results") / config.study)]
    skipped = _skipped(runs, options.experiments.split(","))
    skip = ["--skip", ",".join(skipped)] if skipped else []
    status = analyse(["all", *place, *out, *skip, "--wandb", config.wandb.mode, "--project", project])
    if status == INTERRUPTED:
        raise KeyboardInterrupt
    for name, reason in skipped.items():
        print(f"not made: {name}: {reason}")
    left_out = dict(Study.open(config.study, config.root).left_out)
    for run, outcome in zip(runs, outcomes, strict=True):
        if outcome.status not in ("finished", "kept"):
            print(f"failed: {outcome.name}: {outcome.error}\n    {run.command}", file=sys.stderr)
            status = FAILED
        elif outcome.name in left_out:
            print(
                f"damaged: {outcome.name}: {left_out[outcome.name]}\n    {run.command} force=true",
                file=sys.stderr,
            )
            status = FAILED
    return status


def _skipped(runs: Sequence[PlannedRun], asked: Sequence[str]) -> dict[str, str]:
    """The results that the analysis need not try, and why."""
    from analysis.registry import COMMANDS, always

    not_asked = {*experiment_names()} - {*asked}
    skipped = {
        name: "its experiment was not asked for"
        for name, command in COMMANDS.items()
        if TRAINED_BY.get(name, name) in not_asked and command.applies is always
    }
    if len({run.config.seed for run in runs}) == 1:
        skipped |= dict.fromkeys(COMPARE_SEEDS, "it compares seeds, and there is one")
    return skipped


if __name__ == "__main__":
    sys.exit(spoken(main))
