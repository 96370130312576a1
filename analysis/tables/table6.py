"""Table 6: the effect of the rank (paper, Section 7.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analysis.registry import ANSWERS, command
from analysis.tables.accuracy import as_result, table6

if TYPE_CHECKING:
    from analysis.result import Result
    from analysis.selection import Selection


@command(
    "table6",
    "the effect of the rank, ours beside the paper's",
    selects=ANSWERS,
    every_task=True,
    title="Table 6",
)
def make(selection: Selection) -> Result:
    """All tasks in one table.

    Raises:
        AnalysisError: as `analysis.tables.accuracy.table6`.
    """
    made = table6(selection.frame, checkpoint=selection.checkpoint, split=selection.split)
    return as_result(selection, "table6", made)
