"""Table 5: which weight types to adapt at an equal number of parameters (paper, Section 7.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analysis.registry import ANSWERS, command
from analysis.tables.accuracy import as_result, table5

if TYPE_CHECKING:
    from analysis.result import Result
    from analysis.selection import Selection


@command(
    "table5",
    "which weights to adapt at equal budget, ours beside the paper's",
    selects=ANSWERS,
    every_task=True,
    title="Table 5",
)
def make(selection: Selection) -> Result:
    """All tasks in one table.

    Raises:
        AnalysisError: as `analysis.tables.accuracy.table5`.
    """
    made = table5(selection.frame, checkpoint=selection.checkpoint, split=selection.split)
    return as_result(selection, "table5", made)
