"""A self-contained HTML page of pictures, sentences and tables, in the report's style."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from analysis.checkup.compare import Comparison
from analysis.checkup.drawing import comparison_drawings, drawings
from analysis.checkup.inspect import Inspection
from analysis.report.blocks import picture
from analysis.report.words import environment, style
from analysis.result import Drawing, Table

TEMPLATE = "checkup/page.html.j2"


def inspection_page(seen: Inspection) -> str:
    """Of `inspect`: where the energy is, the spectra, what a smaller copy keeps; then words and numbers."""
    return render(
        f"What is in {Path(seen.adapter.source).name}",
        f"{seen.title()}. {seen.origin()}.",
        [*seen.sentences, *seen.adapter.notes],
        drawings(seen),
        seen.tables(),
    )


def comparison_page(seen: Comparison) -> str:
    """Of `compare`: where they agree, their subspaces; then words and numbers."""
    formats = " and ".join(sorted({adapter.format for adapter in seen.adapters}))
    return render(
        f"{len(seen.adapters)} adapters compared",
        f"{seen.title()} ({formats}).",
        [*seen.sentences, *seen.notes],
        comparison_drawings(seen),
        seen.tables(),
    )


def render(
    title: str, lead: str, sentences: Sequence[str], pictures: Mapping[str, Drawing], tables: Sequence[Table]
) -> str:
    """The page; long tables are folded."""
    return (
        environment()
        .get_template(TEMPLATE)
        .render(
            style=style(),
            title=title,
            lead=lead,
            sentences=sentences,
            pictures=[picture(drawing, drawing.caption) for drawing in pictures.values()],
            tables=tables,
        )
    )
