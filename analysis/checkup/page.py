"""A self-contained HTML page of pictures, sentences and tables, in the report's style."""

from __future__ import annotations

from pathlib import Path

from analysis.checkup.compare import Comparison
from analysis.checkup.drawing import comparison_drawings, drawings
from analysis.checkup.inspect import Inspection
from analysis.report.sheet import sheet

KICKER = "LoRA adapter check-up"


def inspection_page(seen: Inspection) -> str:
    """Of `inspect`: where the energy is, the spectra, what a smaller copy keeps; then words and numbers."""
    return sheet(
        KICKER,
        f"What is in {Path(seen.adapter.source).name}",
        f"{seen.title()}. {seen.origin()}.",
        [*seen.sentences, *seen.adapter.notes],
        drawings(seen).values(),
        seen.tables(),
    )


def comparison_page(seen: Comparison) -> str:
    """Of `compare`: where they agree, their subspaces; then words and numbers."""
    formats = " and ".join(sorted({adapter.format for adapter in seen.adapters}))
    return sheet(
        KICKER,
        f"{len(seen.adapters)} adapters compared",
        f"{seen.title()} ({formats}).",
        [*seen.sentences, *seen.notes],
        comparison_drawings(seen).values(),
        seen.tables(),
    )
