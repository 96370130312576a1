"""One self-contained HTML page of one result: pictures, sentences and tables, in the report's style."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from analysis.report.blocks import picture
from analysis.report.words import environment, style
from analysis.result import Drawing, Table

TEMPLATE = "report/sheet.html.j2"


def sheet(
    kicker: str,
    title: str,
    lead: str,
    sentences: Sequence[str],
    pictures: Iterable[Drawing],
    tables: Sequence[Table],
) -> str:
    """The page; long tables are folded.

    Args:
        kicker: the small line above the title.
        lead: the paragraph below it.
        sentences: what the result says in words.
    """
    return (
        environment()
        .get_template(TEMPLATE)
        .render(
            style=style(),
            kicker=kicker,
            title=title,
            lead=lead,
            sentences=sentences,
            pictures=[picture(drawing, drawing.caption) for drawing in pictures],
            tables=tables,
        )
    )
