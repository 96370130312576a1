"""The end of a sweep: its runs as a table, the means over seeds, what failed, and what comes next.

The runs may have been trained in other processes or on other machines: the store says how each ended.
"""

from __future__ import annotations

import dataclasses
import os
import shlex
import shutil
import statistics
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.config import RunConfig
from experiments.errors import UserError
from experiments.job import Outcome, address, outcome_in
from experiments.methods import lookup
from experiments.metrics import shown, unit
from experiments.plan import PlannedRun
from experiments.store import BusyError

STATUS_WORDS = {"failed": "FAILED", "busy": "busy elsewhere"}
ALWAYS_SHOWN = ("targets", "rank")
SHOWN_IF_DIFFERENT = ("study", "model", "task", "method", "alpha", "lr", "seed")
SPLITS = ("dev", "test")
NUMBERS = ("#", "trainable", *SPLITS, "seconds", "seeds")

Row = tuple[PlannedRun, Outcome]


def report(runs: Sequence[PlannedRun], since: float) -> bool:
    """Print the table of these runs.  True when none failed or was left out."""
    rows = [(run, _outcome(run, since)) for run in runs]
    print(f"\n{render(rows, terminal_width())}", flush=True)
    return all(outcome.status in ("finished", "kept", "busy") for _, outcome in rows)


def tell_next(runs: Sequence[PlannedRun], since: float) -> None:
    """Log the table to W&B where a run was trained; print where that lies, and the command of each study."""
    rows = [(run, _outcome(run, since)) for run in runs]
    print()
    if any(outcome.status == "finished" for _, outcome in rows):
        from experiments.tracking import log_sweep

        columns = _columns(rows)
        cells = [_cells(number, *row, columns) for number, row in enumerate(rows)]
        where = log_sweep(rows[0][0].config, f"{since:.0f}", columns, cells)
        if where:
            print(f"W&B:  {where}", flush=True)
    for study, root in dict.fromkeys((run.config.study, run.config.root) for run, _ in rows):
        place = [] if root == RunConfig.root else ["--root", str(root)]
        methods = {run.config.method for run, _ in rows if run.config.study == study}
        command = "truncation" if methods == {"truncated"} else "grid"
        words = ["python", "-m", "analysis", command, "--study", study, *place]
        print(f"next: {shlex.join(words)}", flush=True)


def outcome_of(run: PlannedRun, sweep: float) -> Outcome:
    """What the store says of a run, also that another process is at it.

    Raises:
        UserError: its address is not known.
        OSError: the store cannot be written.
    """
    folder = address(run.config).folder
    outcome = outcome_in(run, folder, sweep)
    if outcome.status == "not run" and folder.path.is_dir():
        try:
            with folder.lock():
                pass
        except BusyError as busy:
            return dataclasses.replace(outcome, status="busy", error=str(busy))
    return outcome


def _outcome(run: PlannedRun, since: float) -> Outcome:
    try:
        return outcome_of(run, since)
    except (UserError, OSError):  # told before, and no reason to lose the table
        return Outcome("not run", run.config.readable_name(), None, None, None, run.command)


def terminal_width() -> int | None:
    """Columns of the terminal; None where the output is no terminal, and so has no end of line."""
    if sys.stdout.isatty() or "COLUMNS" in os.environ:
        return shutil.get_terminal_size().columns
    return None


def table(
    rows: Sequence[Row], width: int | None = None, words: Mapping[str, str] = STATUS_WORDS
) -> list[list[str]]:
    """The lines of the table, and those of the folders where they would make it wider than `width`.

    Args:
        words: for a status, where it is not the word itself.
    """
    columns = _columns(rows)
    cells = [_cells(number, *row, columns, words) for number, row in enumerate(rows)]
    whole = _align(columns, cells)
    if width is None or max(map(len, whole)) <= width:
        return [whole]
    return [
        _align(columns[:-1], [row[:-1] for row in cells]),
        [f"  #{number}  {folder}" for number, *_, folder in cells],
    ]


