"""The command line of `python -m analysis`: which figure or table, of which study, seen how.

Nothing here imports torch, scipy, pandas or matplotlib before a command is really run.
"""

from __future__ import annotations

import argparse
import re
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis import arguments
from analysis.checkup import commands as checkup
from analysis.defaults import (
    BASES,
    CHECKPOINTS,
    DEFAULT_BASIS,
    DEFAULT_CHECKPOINT,
    DEFAULT_DEVICE,
    DEFAULT_MARGIN,
    DEFAULT_ROOT,
    DEFAULT_SPLIT,
    DEFAULT_TARGETS,
    SPLITS,
)
from analysis.errors import AnalysisError, LackingError, UsageError
from analysis.provenance import folder_of
from analysis.reading.files import unreadable
from analysis.reading.needs import targets_name
from analysis.registry import COMMANDS, MADE, SELECTION, Command, Made
from experiments.errors import nearest
from experiments.wandb_run import DEFAULT_PROJECT, MODES, default_project

if TYPE_CHECKING:
    from analysis.reading.study import Study
    from analysis.result import Result
    from analysis.selection import Selection

DONE, FAILED, WRONG_USE, INTERRUPTED = 0, 1, 2, 130

DESCRIPTION = """\
Section 7 of the LoRA paper (which weights, which rank, what the update does) from the finished runs of a
study, which run.py trained. Reads only; trains nothing.

  python -m analysis COMMAND --study NAME [option ...]
  python -m analysis COMMAND --help                       what a command takes
"""

EXAMPLES = """\
Examples
  python -m analysis grid --study default                 of a first sweep: which of its adapters will do
  python -m analysis all --study mine                     whatever the study has the runs for
  python -m analysis report --study mine --wandb disabled
  python -m analysis fig4 --study mine --task sql --basis dW-right --layer 4 --seeds 0,2
  python -m analysis table6 --study embedded --root results/embedded/runs     of the runs in this repository
  python -m analysis inspect my-adapter --base gpt2 --html page.html

Results go into results/STUDY; those of one task alone into results/STUDY/TASK, where the study has several.
Figures come as PDF, PNG and a CSV of every number drawn, tables as Markdown, LaTeX and CSV, each with its
caption and provenance. The report is one HTML page, and goes to Weights & Biases too. What a study lacks is
named, with the commands that train it.

Of what the paper leaves open, the basis (--basis) matters most: A is the paper's (right singular vectors of A
alone); dW-right orders the same space by what dW does; dW-left and B lie in output space; A-A0 is what
training moved.
"""

SECTIONS = {
    "first": "Start here",
    "subspaces": "Subspaces of dW",
    "tables": "Tables",
    "folded": "More of the study",
    "all": "All of it",
    "adapter": "Any adapter on disk, whoever trained it",
}
"""Of the help page: the places of the report, then what has none."""


