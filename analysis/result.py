"""What a command of `python -m analysis` makes, as data, and the forms that readers see it in.

    table = Table(title, ("task", "weights"), ("r = 1", "r = 2"), ((row, row),), notes)
    result = Result("table6", numbers, provenance, tables=(table,))
    print(result.printed())     # the terminal
    write(result, folder)       # the files:

    NAME.pdf NAME.png          a figure; its caption is in the files' metadata too
    NAME.txt                   the caption
    NAME.csv                   every number, one row each
    NAME.md NAME.tex           the tables; the second begins with the LaTeX packages that it needs
    NAME.json                  provenance: the runs used, choices, versions, commit, captions

Each form is rendered here and nowhere else, but HTML by the report's template; nothing is read back from one.
Text is plain; `W_q` becomes mathematics in LaTeX. Files are written whole or not at all. They hold no time:
a repeat gives the same bytes.
"""

from __future__ import annotations

import json
import platform
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from analysis.errors import AnalysisError
from experiments.provenance import git_commit
from lora.files import write_atomically

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from analysis.claims.judgement import Judgement

PACKAGES = ("torch", "numpy", "scipy", "pandas", "matplotlib")
BEST, TIED = "*", "†"
"""Behind a cell: the best, where there is no bold type; and one that is not shown to be worse."""
NOTE_WIDTH = 80
PAGE_WIDTH = 64
"""A table of more characters is wider than a page of LaTeX's, and is scaled down to it."""
IN_FLOAT = 3000
"""Characters of notes that a page of LaTeX's holds beside their table."""
MINUS = re.compile(r"(?<![\w.–-])-(?=\d)")
"""A hyphen that stands for a minus: before a number, behind none."""
_LATEX = {
    "\\": r"\textbackslash{}",
    "–": "--",
    "−": "$-$",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    TIED: r"$^\dagger$",
}
_MATHS = {"±": "pm", "×": "times", "≤": "le", "≥": "ge", "Δ": "Delta", "φ": "phi"}
_LATEX |= {character: rf"$\{name}$" for character, name in _MATHS.items()}
_LATEX |= {character: f"${character}$" for character in "<>|"}  # other characters in TeX's own text fonts
_LATEX |= {character: "\\" + character for character in "&%$#_{}"}


@dataclass(frozen=True)
class Cell:
    """A cell.

    Attributes:
        text: plain.
        strong: it is the best, and is set in bold.
        tied: it is not shown to be worse than the best, and has a sign behind it.
    """

    text: str
    strong: bool = False
    tied: bool = False

    @property
    def signed(self) -> str:
        return self.text + TIED * self.tied


@dataclass(frozen=True)
class Row:
    """One line: a label for each of the table's label columns, a cell for each of its columns.

    Attributes:
        kind: whose numbers they are: the study's, their intervals, or the paper's.
    """

    labels: tuple[str, ...]
    cells: tuple[Cell, ...]
    kind: Literal["ours", "interval", "paper"] = "ours"


