"""The commands that take adapters from anywhere: inspect, compare, resize."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from analysis import arguments
from analysis.errors import AnalysisError, UsageError

PATH = "a PEFT, loralib, kohya, diffusers, mlx-lm or plain file or folder, or a run of a study"
HELP = {
    "inspect": "what is in an adapter: where it lives, how much of its rank it uses, what less would keep",
    "compare": "two or more adapters: shared directions beside chance, cosines of dW, copies and merges",
    "resize": "a smaller copy of an adapter, or one from a fully fine-tuned model, in PEFT's format",
}


FORMS = ("json", "csv", "html")


def add(commands: Any, style: dict[str, Any]) -> None:
    """Add the three to the subparsers of `python -m analysis`."""
    made = {
        name: commands.add_parser(name, help=told, description=told, **style) for name, told in HELP.items()
    }
    made["inspect"].add_argument("path", type=arguments.name, metavar="PATH", help=PATH)
    made["compare"].add_argument(
        "paths", type=arguments.name, metavar="PATH", nargs="+", help=f"two or more, each {PATH}"
    )
    for name in ("inspect", "compare"):
        add_option = made[name].add_argument
        add_option(
            "--base",
            type=arguments.name,
            metavar="MODEL",
            help="the base model's folder or hub id, for what needs W",
        )
        for form in FORMS:
            told = f"write everything as {form.upper()} too"
            add_option(f"--{form}", type=arguments.place, metavar="FILE", help=told)
    made["inspect"].add_argument(
        "--intruders",
        type=int,
        metavar="K",
        help="look at the top K directions of W + dW (default: 10 where W is small, as it takes whole SVDs)",
    )
    made["inspect"].add_argument(
        "--epsilon",
        type=float,
        help="|cosine| below which one is an intruder (default: 0.5)",
    )
    _add_resize(made["resize"])


def _add_resize(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", type=arguments.name, metavar="PATH", nargs="?", help=PATH)
    size = parser.add_mutually_exclusive_group(required=True)
    size.add_argument("--rank", type=arguments.rank, help="of every module")
    size.add_argument(
        "--energy", type=arguments.share, help="the smallest rank of each module that keeps this share"
    )
    size.add_argument(
        "--error",
        type=arguments.relative_error,
        help="the smallest rank of each module with this relative error",
    )
    parser.add_argument(
        "--from-full",
        type=arguments.name,
        metavar="TUNED",
        help="take dW from this fully fine-tuned model instead",
    )
    parser.add_argument(
        "--base", type=arguments.name, metavar="MODEL", help="the base model's folder or hub id"
    )
    parser.add_argument(
        "--out", type=arguments.place, required=True, metavar="DIR", help="the folder to write"
    )


def run(options: argparse.Namespace) -> int:
    """One of the three; its exit status.

    Raises:
        AnalysisError: it cannot be done.
    """
    import torch

    # Matrices this thin lose by being shared out among threads, most where something else runs.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _RUN[options.command](options)
    except OSError as error:
        if error.filename is None:  # standard output's, which `spoken` answers
            raise
        raise AnalysisError(f"{error.filename}: {error.strerror or error}") from None
    finally:
        torch.set_num_threads(threads)


def _inspect(options: argparse.Namespace) -> int:
    from analysis.checkup.inspect import inspect
    from analysis.checkup.measures import EPSILON
    from analysis.checkup.page import inspection_page

    if options.base is None:
        for name in ("intruders", "epsilon"):
            if getattr(options, name) is not None:
                raise UsageError(
                    f"--{name} is of intruder dimensions, which need W: give the base model with --base MODEL"
                )
    _check_forms(options)
    epsilon = EPSILON if options.epsilon is None else options.epsilon
    seen = inspect(options.path, options.base, options.intruders, epsilon)
    _tell(seen, options, inspection_page)
    return 0


def _compare(options: argparse.Namespace) -> int:
    from analysis.checkup.compare import compare
    from analysis.checkup.page import comparison_page

    _check_forms(options)
    seen = compare(options.paths, options.base)
    _tell(seen, options, comparison_page)
    return 0


def _resize(options: argparse.Namespace) -> int:
    from analysis.checkup.resize import from_full, resize

    size = {"rank": options.rank, "energy": options.energy, "error": options.error}
    if options.from_full is not None:
        if options.base is None or options.path is not None:
            raise UsageError("--from-full TUNED takes --base BASE, and no PATH: dW is TUNED - BASE")
        made = from_full(options.from_full, options.base, options.out, **size)
    elif options.path is None:
        raise UsageError("give the PATH of an adapter, or --from-full TUNED --base BASE")
    else:
        made = resize(options.path, options.out, base=options.base, **size)
    print(made.printed())
    return 0


def _check_forms(options: argparse.Namespace) -> None:
    """Raises UsageError where one file is given for two forms, of which the last would be left."""
    given: dict[Path, str] = {}
    for form in FORMS:
        path = getattr(options, form)
        if path is None:
            continue
        other = given.setdefault(path.expanduser().absolute(), form)
        if other != form:
            raise UsageError(f"{path} is given for --{other} and for --{form}; give each a file of its own")


def _tell(seen: Any, options: argparse.Namespace, page: Callable[[Any], str]) -> None:
    """Write the files that were asked for, then print: `| head` may close what is printed to."""
    from analysis.result import csv_bytes
    from lora.files import write_atomically

    forms: dict[str, Callable[[], bytes]] = {
        "json": lambda: (
            json.dumps(seen.record(), indent=2, allow_nan=False, ensure_ascii=False) + "\n"
        ).encode(),
        "csv": lambda: csv_bytes(seen.numbers),
        "html": lambda: page(seen).encode(),
    }
    written = []
    try:
        for form, content in forms.items():
            path = getattr(options, form)
            if path is not None:
                try:
                    write_atomically(path, content())
                except OSError as error:
                    raise AnalysisError(f"{path} cannot be written: {error.strerror or error}") from None
                written.append(path)
    finally:  # what was found is not lost with a file
        print("\n".join([seen.printed(), *map(str, written)]))


_RUN = {"inspect": _inspect, "compare": _compare, "resize": _resize}
