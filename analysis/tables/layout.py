"""A table as readers see it: for the terminal, in Markdown and in LaTeX.

    table = Table(title, ("task", "weights"), ("r = 1", "r = 2"), (Group((row, row)),), notes)
    print(table.terminal())

Text is plain; `W_q` becomes mathematics in LaTeX.  A strong cell is marked: * in the terminal, else bold.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

MARK = "*"
NOTE_WIDTH = 80
_LATEX = {
    "\\": r"\textbackslash{}",
    "±": r"$\pm$",
    "–": "--",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}
_LATEX |= {character: "\\" + character for character in "&%$#_{}"}


@dataclass(frozen=True)
class Cell:
    """A cell's text, and whether it is marked."""

    text: str
    strong: bool = False


@dataclass(frozen=True)
class Row:
    """One line: a label for each of the table's label columns, a cell for each of its columns."""

    labels: tuple[str, ...]
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Table:
    """A table with label columns, then columns of cells.

    Attributes:
        title: one line, without a full stop.
        labels: headings of the label columns.
        columns: headings of the columns.
        groups: rows that belong together, with a rule between one group and the next.
        notes: sentences below the table.
    """

    title: str
    labels: tuple[str, ...]
    columns: tuple[str, ...]
    groups: tuple[tuple[Row, ...], ...]
    notes: tuple[str, ...] = ()

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
            [*row.labels, *(f"**{cell.text}**" if cell.strong else cell.text for cell in row.cells)]
            for group in self.groups
            for row in group
        ]
        lines = [
            "| " + " | ".join(text.replace("|", r"\|") for text in row) + " |" for row in [heads, rule, *rows]
        ]
        return "\n\n".join([f"**{self.title}.**", "\n".join(lines), *self.notes]) + "\n"

    def latex(self) -> str:
        """A table for the package booktabs."""
        heads = [*self.labels, *self.columns]
        groups = [
            [
                [
                    *map(_latex, row.labels),
                    *(rf"\textbf{{{_latex(c.text)}}}" if c.strong else _latex(c.text) for c in row.cells),
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
                rf"\begin{{tabular}}{{{'l' * len(self.labels)}{'r' * len(self.columns)}}}",
                r"  \toprule",
                line([_latex(head) for head in heads]),
                r"  \midrule",
                body,
                r"  \bottomrule",
                r"\end{tabular}",
                *(
                    [rf"\par\smallskip{{\footnotesize {_latex(' '.join(self.notes))}\par}}"]
                    * bool(self.notes)
                ),
                r"\end{table}",
                "",
            ]
        )


def _marked(cell: Cell) -> str:
    return cell.text + (MARK if cell.strong else " ")


def _latex(text: str) -> str:
    """Special characters escaped; W_q as mathematics."""
    parts = re.split(r"\bW_(\w+)", text)
    escaped = ["".join(_LATEX.get(character, character) for character in part) for part in parts[::2]]
    symbols = [f"$W_{{{letter}}}$" if len(letter) > 1 else f"$W_{letter}$" for letter in parts[1::2]]
    return "".join(text for pair in zip(escaped, [*symbols, ""], strict=True) for text in pair)