ALL = "all"
ALSO_CALLED = {"phi": "fig3", "subspaces": "fig3", "verdicts": "claims", "amplification": "table7"}
ARCHIVE = "archive"
ACROSS = "across"
FROM = "from_"
"""A word of Python's own needs another name as a parameter."""


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; its exit status: 0, 1 where it cannot be done, 2 for wrong use, 130 for Ctrl-C."""
    try:
        options = _parser().parse_args(words)
    except SystemExit as end:  # argparse has printed help (0) or the error (2)
        return int(end.code or 0)
    try:
        return _run(options)
    except AnalysisError as error:
        print(f"error: {error}", file=sys.stderr)
        return WRONG_USE if isinstance(error, UsageError) else FAILED
    except KeyboardInterrupt:
        print("interrupted: files already written are whole", file=sys.stderr)
        return INTERRUPTED


def _run(options: argparse.Namespace) -> int:
    if options.command in checkup.HELP:
        return checkup.run(options)
    if options.command == ACROSS:
        return _across(options)
    from analysis.reading.study import Study
    from analysis.result import write
    from analysis.selection import Selection

    study = Study.open(options.study, options.root) if options.study else _without_runs(options)
    for run, reason in study.left_out:
        print(f"left out: {run}: {reason}", file=sys.stderr)
    if options.command == ARCHIVE:
        return _archive(study, options)
    together = Selection.of_tasks(study, **_chosen(options))
    status = DONE
    made: Made = {}
    names = (
        [name for name in COMMANDS if name not in options.skip and COMMANDS[name].applies(together)]
        if options.command == ALL
        else [options.command]
    )
    for name in names:
        command = COMMANDS[name]
        if command.every_task or options.command == ALL:
            selections = command.selections(together)
        else:
            selections = [Selection.of(study, **_chosen(options))]
        for selection in selections:
            try:
                result = _result(command, selection, options, made)
                made[name, selection.task] = result
            except AnalysisError as error:
                made[name, selection.task] = error
                if options.command != ALL:
                    raise
                where = name if len(selections) == 1 else f"{name}, {selection.task}"
                lacking = isinstance(error, LackingError)  # what nobody asked of this study is no failure
                print(f"{'not made' if lacking else 'error'}: {where}: {error}", file=sys.stderr)
                folder = _folder(options, selection, len(selections) > 1)
                if (folder / f"{name}.json").exists():
                    print(f"  {folder} has {name} of an earlier time, which stays", file=sys.stderr)
                status = status if lacking else FAILED
                continue
            for path in write(result, _folder(options, selection, len(selections) > 1)):
                print(path)
            if printed := result.printed():
                print(f"\n{printed}\n")
            if command.sums_up:
                from analysis.report import publish

                publish(selection, result, made, options.wandb, options.project)
    return status if any(not isinstance(one, AnalysisError) for one in made.values()) else FAILED


def _across(options: argparse.Namespace) -> int:
    from analysis.claims.across import across
    from analysis.result import write

    result = across(options.folders)
    for path in write(result, options.out):
        print(path)
    print(f"\n{result.printed()}\n")
    return DONE


def _without_runs(options: argparse.Namespace) -> Study:
    """A study that is only a name, for the file given with --from."""
    from analysis.reading.study import Study

    if options.from_ is None:
        raise UsageError(f"{options.command}: give the study with --study, or a file of its own with --from")
    return Study(options.from_.stem, options.root, (), ())


def _archive(study: Study, options: argparse.Namespace) -> int:
    from analysis.reading.archive import archive

    try:
        made = archive(
            study, options.out, {name: COMMANDS[name] for name in options.adapters}, options.rounded
        )
    except OSError as error:
        raise AnalysisError(f"{error.filename} cannot be copied: {error.strerror or error}") from None
    print(
        f"{made.folder}: {made.runs} runs, {made.with_adapters} with adapters ({made.rounded} in float16), "
        f"{made.size / 1e6:.1f} MB"
    )
    return DONE


def _result(command: Command, selection: Selection, options: argparse.Namespace, made: Made) -> Result:
    own = {option: getattr(options, option) for option in command.own if option in options}
    if command.sums_up:
        own[MADE] = made
    try:
        return command.make(selection, **own)
    except OSError as error:  # what was there when the study was opened is gone, or may not be read
        raise AnalysisError(f"{error.filename} {unreadable(error)}") from None


def _chosen(options: argparse.Namespace) -> dict[str, Any]:
    """What the command's options say of a selection."""
    chosen = {name: value for name, value in vars(options).items() if name in SELECTION or name == "split"}
    if chosen.get("layer") is not None:
        chosen["layer"] -= 1
    chosen["choice"] = dict(chosen.pop("choose", ()))
    return chosen


def _folder(options: argparse.Namespace, selection: Any, several: bool) -> Path:
    """Where a result goes; `several`: its command makes one for each task."""
    if options.out is None:
        return Path(folder_of(selection, Path("results")))
    return Path(options.out / selection.task if several else options.out)


def _meant(word: str, names: Sequence[str]) -> str:
    """What was probably meant by a name that no command has: figure3, fig.3, phi, verdicts."""
    short = re.sub(r"[^a-z0-9]", "", word.lower())
    short = re.sub(r"^(?:tab|t)(?=\d)", "table", re.sub(r"^(?:figure|f)(?=\d)", "fig", short))
    short = ALSO_CALLED.get(short, short)
    return f"; did you mean {short}?" if short in names else nearest(word, names)


