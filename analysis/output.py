"""What a command of `python -m analysis` leaves: figures, numbers and captions with where they come from.

    NAME.pdf NAME.png          a figure; its caption is in the files' metadata too
    NAME.txt                   the caption
    NAME.csv                   every number drawn, one row each
    NAME.md NAME.tex           a table
    NAME.json                  provenance: the runs used, choices, versions, commit, captions

Files are written whole or not at all. They hold no time, so a repeat gives the same bytes.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.errors import AnalysisError
from experiments.provenance import git_commit
from lora.files import write_atomically

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from analysis.tables.layout import Table

PACKAGES = ("torch", "numpy", "scipy", "pandas", "matplotlib")


@dataclass(frozen=True)
class Drawing:
    """A figure and the text under it.

    Attributes:
        caption: all of it.
        lead: the beginning of the caption, where the rest is how to read the figure; else empty.
    """

    figure: Figure
    caption: str
    lead: str = ""


@dataclass(frozen=True)
class Result:
    """One command's work, not yet on disk.

    Attributes:
        name: the files' stem.
        numbers: the CSV.
        provenance: what is particular to this result: runs, choices.
        drawings: by the suffix of the stem ("" or "-z").
        texts: further files by their ending, such as ".md" and ".tex".
        tables: what of these are tables, for the report.
        terminal: what the command prints, if anything.
    """

    name: str
    numbers: pd.DataFrame
    provenance: Mapping[str, Any]
    drawings: Mapping[str, Drawing] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    tables: Sequence[Table] = ()
    terminal: str | None = None


def write(result: Result, folder: Path) -> list[Path]:
    """Write the result's files into `folder`, made if it is not there; their paths.  Texts are UTF-8.

    Raises:
        AnalysisError: the folder cannot be made, or a file not be written.
    """
    files: dict[str, bytes] = {}
    for suffix, drawing in result.drawings.items():
        stem = result.name + suffix
        files[stem + ".pdf"] = rendered(drawing, "pdf", stem)
        files[stem + ".png"] = rendered(drawing, "png", stem)
        files[stem + ".txt"] = _utf8(drawing.caption + "\n")
    for ending, text in result.texts.items():
        files[result.name + ending] = _utf8(text)
    files[result.name + ".csv"] = csv_bytes(result.numbers)
    record = {
        **result.provenance,
        "captions": {result.name + suffix: drawing.caption for suffix, drawing in result.drawings.items()},
        "files": sorted(files),
        "versions": versions(),
        "git_commit": git_commit(),
    }
    text = json.dumps(record, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    files[result.name + ".json"] = _utf8(text)
    for name, data in files.items():
        try:
            write_atomically(folder / name, data)
        except OSError as error:
            raise AnalysisError(
                f"{folder / name} cannot be written: {error.strerror or error}; give another folder with "
                "--out"
            ) from None
    return [folder / name for name in files]


def versions() -> dict[str, str]:
    """Of Python and the packages that results are made with."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def rendered(drawing: Drawing, kind: str, title: str, dpi: float | None = None) -> bytes:
    """The figure as the bytes of a "pdf" or "png" file; dots per inch as in the style where not given."""
    from analysis.figures.style import paper_style

    metadata: dict[str, Any] = {
        "Title": title,
        "Subject" if kind == "pdf" else "Description": drawing.caption,
    }
    if kind == "pdf":
        metadata["CreationDate"] = None
    buffer = BytesIO()
    with paper_style():
        drawing.figure.savefig(buffer, format=kind, metadata=metadata, dpi=dpi)
    return buffer.getvalue()


def csv_bytes(frame: pd.DataFrame) -> bytes:
    """Six significant digits; NaN as an empty field."""
    return _utf8(frame.to_csv(index=False, float_format="%.6g", lineterminator="\n"))


def _utf8(text: str) -> bytes:
    """As UTF-8; what is no text, a byte of a file name that is not UTF-8, as an escape."""
    return text.encode("utf-8", "backslashreplace")
