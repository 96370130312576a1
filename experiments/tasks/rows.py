"""Rows of data of one's own: .jsonl, .csv, .tsv and .parquet files, or a data set on the hub.

Each row comes with where it stands ("train.jsonl, line 7"), for messages.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from experiments.errors import UserError
from experiments.tasks.files import hub_rows, json_lines, utf8

Row = tuple[str, dict[str, Any]]

STEMS = {
    "train": ("train",),
    "dev": ("dev", "validation", "valid", "val"),
    "test": ("test",),
}
SUFFIXES = (".jsonl", ".csv", ".tsv", ".parquet")
LONGEST_FIELD = 2**30  # the csv module's own limit is 128 KiB
HIDDEN = -1  # a label on the hub that its authors keep to themselves


def local_rows(path: str) -> dict[str, list[Row]]:
    """The rows of each split of a folder, or of the one file that all splits are to be drawn from.

    Raises:
        UserError: there is none, it is of another kind, two are of one split, or a row cannot be read.
    """
    place = Path(path).expanduser()
    if not place.exists():
        raise UserError(f"task.path={path} does not exist; give a file or a folder: {_wanted('train')}")
    if place.is_file():
        if place.suffix not in SUFFIXES:
            raise UserError(f"task.path={path} is of an unknown kind; valid are {', '.join(SUFFIXES)}")
        return {"train": _file_rows(place, path)}
    files = sorted(file for file in place.iterdir() if file.suffix in SUFFIXES and file.is_file())
    splits: dict[str, Path] = {}
    for split, stems in STEMS.items():
        found = [file for file in files if file.stem in stems]
        if len(found) > 1:
            names = " and ".join(file.name for file in found)
            raise UserError(f"task.path={path} holds {names}; leave one of each split")
        if found:
            splits[split] = found[0]
    if "train" not in splits:
        names = ", ".join(file.name for file in files[:10]) or "no such file"
        raise UserError(f"task.path={path} holds no {_wanted('train')}; found {names}")
    return {split: _file_rows(file, f"{path.rstrip('/')}/{file.name}") for split, file in splits.items()}


def _wanted(stem: str) -> str:
    return f"{stem}.jsonl (or {', '.join(SUFFIXES[1:])})"


def _file_rows(file: Path, shown: str) -> list[Row]:
    try:
        rows = list(_read(file, shown))
    except OSError as error:
        raise UserError(f"{shown} cannot be read ({error.strerror or error})") from error
    if not rows:
        raise UserError(f"{shown} has no row; leave the file out or fill it")
    return rows


def _read(file: Path, shown: str) -> Iterable[Row]:
    if file.suffix == ".jsonl":
        return json_lines(file.read_bytes(), shown)
    if file.suffix == ".parquet":
        return _parquet_rows(file, shown)
    return _separated_rows(file, shown)


def _separated_rows(file: Path, shown: str) -> Iterator[Row]:
    """As Python's csv reads them: every field a text as it stands, with the number of its line.

    `datasets` would turn 007 into 7 and "None" or "NA" into nothing, and knows no line.  In a .tsv a quote is
    a sign like any other, as in GLUE's and as its media type says.
    """
    form: dict[str, Any] = {"delimiter": "\t", "quoting": csv.QUOTE_NONE} if file.suffix == ".tsv" else {}
    csv.field_size_limit(LONGEST_FIELD)
    line = 0
    with file.open(encoding="utf-8-sig", newline="") as text:
        reader = csv.reader(text, strict=True, **form)
        try:
            header = next(reader, [])
            if len(set(header)) < len(header) or not all(header):
                raise UserError(f"{shown}, line 1: each column needs a name of its own; found {header}")
            line = reader.line_num
            for values in reader:
                if values and len(values) != len(header):
                    raise UserError(
                        f"{shown}, line {line + 1} has {len(values)} fields; its header has {len(header)}"
                    )
                if values:
                    yield f"{shown}, line {line + 1}", dict(zip(header, values, strict=True))
                line = reader.line_num
        except csv.Error as error:
            raise UserError(f"{shown}, line {line + 1} cannot be read: {error}") from error
        except UnicodeDecodeError:
            utf8(file.read_bytes(), shown)  # says on which line
            raise


def _parquet_rows(file: Path, shown: str) -> Iterator[Row]:
    from datasets import load_dataset
    from datasets.utils import logging

    logging.set_verbosity(logging.CRITICAL)  # what is wrong is told below, once
    try:
        # A stream, so that nothing of the file is copied to the library's cache.
        data = load_dataset("parquet", data_files=str(file), split="train", streaming=True)
        rows = list(data)
    except Exception as error:  # the library raises a dozen unrelated kinds
        reason = " ".join(str(error.__cause__ or error).split())[:160]
        raise UserError(f"{shown} cannot be read as a parquet file ({reason})") from error
    yield from _named(rows, _label_names(data.features), shown)


def remote_rows(task: str, hub: str) -> dict[str, list[Row]]:
    """The rows of each split of a data set on the hub.

    A dev or test split whose labels are all hidden is left out.

    Raises:
        UserError: the name is none, it cannot be fetched, or it has no train split or an empty one.
    """
    words = hub.split("/")
    if len(words) not in (2, 3) or not all(words):
        raise UserError(f"task.hub={hub} is not valid; give owner/name or owner/name/configuration")
    data = hub_rows(task, "/".join(words[:2]), configuration=words[2] if words[2:] else None)
    splits = {split: name for split, stems in STEMS.items() for name in stems[::-1] if name in data}
    if "train" not in splits:
        raise UserError(f"task.hub={hub} has no train split; it has {', '.join(data)}")
    found = {}
    for split, name in splits.items():
        names = _label_names(data[name].features)
        rows = list(_named(data[name], names, f"{hub}, {name}"))
        if not rows:
            raise UserError(f"task.hub={hub} has no row in its split {name}")
        hidden = any(all(row[column] is None for _, row in rows) for column in names)
        if split == "train" or not hidden:
            found[split] = rows
    return found


def _label_names(features: Any) -> dict[str, list[str]]:
    """Of each column whose labels are stored as numbers."""
    return {column: one.names for column, one in (features or {}).items() if hasattr(one, "names")}


def _named(rows: Iterable[dict[str, Any]], names: dict[str, list[str]], shown: str) -> Iterator[Row]:
    """With the labels' names; nothing (-1 on the hub) for those that are hidden."""
    for number, row in enumerate(rows, start=1):
        labels = {
            column: labels[row[column]] if row[column] not in (None, HIDDEN) else None
            for column, labels in names.items()
        }
        yield f"{shown}, row {number}", row | labels