class _Parser(argparse.ArgumentParser):
    """Errors as one line."""

    def error(self, message: str) -> Any:
        given = re.match(r"argument COMMAND: invalid choice: '([^']*)'", message)
        if given:
            names = (*COMMANDS, ALL, ARCHIVE, ACROSS, *checkup.HELP)
            message = f"{given[1]!r} is no command; valid are {', '.join(names)}{_meant(given[1], names)}"
        self.exit(WRONG_USE, f"error: {message} (see {self.prog} --help)\n")


class _Page(_Parser):
    """The help page of all commands, by what they are about."""

    def format_help(self) -> str:
        parsers: dict[str, argparse.ArgumentParser] = {}
        for action in self._actions:
            if isinstance(action.choices, dict):
                parsers = action.choices
        sections: dict[str, list[str]] = {section: [] for section in SECTIONS}
        for name, parser in parsers.items():
            one = COMMANDS.get(name)
            section = "adapter" if name in checkup.HELP else "all"
            if one is not None and not one.sums_up:
                section = one.place
            lines = textwrap.wrap(str(parser.description), 94)
            sections[section] += [f"  {name:12}{lines[0]}", *(f"{'':14}{line}" for line in lines[1:])]
        listed = ["\n".join([SECTIONS[section], *lines]) for section, lines in sections.items() if lines]
        return "\n\n".join([DESCRIPTION.rstrip(), *listed, EXAMPLES])


def _parser() -> argparse.ArgumentParser:
    style: dict[str, Any] = {"formatter_class": argparse.RawDescriptionHelpFormatter}
    parser = _Page("python -m analysis")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)
    for name, command in COMMANDS.items():
        subparser = commands.add_parser(name, help=command.help, description=command.help, **style)
        _add_options(subparser, command.options, command.every_task, not command.alone)
    everything = "every figure and table, of every task; what the study lacks is named, the rest is made"
    options = tuple(
        dict.fromkeys(name for command in COMMANDS.values() for name in command.options if name != FROM)
    )
    all_of_them = commands.add_parser(ALL, help=everything, description=everything, **style)
    _add_options(all_of_them, options, True)
    all_of_them.add_argument(
        "--skip",
        type=arguments.commands,
        default=[],
        metavar="NAME,NAME",
        help="what need not be made, such as fig4",
    )
    slim = "a slim copy of the study, without most adapters, that every command reads with --root"
    _add_archive_options(commands.add_parser(ARCHIVE, help=slim, description=slim, **style))
    side = "the same claims on several studies, side by side, from the folders that claims or all wrote"
    _add_across_options(commands.add_parser(ACROSS, help=side, description=side, **style))
    checkup.add(commands, style)
    return parser


def _add_study(parser: argparse.ArgumentParser, required: bool = True) -> None:
    add = parser.add_argument
    add(
        "--study",
        required=required,
        type=arguments.name,
        metavar="NAME",
        help="the study, a folder of the run store",
    )
    add(
        "--root",
        type=arguments.place,
        default=DEFAULT_ROOT,
        metavar="DIR",
        help=f"the run store (default: {DEFAULT_ROOT})",
    )


def _add_across_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folders", type=arguments.place, nargs="+", metavar="FOLDER", help="such as results/mine"
    )
    parser.add_argument(
        "--out",
        type=arguments.place,
        default=Path("results"),
        metavar="DIR",
        help="where to write (default: %(default)s)",
    )


def _add_archive_options(parser: argparse.ArgumentParser) -> None:
    _add_study(parser)
    add = parser.add_argument
    add("--out", type=arguments.place, required=True, metavar="DIR", help="the run store that gets DIR/STUDY")
    add(
        "--adapters",
        type=arguments.figures,
        default=["fig3"],
        metavar="fig3,table7",
        help="keep the adapters of the runs that these read; or none (default: fig3)",
    )
    add(
        "--rounded",
        type=lambda text: None if text == "none" else targets_name(arguments.targets(text)),
        default=DEFAULT_TARGETS,
        metavar="TARGETS",
        help="keep the other adapters of these targets in float16, for the geometry of every seed; or none "
        "(default: %(default)s)",
    )


