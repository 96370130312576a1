"""`--dry-run`: what a command would train, what it lacks, and how long it may take.

Nothing is trained or written and the hub is asked nothing; torch is imported only where there may be a GPU.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from experiments.config import RunConfig, digest
from experiments.engine import at_once
from experiments.errors import HubError, UserError
from experiments.identity import INDEX_SUFFIX, PICKLED, SAFETENSORS
from experiments.job import Outcome, address, check_rank, source_folder, source_of
from experiments.metrics import metric
from experiments.models import check_writes, model_identity
from experiments.parts import TaskConfig
from experiments.plan import PlannedRun
from experiments.progress import clock
from experiments.store import runs as runs_of
from experiments.sweep import Row, outcome_of, table, terminal_width
from experiments.tasks import Task, load_task, task_identity

OFFLINE = "HF_HUB_OFFLINE"
ASKED_OFFLINE = "LORA_SECTION7_ASKED_OFFLINE"
READY, LACKING = 0, 1
WORDS = {"kept": "finished", "not run": "to train", "failed": "cannot run", "busy": "busy elsewhere"}
NO_SWEEP = math.nan
LARGE = 32 * 2**20
"""Bytes; data of more is read when training begins, and a dry run does not wait for that."""
MOST_LABELS, MOST_SIGNS = 8, 160
"""Of more labels, or longer ones, their number alone is told."""
VARYING = ("seed", "rank")
"""A run takes about as long as one that differs in these alone."""


def stay_offline() -> None:
    """Ask the hub nothing from here on.  Its client reads this once, when it is imported."""
    os.environ.setdefault(ASKED_OFFLINE, os.environ.get(OFFLINE, "0"))
    os.environ[OFFLINE] = "1"


def dry_run(runs: Sequence[PlannedRun], workers: int | None) -> int:
    """Print the plan: a table of the runs and their folders, what is missing, and a guess of the cost.

    Args:
        workers: as for `engine.train`.

    Returns:
        The exit status: 0 where the command could run, 1 where something is missing.
    """
    rows = [(run, _outcome(run)) for run in runs]
    rows = [(run, _with_source(run, outcome, rows)) for run, outcome in rows]
    data = {task: _data(task) for task in _of_files(rows)}
    rows = [(run, _with_data(run, outcome, data.get(run.config.task))) for run, outcome in rows]
    parts = table(rows, terminal_width(), WORDS)
    if held := [_told(task, read) for task, read in data.items() if not isinstance(read, UserError)]:
        parts.append(["data", *(f"  {line}" for line in held)])
    missing: dict[str, list[str]] = defaultdict(list)
    for number, (run, outcome) in enumerate(rows):
        for lack in [outcome.error] if outcome.status == "failed" else _lacks(run):
            missing[str(lack)].append(f"#{number}")
    if missing:
        parts.append(["missing", *(f"  {line}  ({_listed(which)})" for line, which in missing.items())])
    if remote := dict.fromkeys(what for run, outcome in rows for what in _of_hub(run) if not outcome.record):
        parts.append([f"from the hub, unless it is in the local cache: {', '.join(remote)}"])
    counts = Counter(WORDS[outcome.status] for _, outcome in rows)
    told = ", ".join(f"{counts[word]} {word}" for word in WORDS.values() if counts[word])
    parts.append([f"{len(rows)} run{'s' * (len(rows) > 1)}: {told}", f"cost: {_cost(rows, workers)}"])
    print("\n\n".join("\n".join(part) for part in parts), flush=True)
    return LACKING if missing else READY


def _outcome(run: PlannedRun) -> Outcome:
    """What the store says; "failed" where the run cannot begin."""
    try:
        check_rank(run.config)
        return outcome_of(run, NO_SWEEP)
    except HubError as error:
        if _asked_offline():
            return Outcome("failed", run.config.readable_name(), None, None, str(error), run.command)
        # Its address follows from the data, which training would fetch.
        return Outcome("not run", run.config.readable_name(), None, None, None, run.command)
    except (UserError, OSError) as error:
        return Outcome("failed", run.config.readable_name(), None, None, str(error), run.command)


def _with_source(run: PlannedRun, outcome: Outcome, rows: Sequence[Row]) -> Outcome:
    """The same, unless the run starts from one that is neither finished nor in the plan."""
    if outcome.status != "not run" or outcome.folder is None:
        return outcome
    source = source_folder(run.config)
    if source is None or source.path in {other.folder for _, other in rows}:
        return outcome
    try:
        source_of(run)
    except UserError as error:
        return Outcome("failed", outcome.name, outcome.folder, None, str(error), run.command)
    return outcome


def _of_files(rows: Sequence[Row]) -> Iterator[TaskConfig]:
    """The tasks that read local files, of the runs that are to be trained."""
    tasks = dict.fromkeys(run.config.task for run, outcome in rows if outcome.status == "not run")
    yield from (task for task in tasks if task.path is not None)


def _data(task: TaskConfig) -> Task | float | UserError:
    """What the files hold, their MiB where they are too large to be read here, or what is wrong with them."""
    path = Path(str(task.path)).expanduser()
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    if (size := sum(file.stat().st_size for file in files)) > LARGE:
        return size / 2**20
    try:
        return load_task(task)
    except UserError as error:
        return error


def _told(task: TaskConfig, loaded: Task | float) -> str:
    """What the files hold, in one line."""
    if not isinstance(loaded, Task):
        return f"{task.name}, {task.path}: {loaded:,.0f} MiB, read when training begins"
    counts = ", ".join(f"{len(loaded.examples(split)):,} {split}" for split in loaded.splits)
    labels = loaded.labels or ()
    named = ", ".join(labels)
    which = f" ({named})" * (len(labels) <= MOST_LABELS and len(named) <= MOST_SIGNS)
    told = f"; {len(labels)} labels{which}" if labels else ""
    return f"{task.name}, {task.path}: {counts}{told}; {metric(loaded.metric, loaded.labels).title} counts"


def _with_data(run: PlannedRun, outcome: Outcome, data: Task | float | UserError | None) -> Outcome:
    """The same, unless the data is not as it must be, or the model cannot do what it asks for."""
    if outcome.status != "not run":
        return outcome
    error = data if isinstance(data, UserError) else None
    if isinstance(data, Task) and data.labels is None:
        try:
            check_writes(run.config.model)
        except UserError as cannot:
            error = cannot
    return outcome if error is None else dataclasses.replace(outcome, status="failed", error=str(error))


def _lacks(run: PlannedRun) -> Iterator[str]:
    """What else would stop the run: a store that takes nothing, a model that may not be fetched."""
    study = run.config.root / run.config.study
    there = next(folder for folder in (study, *study.absolute().parents) if folder.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        yield f"{study} cannot be made or written; give another root or study"
    if _asked_offline():
        yield from (f"{what}: {OFFLINE} is set and it is not in the local cache" for what in _models(run))


def _asked_offline() -> bool:
    return os.environ.get(ASKED_OFFLINE, "0") not in ("", "0")


def _of_hub(run: PlannedRun) -> Iterator[str]:
    """What training would ask the hub for."""
    yield from _models(run)
    try:
        if task_identity(run.config.task) == "hub":
            yield f"the data of task={run.config.task.name}"
    except HubError:
        yield f"the data of task={run.config.task.name}"
    except UserError:
        return  # told as missing


def _models(run: PlannedRun) -> Iterator[str]:
    """The run's model, where it is one of the hub's that is not in the local cache."""
    model = run.config.model
    try:
        if not model_identity(model).startswith("hub:"):
            return
    except UserError:
        return  # told as missing
    from huggingface_hub import try_to_load_from_cache

    names = [name + suffix for name in (SAFETENSORS, PICKLED) for suffix in ("", INDEX_SUFFIX)]
    cached = (try_to_load_from_cache(model.name, name, revision=model.revision) for name in names)
    if not any(isinstance(file, str) for file in cached):
        yield f"model.name={model.name}"


def _listed(numbers: Sequence[str]) -> str:
    return ", ".join(numbers) if len(numbers) < 4 else f"{numbers[0]} to {numbers[-1]}, {len(numbers)} runs"


# ---------------------------------------------------------------------------------------------------- cost


def _cost(rows: Sequence[Row], workers: int | None) -> str:
    """In words, by the finished runs of the store that differ in seed and rank alone."""
    left = [(run.config, outcome.folder) for run, outcome in rows if outcome.status == "not run"]
    if not left:
        return "nothing is to be trained" if not _failed(rows) else "unknown"
    known = {root: _seconds(root) for root in {config.root for config, _ in left}}
    found = [known[config.root].get(_kind_of(config)) for config, folder in left if folder is not None]
    seconds = [mean(measured) for measured in found if measured]
    if not seconds:
        return "unknown: no finished run has these settings but for seed and rank"
    at_most = min(len(left), at_once(left[0][0]) if workers is None else workers)
    told = f"about {clock(sum(seconds) / at_most)} with {at_most} worker{'s' * (at_most > 1)}"
    some = f" for {len(seconds)} of the {len(left)} runs, unknown for the others" * (len(seconds) < len(left))
    return f"{told}{some} ({mean(seconds):.0f} s a run, by finished runs that differ in seed and rank alone)"


def _failed(rows: Sequence[Row]) -> bool:
    return any(outcome.status == "failed" for _, outcome in rows)


def _seconds(root: Path) -> dict[str, list[float]]:
    """Of every finished run below `root`, by its kind."""
    found: dict[str, list[float]] = defaultdict(list)
    for study in root.iterdir() if root.is_dir() else ():
        for folder in runs_of(root, study.name):
            record = folder.read() or {}
            if "config" in record and "seconds" in record.get("timing", {}):
                kind = _kind(record["config"], str(record.get("device")).startswith("cpu"))
                found[kind].append(record["timing"]["seconds"])
    return found


def _kind_of(config: RunConfig) -> str:
    place = address(config)
    return _kind(place.scientific, place.device == "cpu")


def _kind(scientific: Mapping[str, Any], on_cpu: bool) -> str:
    return digest({key: value for key, value in scientific.items() if key not in VARYING} | {"cpu": on_cpu})
