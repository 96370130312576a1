"""The report on Weights & Biases: its tables, figures and page as one summary run in the study's group."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from analysis.registry import Made
from analysis.report.blocks import image
from analysis.result import Result
from experiments.wandb_run import start, wandb_id

if TYPE_CHECKING:
    from analysis.result import Table
    from analysis.selection import Selection


def publish(selection: Selection, report: Result, made: Made, mode: str, project: str) -> None:
    """Log what the report is made of; the same study goes on under the same W&B id.

    Whatever goes wrong is one line of warning.

    Args:
        report: the page; made: what it is made of.
        mode: auto, online, offline or disabled, as wandb.mode of run.py.
        project: PROJECT, or ENTITY/PROJECT.
    """
    study = selection.study
    entity, _, name = project.rpartition("/")
    tracker = start(
        study.root / study.name,
        mode=mode,
        project=name,
        entity=entity or None,
        identity={
            "id": wandb_id(study.name, "report"),
            "name": f"report-{study.name}",
            "group": study.name,
            "job_type": "report",
            "tags": ["report"],
        },
        switch="--wandb disabled",
    )
    results = {
        "/".join(filter(None, (task, command))): outcome
        for (command, task), outcome in made.items()
        if isinstance(outcome, Result)
    }
    tracker.media(lambda wandb: _media(wandb, {**results, "report": report}))
    tracker.finish(succeeded=True)


def _media(wandb: Any, results: dict[str, Result]) -> dict[str, Any]:
    """By place, such as sql/fig3-z and table5: tables as readers see them, images with captions, the page."""
    found: dict[str, Any] = {}
    for place, result in results.items():
        for number, table in enumerate(result.tables, start=1):
            found[place if len(result.tables) == 1 else f"{place}-{number}"] = _table(wandb, table)
        for suffix, drawing in result.drawings.items():
            found[f"{place}{suffix}" if suffix or not result.tables else f"{place}-figure"] = wandb.Image(
                _opened(image(drawing)), caption=drawing.caption
            )
        if ".html" in result.texts:
            found[place] = wandb.Html(result.texts[".html"], inject=False)
    return found


def _table(wandb: Any, table: Table) -> Any:
    heads = [head or f"label {n}" for n, head in enumerate((*table.labels, *table.columns), start=1)]
    rows = [[*row.labels, *(cell.signed for cell in row.cells)] for group in table.groups for row in group]
    return wandb.Table(heads, rows)


def _opened(data: bytes) -> Any:
    from io import BytesIO

    from PIL import Image

    return Image.open(BytesIO(data))
