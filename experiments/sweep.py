"""The end of a sweep: a table of its runs, what failed and how to repeat it, and whether all went well.

The runs may have been trained in other processes or on other machines: the store says how each ended.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import sys
from collections.abc import Sequence
from typing import Any

from experiments.config import RunConfig
from experiments.errors import UserError
from experiments.job import Outcome, address, outcome_in
from experiments.methods import lookup
from experiments.plan import PlannedRun
from experiments.store import BusyError

STATUS_WORDS = {"failed": "FAILED", "busy": "busy elsewhere"}
ALWAYS_SHOWN = ("targets", "rank")
SHOWN_IF_DIFFERENT = ("study", "model", "task", "method", "alpha", "lr", "seed")
NUMBERS = ("#", "trainable", "dev", "test", "seconds")

Row = tuple[PlannedRun, Outcome]


def report(runs: Sequence[PlannedRun], since: float) -> bool:
    """Print the table of these runs, and log it to W&B.  True when none failed or was left out."""
    rows = [(run, _outcome(run, since)) for run in runs]
    print(f"\n{render(rows, _width())}", flush=True)
    if any(outcome.status == "finished" for _, outcome in rows):
        _log(rows, since)
    return all(outcome.status in ("finished", "kept", "busy") for _, outcome in rows)


def _outcome(run: PlannedRun, since: float) -> Outcome:
    try:
        folder = address(run.config).folder
        outcome = outcome_in(run, folder, since)
        if outcome.status == "not run" and folder.path.is_dir():
            with folder.lock():
                pass
    except BusyError as busy:
        return dataclasses.replace(outcome, status="busy", error=str(busy))
    except (UserError, OSError):  # told before, and no reason to lose the table
        return Outcome("not run", run.config.readable_name(), None, None, None, run.command)
    return outcome


def _width() -> int | None:
    """Columns of the terminal; None where the output is no terminal, and so has no end of line."""
    if sys.stdout.isatty() or "COLUMNS" in os.environ:
        return shutil.get_terminal_size().columns
    return None


def render(rows: Sequence[Row], width: int | None = None) -> str:
    """The table, with the folders below it where a line would be longer than `width`; then the failures."""
    columns = _columns(rows)
    cells = [_cells(number, *row, columns) for number, row in enumerate(rows)]
    folders = [str(outcome.folder or "") for _, outcome in rows]
    parts = [_align([*columns, "folder"], [[*row, where] for row, where in zip(cells, folders, strict=True)])]
    if width is not None and max(map(len, parts[0])) > width:
        parts = [_align(columns, cells), [f"  #{number}  {where}" for number, where in enumerate(folders)]]
    metrics = sorted({outcome.record["metric"] for _, outcome in rows if outcome.record})
    if metrics:
        parts.append([f"dev, test: {' or '.join(metrics)} of the last checkpoint"])
    parts += [
        [f"#{number} failed: {outcome.error}", f"    {outcome.command}"]
        for number, (_, outcome) in enumerate(rows)
        if outcome.status == "failed"
    ]
    return "\n\n".join("\n".join(part) for part in parts)


def _setting(run: PlannedRun, key: str) -> str:
    """What the run is told apart by; of another key what the command line says."""
    config: RunConfig = run.config
    adapts = "rank" in lookup(config.method).settings
    known: dict[str, Any] = {
        "study": config.study,
        "model": config.model.name.rstrip("/").rpartition("/")[2],
        "task": config.task.name,
        "method": config.method,
        "targets": config.targets_name if adapts else "-",
        "rank": config.rank_name if adapts else "-",
        "alpha": f"{config.alpha:g}",
        "lr": f"{config.lr:g}",
        "seed": str(config.seed),
    }
    written = dict(override.lstrip("+").partition("=")[::2] for override in run.overrides)
    return str(known.get(key, written.get(key, "")))


def _columns(rows: Sequence[Row]) -> list[str]:
    """Number, targets and rank; other settings where rows differ; then counts, scores, time and status."""
    known = {*ALWAYS_SHOWN, *SHOWN_IF_DIFFERENT, "budget"}
    written = [override.lstrip("+").partition("=")[0] for run, _ in rows for override in run.overrides]
    others = [*SHOWN_IF_DIFFERENT, *(key for key in dict.fromkeys(written) if key not in known)]
    different = [key for key in others if len({_setting(run, key) for run, _ in rows}) > 1]
    return ["#", *ALWAYS_SHOWN, *different, "trainable", "dev", "test", "seconds", "status"]


def _cells(number: int, run: PlannedRun, outcome: Outcome, columns: Sequence[str]) -> list[str]:
    record = outcome.record or {}
    last = record.get("metrics", {}).get("last", {})
    scores = {split: last[split][record["metric"]] for split in ("dev", "test") if split in last}
    trainable, seconds = (
        record.get("parameters", {}).get("trainable"),
        record.get("timing", {}).get("seconds"),
    )
    made = {
        "#": str(number),
        "trainable": "" if trainable is None else f"{trainable:,}",
        "dev": f"{scores['dev']:.4f}" if "dev" in scores else "",
        "test": f"{scores['test']:.4f}" if "test" in scores else "",
        "seconds": "" if seconds is None else f"{seconds:.1f}",
        "status": STATUS_WORDS.get(outcome.status, outcome.status),
    }
    return [made[column] if column in made else _setting(run, column) for column in columns]


def _align(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in [columns, *rows]) for i in range(len(columns))]

    def line(cells: Sequence[str]) -> str:
        padded = (
            cell.rjust(width) if column in NUMBERS else cell.ljust(width)
            for column, cell, width in zip(columns, cells, widths, strict=True)
        )
        return "  ".join(padded).rstrip()

    return [line(columns), line(["-" * width for width in widths]), *map(line, rows)]


def _log(rows: Sequence[Row], since: float) -> None:
    from experiments.tracking import log_sweep

    columns = _columns(rows)
    table = [[*_cells(number, *row, columns), str(row[1].folder)] for number, row in enumerate(rows)]
    log_sweep(rows[0][0].config, f"{since:.0f}", [*columns, "folder"], table)
