"""Opening the two kinds of files that everything here is read from: JSON and tensors, a run's adapter too."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.errors import AnalysisError
from analysis.reading.projections import Key
from lora.files import FORMAT, VERSION
from lora.targets import LETTERS


def unreadable(error: OSError) -> str:
    """Why a file or folder cannot be used, in the system's words: no permission, a name too long, ..."""
    return f"cannot be read: {error.strerror or error}"


def is_folder(path: Path) -> bool:
    """Whether a folder is there; unlike `Path.is_dir` it is a plain error where the system does not say.

    Raises:
        AnalysisError: it may be there, and cannot be looked at.
    """
    try:
        return path.is_dir()
    except OSError as error:
        raise AnalysisError(f"{path} {unreadable(error)}") from None


def is_file(path: Path) -> bool:
    """Whether a file is there; errors as of `is_folder`."""
    try:
        return path.is_file()
    except OSError as error:
        raise AnalysisError(f"{path} {unreadable(error)}") from None


def subfolders(folder: Path) -> tuple[list[Path], dict[str, str]]:
    """The folders in a folder, by name, and what may be one and cannot be used, each with the reason.

    Hidden ones and files do not count.

    Raises:
        AnalysisError: the folder itself cannot be read.
    """
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        raise AnalysisError(f"{folder} {unreadable(error)}") from None
    usable: list[Path] = []
    broken: dict[str, str] = {}
    for path in paths:
        name = os.fsencode(path.name).decode("utf-8", "backslashreplace")
        if name.startswith("."):
            continue
        try:
            if stat.S_ISDIR(path.stat().st_mode):
                if name.encode() == os.fsencode(path.name):
                    usable.append(path)
                else:
                    broken[name] = "its name is no UTF-8 text; rename the folder"
        except FileNotFoundError:
            if path.is_symlink():
                broken[name] = "a link to what is not there"
        except OSError as error:
            broken[name] = unreadable(error)
    return usable, broken


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        AnalysisError: the file cannot be read, or holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise AnalysisError(f"{path} {unreadable(error)}") from None
    except ValueError as error:
        raise AnalysisError(f"{path}: not a JSON file, or not a whole one ({error})") from None
    if not isinstance(content, dict):
        raise AnalysisError(f"{path}: holds a {type(content).__name__}; a JSON object is expected")
    return content


def open_tensors(path: Path, framework: str = "pt") -> Any:
    """As `lora.files.open_tensors`; errors as AnalysisError."""
    from lora import files

    is_file(path)  # a system that does not say is a plain error
    try:
        return files.open_tensors(path, framework)
    except ValueError as error:
        raise AnalysisError(str(error)) from None


@dataclass(frozen=True)
class AdapterHeader:
    """What a file of `lora.save` says of itself, read without torch's tensors.

    Attributes:
        architecture: model type.
        scaling_rule: as in run.py's `scaling`.
        shapes: (d_out, d_in) by projection.
        numbers: rank, alpha and scaling by projection.
        size: number of entries of all that was trained: A and B, and DoRA's magnitudes.
        started: the projections that have A0 and B0 too, where dW = scaling * (B A - B0 A0).
        scaled: those with magnitudes (DoRA).
    """

    architecture: str
    scaling_rule: str
    shapes: dict[Key, tuple[int, int]]
    numbers: dict[Key, tuple[int, float, float]]
    size: int
    started: frozenset[Key]
    scaled: frozenset[Key]


def read_header(path: Path) -> AdapterHeader:
    """The header of a file of `lora.save`, checked: each projection has its A and B, of its rank.

    Raises:
        AnalysisError: the file is missing, truncated, or not whole.
    """
    with open_tensors(path, framework="np") as opened:
        metadata = opened.metadata() or {}
        sizes = {key: tuple(opened.get_slice(key).get_shape()) for key in opened.keys()}  # noqa: SIM118
    if (metadata.get("format"), metadata.get("version")) != (FORMAT, VERSION):
        raise AnalysisError(f"{path}: not an adapter file of version {VERSION}; give a file of lora.save")
    shapes, numbers, size = {}, {}, 0
    started, scaled = set(), set()
    try:
        told = json.loads(metadata["adapter"])
        for name, values in told["projections"].items():
            layer, _, letter = name.partition(".")
            (rank, d_in), (d_out, columns) = sizes[f"layers.{name}.A"], sizes[f"layers.{name}.B"]
            if letter not in LETTERS or not rank == columns == values["rank"]:
                raise ValueError(f"{name} has rank {values['rank']}, A {(rank, d_in)}, B {(d_out, columns)}")
            key = int(layer), letter
            shapes[key] = (d_out, d_in)
            numbers[key] = (rank, float(values["alpha"]), float(values["scaling"]))
            size += rank * (d_out + d_in)
            if f"layers.{name}.A0" in sizes:
                started.add(key)
                if (sizes[f"layers.{name}.A0"], sizes[f"layers.{name}.B0"]) != ((rank, d_in), (d_out, rank)):
                    raise ValueError(f"{name} has A0 or B0 of another shape than A and B")
            if f"layers.{name}.m" in sizes:
                scaled.add(key)
                size += d_out
        return AdapterHeader(
            told["architecture"],
            told["scaling"],
            shapes,
            numbers,
            size,
            frozenset(started),
            frozenset(scaled),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise AnalysisError(f"{path}: the metadata and the tensors disagree ({error})") from None
