"""What the options of `python -m analysis` may be given: argparse's types, which say what is valid."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

from analysis.registry import COMMANDS
from lora.targets import parse_targets


def name(text: str) -> str:
    """A path, or the name of something; what a shell's unset variable leaves is none."""
    if not text.strip():
        raise argparse.ArgumentTypeError(f"{text!r} is empty; give a name or a path")
    return text


def place(text: str) -> Path:
    """A file or folder; "" is none, which `Path` would take for the folder one is in."""
    if not text.strip():
        raise argparse.ArgumentTypeError(f"{text!r} is empty; give a file or folder, such as results/mine")
    return Path(text)


def targets(text: str) -> str:
    try:
        parse_targets(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def setting(text: str) -> tuple[str, Any]:
    """A setting of runs; numbers, true, false and null as in YAML."""
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is no setting; write KEY=VALUE, as in lr=0.01")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


def layer(text: str) -> int:
    return _counted(text, f"{text!r} is no layer; layers are counted from 1")


def rank(text: str) -> int:
    return _counted(text, f"{text!r} is no rank; give one from 1, such as 16")


def ranks(text: str) -> tuple[int, int]:
    given = sorted({rank(word.strip()) for word in text.split(",")})
    if len(given) != 2:
        raise argparse.ArgumentTypeError(f"{text!r}: give two different ranks, as in 4,16")
    return given[0], given[1]


def points(text: str) -> float:
    value = _number(text)
    if not 0 < value <= 100:
        raise argparse.ArgumentTypeError(f"{text!r} is no margin; give points above 0, such as 1")
    return value


def share(text: str) -> float:
    value = _number(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no share; give one above 0 and at most 1, such as 0.99"
        )
    return value


def relative_error(text: str) -> float:
    value = _number(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no relative error; give one from 0 and below 1, such as 0.1"
        )
    return value


def figures(text: str) -> list[str]:
    """Names of commands that read adapters; "none" is none."""
    known = [name for name, command in COMMANDS.items() if not command.every_task]
    return [] if text == "none" else _names(text, known, f"none, {', '.join(known)}")


def commands(text: str) -> list[str]:
    return _names(text, [*COMMANDS], ", ".join(COMMANDS))


def seeds(text: str) -> tuple[int, ...]:
    words = text.split(",")
    if not all(word.strip().isdecimal() for word in words) or len(set(map(int, words))) < len(words):
        raise argparse.ArgumentTypeError(f"{text!r} is no list of seeds; give different integers, as in 0,1")
    return tuple(int(word) for word in words)


def _counted(text: str, wrong: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(wrong)
    return int(text)


def _number(text: str) -> float:
    """NaN, which lies in no range, for what is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def _names(text: str, known: list[str], valid: str) -> list[str]:
    names = text.split(",")
    for name in names:
        if name not in known:
            raise argparse.ArgumentTypeError(f"{name!r} is unknown; valid are {valid}")
    return names
