"""The command line of `python -m analysis`: which figure or table, of which study, seen how.

Nothing here imports torch or matplotlib before a command is really run.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from analysis.errors import AnalysisError
from lora.targets import parse_targets

BASES = ("A", "dW-right", "dW-left", "B", "A-A0")
CHECKPOINTS = ("last", "best")
DONE, FAILED, WRONG_USE, INTERRUPTED = 0, 1, 2, 130

DESCRIPTION = """\
Section 7 of the LoRA paper, from a study's finished runs. Reads only; trains nothing.

Figures come as PDF, PNG and a CSV of every number drawn, tables as Markdown, LaTeX and CSV, each with its
caption and provenance; into results/STUDY, or results/STUDY/TASK where the study has several tasks."""

EXAMPLES = """\
examples:
  python -m analysis fig3 --study default
  python -m analysis all --study embedded --task sql
  python -m analysis fig4 --study embedded --task sql --basis dW-right --layer 4 --seeds 0,2

Of what the paper leaves open, the basis matters most: A is the paper's (right singular vectors of A alone);
dW-right orders the same space by what dW does; dW-left and B lie in output space; A-A0 is what training
moved."""


@dataclass(frozen=True)
class Command:
    """A module with `make(selection) -> Result`, and one line of help."""

    module: str
    help: str


COMMANDS = {
    "fig3": Command("analysis.figures.fig3", "subspaces of r=8 in those of r=64, middle layer"),
    "fig4": Command("analysis.figures.fig4", "subspaces of two seeds at r=64, and of random matrices"),
    "fig6": Command("analysis.figures.fig6", "as fig3, in four layers"),
    "fig7": Command("analysis.figures.fig7", "as fig4, in four layers"),
    "fig8": Command("analysis.figures.fig8", "top directions of W against those of dW at r=4, 8, 64"),
    "table7": Command("analysis.tables.table7", "what dW amplifies: projections of W, amplification factors"),
    "spectra": Command("analysis.tables.spectra", "effective ranks, intruder dimensions, shared dimension"),
}
ALL = "all"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit status: 0, 1 (an AnalysisError), 2 (wrong arguments) or 130 (Ctrl-C)."""
    try:
        options = _parser().parse_args(arguments)
    except SystemExit as end:  # argparse has printed help (0) or the error (2)
        return int(end.code or 0)
    try:
        return _run(options)
    except AnalysisError as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("interrupted: files already written are whole", file=sys.stderr)
        return INTERRUPTED


def _run(options: argparse.Namespace) -> int:
    from analysis.output import write
    from analysis.selection import Selection
    from analysis.study import Study

    study = Study.open(options.study, options.root)
    for run, reason in study.left_out:
        print(f"left out: {run}: {reason}", file=sys.stderr)
    selection = Selection.of(
        study,
        options.task,
        targets=options.targets,
        basis=options.basis,
        checkpoint=options.checkpoint,
        layer=None if options.layer is None else options.layer - 1,
        seeds=options.seeds,
        device=options.device,
        choice=dict(options.choose),
        base=options.base,
    )
    folder = options.out or selection.folder(Path("results"))
    status = DONE
    for name in COMMANDS if options.command == ALL else [options.command]:
        try:
            result = import_module(COMMANDS[name].module).make(selection)
        except AnalysisError as error:
            if options.command != ALL:
                raise
            print(f"error: {name}: {error}", file=sys.stderr)
            status = FAILED
            continue
        for path in write(result, folder):
            print(path)
        if result.terminal:
            print(f"\n{result.terminal}\n")
    return status


class _Parser(argparse.ArgumentParser):
    """Errors as one line."""

    def error(self, message: str) -> Any:
        self.exit(WRONG_USE, f"error: {message} (see {self.prog} --help)\n")


def _parser() -> argparse.ArgumentParser:
    style: dict[str, Any] = {"formatter_class": argparse.RawDescriptionHelpFormatter}
    parser = _Parser("python -m analysis", description=DESCRIPTION, epilog=EXAMPLES, **style)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)
    for name, command in COMMANDS.items():
        _add_options(commands.add_parser(name, help=command.help, description=command.help, **style))
    everything = "every figure and table; what the study lacks is named, the rest is made"
    _add_options(commands.add_parser(ALL, help=everything, description=everything, **style))
    return parser


def _add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--study", required=True, metavar="NAME", help="the study, a folder of the run store")
    add("--root", type=Path, default=Path("outputs"), metavar="DIR", help="the run store (default: outputs)")
    add("--out", type=Path, metavar="DIR", help="where to write (default: results/STUDY)")
    add("--task", help="needed where the study has several")
    add("--targets", type=_targets, default="qv", help="the runs that adapt these projections (default: qv)")
    add("--basis", choices=BASES, default="A", help="whose singular vectors (default: A, the paper's)")
    add("--checkpoint", choices=CHECKPOINTS, default="last", help="last step or best on dev (default: last)")
    add(
        "--layer",
        type=_positive,
        metavar="N",
        help="from 1 (default: the middle one, as the paper's 48 of 96)",
    )
    add("--seeds", type=_seeds, metavar="0,1", help="seeds to use, in this order (default: all)")
    add(
        "--choose",
        type=_setting,
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="which runs, where several differ in a setting, as in lr=0.01; may be repeated",
    )
    add("--base", metavar="DIR", help="the base model's folder, where it has moved since the runs")
    add("--device", default="cpu", help="where to compute (default: cpu)")


def _targets(text: str) -> str:
    try:
        parse_targets(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def _setting(text: str) -> tuple[str, Any]:
    """A setting of runs; numbers, true, false and null as in YAML."""
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is no setting; write KEY=VALUE, as in lr=0.01")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no layer; layers are counted from 1")
    return int(text)


def _seeds(text: str) -> tuple[int, ...]:
    words = text.split(",")
    if not all(word.strip().isdecimal() for word in words) or len(set(map(int, words))) < len(words):
        raise argparse.ArgumentTypeError(f"{text!r} is no list of seeds; give different integers, as in 0,1")
    return tuple(int(word) for word in words)