@dataclass(frozen=True)
class Table:
    """A table with label columns, then columns of cells.

    Attributes:
        title: one line, without a full stop.
        labels: headings of the label columns.
        columns: headings of the columns.
        groups: rows that belong together, with a rule between one group and the next.
        notes: sentences below the table.
        long: the terminal says where it is and does not show it.
    """

    title: str
    labels: tuple[str, ...]
    columns: tuple[str, ...]
    groups: tuple[tuple[Row, ...], ...]
    notes: tuple[str, ...] = ()
    long: bool = False

    def terminal(self) -> str:
        """Fixed width: labels to the left, cells to the right with the mark behind them."""
        heads = [*self.labels, *(head + " " for head in self.columns)]
        groups = [[[*row.labels, *map(_marked, row.cells)] for row in group] for group in self.groups]
        lines = [line for group in groups for line in group]
        widths = [max(len(line[i]) for line in [heads, *lines]) for i in range(len(heads))]
        rule = "  ".join("-" * width for width in widths)

        def aligned(line: Sequence[str]) -> str:
            cut = len(self.labels)
            labels = [text.ljust(width) for text, width in zip(line[:cut], widths[:cut], strict=True)]
            cells = [text.rjust(width) for text, width in zip(line[cut:], widths[cut:], strict=True)]
            return "  ".join(labels + cells).rstrip()

        body = [aligned(heads)]
        for group in groups:
            body += [rule, *map(aligned, group)]
        notes = [
            line for note in self.notes for line in textwrap.wrap(note, max(NOTE_WIDTH, min(len(rule), 110)))
        ]
        return "\n".join([self.title, "", *body, rule, *notes])

    def markdown(self) -> str:
        """A table of GitHub's Markdown; groups follow each other without a rule, as it has none."""
        heads = [*self.labels, *self.columns]
        rule = ["---"] * len(self.labels) + ["---:"] * len(self.columns)
        rows = [
            [*row.labels, *(f"**{cell.text}**" if cell.strong else cell.signed for cell in row.cells)]
            for group in self.groups
            for row in group
        ]
        lines = [
            "| " + " | ".join(text.replace("|", r"\|") for text in row) + " |" for row in [heads, rule, *rows]
        ]
        return "\n\n".join([f"**{self.title}.**", "\n".join(lines), *self.notes]) + "\n"

    @property
    def is_wide(self) -> bool:
        """Wider than a page, so that in LaTeX it is scaled."""
        lines = [[*self.labels, *self.columns]]
        lines += [[*row.labels, *(c.signed for c in row.cells)] for group in self.groups for row in group]
        return sum(max(map(len, column)) + 2 for column in zip(*lines, strict=True)) > PAGE_WIDTH

    def latex(self, label: str = "") -> str:
        """A table for the package booktabs, and graphicx where it is wide; the label is for \\\\ref."""
        heads = [*self.labels, *self.columns]
        groups = [
            [
                [
                    *map(_latex, row.labels),
                    *(rf"\textbf{{{_latex(c.text)}}}" if c.strong else _latex(c.signed) for c in row.cells),
                ]
                for row in group
            ]
            for group in self.groups
        ]

        def line(cells: Sequence[str]) -> str:
            return "  " + " & ".join(cells) + r" \\"

        body = "\n  \\midrule\n".join("\n".join(map(line, group)) for group in groups)
        return "\n".join(
            [
                r"\begin{table}",
                r"\centering",
                rf"\caption{{{_latex(self.title)}.}}",
                *([rf"\label{{{label}}}"] * bool(label)),
                *([r"\resizebox{\textwidth}{!}{%"] * self.is_wide),
                rf"\begin{{tabular}}{{{'l' * len(self.labels)}{'r' * len(self.columns)}}}",
                r"  \toprule",
                line([_latex(head) for head in heads]),
                r"  \midrule",
                body,
                r"  \bottomrule",
                r"\end{tabular}" + "}" * self.is_wide,
                *self._latex_notes(label),
                "",
            ]
        )

    def _latex_notes(self, label: str) -> list[str]:
        """The end of the table: the notes in it, or, where a page would not hold both, as text behind it."""
        notes = [*map(_latex, self.notes)]
        if sum(map(len, notes)) > IN_FLOAT:
            of = rf"To Table~\ref{{{label}}}. " if label else ""
            return [r"\end{table}", rf"{{\footnotesize\noindent {of}" + "\n\n".join(notes) + r"\par}"]
        below = rf"\par\smallskip\parbox{{\textwidth}}{{\footnotesize {' '.join(notes)}\par}}"
        return [*([below] * bool(notes)), r"\end{table}"]


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
class CommandLines:
    """Command lines, and the sentence that stands before them."""

    lead: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Result:
    """One command's work, not yet on disk.

    Attributes:
        name: the files' stem.
        numbers: the CSV.
        provenance: what is particular to this result: runs, choices.
        drawings: by the suffix of the stem ("" or "-z").
        texts: further files by their ending, such as ".html".
        tables: as readers see them.
        terminal: what the command prints in the place of its tables.
        judgements: of the claims.
        commands: that train what is missing; below the tables.
        answers: what came out, in sentences; last where the tables are printed, first on the page.
    """

    name: str
    numbers: pd.DataFrame
    provenance: Mapping[str, Any]
    drawings: Mapping[str, Drawing] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    tables: Sequence[Table] = ()
    terminal: str | None = None
    judgements: Sequence[Judgement] = ()
    commands: CommandLines | None = None
    answers: Sequence[str] = ()

    def printed(self) -> str:
        """What the command prints; nothing of a figure."""
        if self.terminal is not None:
            return self.terminal
        shown = [table.terminal() for table in self.tables if not table.long]
        shown += [f"{table.title}: {self.name}.md" for table in self.tables if table.long]
        lines = [] if self.commands is None else self.commands.lines
        lead = [] if self.commands is None else ["", self.commands.lead]
        answers = [line for text in self.answers for line in ("", *textwrap.wrap(text, NOTE_WIDTH))]
        return "\n".join(["\n\n".join(shown), *lead, *(f"  {line}" for line in lines), *answers])

    def documents(self) -> dict[str, str]:
        """The texts that are written, by their ending: tables in Markdown and LaTeX, and further files."""
        if not self.tables:
            return {**self.texts}
        markdown = [table.markdown() for table in self.tables]
        if self.commands is not None:
            fenced = ["```\n" + "\n".join(self.commands.lines) + "\n```\n"] if self.commands.lines else []
            markdown += [f"{self.commands.lead}\n", *fenced]
        markdown += [f"{text}\n" for text in self.answers]
        packages = ["booktabs", *(["graphicx"] * any(table.is_wide for table in self.tables))]
        latex = [f"% In the preamble: \\usepackage{{{', '.join(packages)}}}\n"]
        for number, table in enumerate(self.tables, start=1):
            which = f"-{number}" if len(self.tables) > 1 else ""
            latex.append(table.latex(f"tab:{self.name}{which}"))
        return {".md": "\n".join(markdown), ".tex": "\n".join(latex), **self.texts}


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
    for ending, text in result.documents().items():
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


def _marked(cell: Cell) -> str:
    return cell.text + (BEST if cell.strong else TIED if cell.tied else " ")


def _latex(text: str) -> str:
    """Special characters escaped; W_q as mathematics."""
    parts = re.split(r"\bW_(\w+)", re.sub(MINUS, "−", text))
    escaped = ["".join(_LATEX.get(character, character) for character in part) for part in parts[::2]]
    symbols = [f"$W_{{{letter}}}$" if len(letter) > 1 else f"$W_{letter}$" for letter in parts[1::2]]
    return "".join(text for pair in zip(escaped, [*symbols, ""], strict=True) for text in pair)