def render(rows: Sequence[Row], width: int | None = None) -> str:
    """The table; means over seeds; failures."""
    parts = table(rows, width)
    metrics = sorted({outcome.record["metric"] for _, outcome in rows if outcome.record})
    if metrics:
        words = " or ".join(f"{name}{unit(name)}" for name in metrics)
        parts.append([f"dev, test: {words}, of the last checkpoint", *_shortened(rows)])
    parts += [means] if (means := _means(rows, _columns(rows))) else []
    parts += [
        [f"#{number} failed: {outcome.error}", f"    {outcome.command}"]
        for number, (_, outcome) in enumerate(rows)
        if outcome.status == "failed"
    ]
    return "\n\n".join("\n".join(part) for part in parts)


def _shortened(rows: Sequence[Row]) -> list[str]:
    """What `shortened` says of these runs, each sentence once."""
    return sorted({shortened(outcome.record) for _, outcome in rows if outcome.record} - {""})


def shortened(record: Mapping[str, Any]) -> str:
    """How many examples of a run were cut to the model's length; empty where none was."""
    count = record.get("truncated_examples")
    if not count:
        return ""
    examples = sum(record.get("examples", {}).values())
    longest = record.get("config", {}).get("model", {}).get("max_length")
    limit = f"model.max_length={longest}" if longest else "the model's length"
    return f"shortened: {count:,} of {examples:,} examples are longer than {limit}, and lost what is beyond"


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
    """Number, targets and rank; other settings where rows differ; counts, scores, time, status, folder."""
    known = {*ALWAYS_SHOWN, *SHOWN_IF_DIFFERENT, "budget"}
    written = [override.lstrip("+").partition("=")[0] for run, _ in rows for override in run.overrides]
    others = [*SHOWN_IF_DIFFERENT, *(key for key in dict.fromkeys(written) if key not in known)]
    different = [key for key in others if len({_setting(run, key) for run, _ in rows}) > 1]
    return ["#", *ALWAYS_SHOWN, *different, "trainable", *SPLITS, "seconds", "status", "folder"]


def _cells(
    number: int,
    run: PlannedRun,
    outcome: Outcome,
    columns: Sequence[str],
    words: Mapping[str, str] = STATUS_WORDS,
) -> list[str]:
    record = outcome.record or {}
    last = record.get("metrics", {}).get("last", {})
    scores = {
        split: shown(record["metric"], last[split][record["metric"]]) for split in SPLITS if split in last
    }
    trainable = record.get("parameters", {}).get("trainable")
    seconds = record.get("timing", {}).get("seconds")
    made = {
        "#": str(number),
        "trainable": "" if trainable is None else f"{trainable:,}",
        "seconds": "" if seconds is None else f"{seconds:.1f}",
        "status": words.get(outcome.status, outcome.status),
        "folder": str(outcome.folder or ""),
        **dict.fromkeys(SPLITS, ""),
        **scores,
    }
    return [made[column] if column in made else _setting(run, column) for column in columns]


def _means(rows: Sequence[Row], columns: Sequence[str]) -> list[str]:
    """A line for each setting: mean and standard deviation over its seeds, where some setting has several."""
    settings = columns[1 : columns.index("trainable")]
    cells: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for run, outcome in rows:
        if outcome.record:
            cell = tuple(_setting(run, key) for key in settings if key != "seed")
            cells.setdefault(cell, []).append(outcome.record)
    if max(map(len, cells.values()), default=0) < 2:
        return []
    lines = []
    for cell, records in cells.items():
        name, line = records[0]["metric"], [*cell, str(len(records))]
        for split in SPLITS:
            scores = [last[split][name] for record in records if split in (last := record["metrics"]["last"])]
            spread = f" ± {shown(name, statistics.stdev(scores))}" if len(scores) > 1 else ""
            line.append(f"{shown(name, statistics.mean(scores))}{spread}" if scores else "")
        lines.append(line)
    kept = [key for key in settings if key != "seed"]
    return ["mean ± standard deviation over seeds", *_align([*kept, "seeds", *SPLITS], lines)]


def _align(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in [columns, *rows]) for i in range(len(columns))]

    def line(cells: Sequence[str]) -> str:
        padded = (
            cell.rjust(width) if column in NUMBERS else cell.ljust(width)
            for column, cell, width in zip(columns, cells, widths, strict=True)
        )
        return "  ".join(padded).rstrip()

    return [line(columns), line(["-" * width for width in widths]), *map(line, rows)]