def _add_options(
    parser: argparse.ArgumentParser, names: Sequence[str], every_task: bool, needs_study: bool = True
) -> None:
    _add_study(parser, needs_study)
    add = parser.add_argument
    add("--out", type=arguments.place, metavar="DIR", help="where to write (default: results/STUDY)")
    for name, settings in _options(every_task).items():
        if name in names:
            add(f"--{name.rstrip('_')}", dest=name, **settings)


def _options(every_task: bool) -> dict[str, dict[str, Any]]:
    """The options that not every command takes, as `add_argument` has them."""
    return {
        "task": {
            "type": arguments.name,
            "help": "one task alone (default: all)" if every_task else "needed where the study has several",
        },
        "targets": {
            "type": arguments.targets,
            "default": DEFAULT_TARGETS,
            "help": "the runs that adapt these projections (default: %(default)s)",
        },
        "basis": {
            "choices": BASES,
            "default": DEFAULT_BASIS,
            "help": "whose singular vectors (default: %(default)s, the paper's)",
        },
        "checkpoint": {
            "choices": CHECKPOINTS,
            "default": DEFAULT_CHECKPOINT,
            "help": "last step or best on dev (default: %(default)s)",
        },
        "split": {
            "choices": SPLITS,
            "default": DEFAULT_SPLIT,
            "help": "whose answers are compared (default: %(default)s)",
        },
        "margin": {
            "type": arguments.points,
            "default": DEFAULT_MARGIN,
            "metavar": "POINTS",
            "help": "accuracies that differ by less are equal (default: %(default)g)",
        },
        "metric": {
            "type": arguments.name,
            "metavar": "NAME",
            "help": "by which grid compares, as in token_f1 or macro_f1 (default: the one that counts)",
        },
        "paper": {"action": "store_true", "help": "the paper's numbers beside the study's"},
        "ranks": {
            "type": arguments.ranks,
            "metavar": "R,R",
            "help": "the two ranks that Figures 3 and 6 compare (default: the paper's 8,64, or the least and "
            "the largest there are)",
        },
        "rank": {
            "type": arguments.rank,
            "metavar": "R",
            "help": "the rank of Figures 4 and 7 (default: the paper's 64, or the largest there is)",
        },
        "layer": {
            "type": arguments.layer,
            "metavar": "N",
            "help": "from 1 (default: the middle one, as the paper's 48 of 96; claims: all)",
        },
        "seeds": {
            "type": arguments.seeds,
            "metavar": "0,1",
            "help": "seeds to use, in this order (default: all)",
        },
        "choose": {
            "type": arguments.setting,
            "action": "append",
            "default": [],
            "metavar": "KEY=VALUE",
            "help": "which LoRA runs, where several differ in a setting, as in lr=0.01, and which of full "
            "fine-tuning, as in full.lr=0.001; may be repeated",
        },
        "base": {
            "type": arguments.name,
            "metavar": "DIR",
            "help": "the base model's folder, where it has moved since the runs",
        },
        "device": {
            "type": arguments.name,
            "default": DEFAULT_DEVICE,
            "help": "where to compute (default: %(default)s)",
        },
        FROM: {
            "type": arguments.place,
            "metavar": "FILE",
            "help": "what scripts/benchmark_costs.py measured (default: costs.json in the study's folder)",
        },
        "wandb": {
            "choices": MODES,
            "default": MODES[0],
            "help": "Weights & Biases, as wandb.mode of run.py (default: %(default)s)",
        },
        "project": {
            "type": arguments.name,
            "metavar": "NAME",
            "default": default_project(),
            "help": "of Weights & Biases, as NAME or ENTITY/NAME (default: WANDB_PROJECT, else "
            f"{DEFAULT_PROJECT})",
        },
    }
