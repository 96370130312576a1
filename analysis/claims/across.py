"""`python -m analysis across FOLDER FOLDER ...`: the same claims on several studies, side by side.

It reads the claims.csv and claims.json that `claims` or `all` wrote into each folder, and no run.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.claims.judgement import Judgement
from analysis.errors import AnalysisError
from analysis.paper_values import TASKS
from analysis.reading.files import unreadable
from analysis.result import Cell, Result, Row, Table
from analysis.tables.notes import PAPER_TASKS
from analysis.tables.numbers import MISSING

if TYPE_CHECKING:
    import pandas as pd

STEM = "claims"
"""Of the files that are read."""
NUMBERS = ("verdict", "statistic", "value", "low", "high", "seeds", "examples")
KEYS = ("study", "model", "task", "claim", "section", "statement", "paper")
NOTES = (
    "In brackets: the measured value, in rows of accuracy a difference in points, in the others phi, shared "
    "dimensions, lifts and ratios, as the claims of each study say. The paper's columns have its values of "
    "the same statistic, where it gives one; the task of its geometry is not stated.",
    "Each verdict is about that model on that task: studies differ in size, data, steps, seeds and in how "
    "their learning rates were chosen, so a row shows where a claim held, not how it depends on the model.",
)


@dataclass(frozen=True)
class Judged:
    """The claims of one study.

    Attributes:
        folder: where they lie.
        study: its name.
        model: of its runs.
        split: whose accuracy.
        rows: one a claim and task, with the fields of `Judgement`.
    """

    folder: Path
    study: str
    model: str
    split: str
    rows: pd.DataFrame

    @classmethod
    def read(cls, folder: Path) -> Judged:
        """Raises AnalysisError: the folder has no such files, or they are not what `claims` writes."""
        import pandas as pd

        table, record = folder / f"{STEM}.csv", folder / f"{STEM}.json"
        try:
            written = json.loads(record.read_text(encoding="utf-8"))
            # A study may be called 2024 or null.
            rows = pd.read_csv(table, dtype={"section": str, "paper": str, "task": str, "claim": str})
            lacking = {"task", "claim", "section", "statement", "paper", *NUMBERS} - {*rows.columns}
            if lacking:
                raise AnalysisError(f"{table} lacks the column {min(lacking)}; make it anew with {_made()}")
            return cls(folder, written["study"], written["model"]["name"], written["split"], rows)
        except OSError as error:
            raise AnalysisError(f"{error.filename} {unreadable(error)}; {_made()} writes it") from None
        except (ValueError, KeyError, TypeError) as error:
            raise AnalysisError(f"{folder} holds no claims as {_made()} writes them ({error})") from None


def across(folders: Sequence[Path]) -> Result:
    """A row a claim, a column a study and task, and the paper's own value.

    Args:
        folders: results of studies; the columns are in this order.

    Raises:
        AnalysisError: a folder has no claims, or two are of one study's name.
    """
    import pandas as pd

    studies = [Judged.read(folder) for folder in folders]
    names = [judged.study for judged in studies]
    for name in names:
        if names.count(name) > 1:
            raise AnalysisError(f"study {name} is given twice; give results of different studies")
    numbers = pd.concat(
        [judged.rows.assign(study=judged.study, model=judged.model) for judged in studies], ignore_index=True
    )[[*KEYS, *NUMBERS]]
    return Result(
        "across",
        numbers,
        {"folders": [str(judged.folder) for judged in studies], "studies": names},
        tables=(_table(studies, numbers),),
    )


def _table(studies: Sequence[Judged], numbers: pd.DataFrame) -> Table:
    columns = [*dict.fromkeys(zip(numbers.study, numbers.task, strict=True))]
    claims = numbers.drop_duplicates("claim").sort_values("section", kind="stable")
    stated = numbers.assign(data=numbers.task.map(TASKS)).dropna(subset=["data", "paper"])
    paper = {(row.data, row.claim): str(row.paper) for row in stated.itertuples()}
    cells = {(row.study, row.task, row.claim): _cell(row) for row in numbers.itertuples()}
    data = [name for name in PAPER_TASKS if name in {*stated.data}]
    rows = tuple(
        Row(
            (str(claim.section), str(claim.statement)),
            (
                *(Cell(paper.get((name, claim.claim), MISSING)) for name in data),
                *(Cell(cells.get((*column, claim.claim), MISSING)) for column in columns),
            ),
        )
        for claim in claims.itertuples()
    )
    return Table(
        title=f"The same claims on {', '.join(judged.study for judged in studies)}",
        labels=("section", "claim"),
        columns=(
            *(f"paper, {PAPER_TASKS[name]}" for name in data),
            *(f"{study}, {task}" for study, task in columns),
        ),
        groups=(rows,),
        notes=(*NOTES, *(_note(judged) for judged in studies)),
    )


def _cell(row: Any) -> str:
    """The verdict and, as `claims` rounds it, the value."""
    examples = None if row.examples != row.examples else int(row.examples)
    value = Judgement(
        row.task, row.claim, row.section, row.statement, row.verdict, value=row.value, examples=examples
    ).cells["value"]
    return f"{row.verdict} ({value})" if value else str(row.verdict)


def _note(judged: Judged) -> str:
    def most(name: str) -> str:
        largest = judged.rows[name].max()
        return "no" if largest != largest else f"{int(largest):,}"

    return (
        f"{judged.study}: {judged.model}, {judged.split} split; up to {most('seeds')} seeds or pairs and "
        f"{most('examples')} examples a claim."
    )


def _made() -> str:
    return "python -m analysis claims --study NAME"
