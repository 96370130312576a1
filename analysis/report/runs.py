"""The runs of a study: their order, what they adapt and differ in, what each cost, and what came of it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from analysis import paper_values
from analysis.defaults import SPLITS
from analysis.figures.words import listed, plain_weight
from analysis.reading.needs import SWEPT
from analysis.reading.run import Run, row
from analysis.result import Cell, Row, Table
from analysis.tables.numbers import MISSING
from experiments.errors import UserError
from experiments.methods import lookup
from experiments.metrics import metric
from lora.targets import LETTERS, parse_targets

if TYPE_CHECKING:
    import pandas as pd

TIMINGS = ("seconds", "seconds_training", "steps_per_second", "tokens_per_second", "peak_memory_bytes")
OF_A_RUN = ("method", *SWEPT)
MIB = 2**20


def letters(run: Run) -> tuple[str, ...]:
    """The projections that have factors of low rank; none where the method has no rank."""
    if "rank" not in run.settings:
        return ()
    return parse_targets(run.settings["targets"].replace("-", ","))


def method_name(method: str) -> str:
    """What its label calls it, before it says what is trained; the bare name where it is not to be found."""
    try:
        return lookup(method).label.partition(":")[0]
    except UserError:
        return method


def place(run: Run) -> tuple[Any, ...]:
    """To sort by: low rank first, few weights before many, in the order q k v o; by rank, then by seed."""
    told = run.settings
    adapted, rank = letters(run), told.get("rank", 0)
    mixed = isinstance(rank, str)
    return (
        paper_values.task_order(told["task"]),
        not adapted,
        told["method"],
        len(adapted),
        [LETTERS.index(letter) for letter in adapted],
        mixed,
        str(rank) if mixed else rank,
        told["seed"],
        run.id,
    )


def varied(runs: Iterable[Run]) -> list[str]:
    """The settings, but for targets, rank, seed and model, in which runs of one task and method differ."""
    groups: dict[Any, list[Run]] = {}
    for run in runs:
        groups.setdefault((run.settings["task"], run.settings["method"]), []).append(run)
    found: dict[str, None] = {}
    for group in groups.values():
        keys = dict.fromkeys(key for run in group for key in run.settings if key not in (*SWEPT, "model"))
        found |= dict.fromkeys(key for key in keys if len({str(run.settings.get(key)) for run in group}) > 1)
    return [*found]


def costs(runs: Sequence[Run]) -> pd.DataFrame:
    """One row a run; what a run did not record is missing.

    Columns: run, task, method, targets, rank, seed, the settings in which runs of one task and method differ
    besides, trainable, then the timings of run.json in its units, device, metric, and its values.
    """
    import pandas as pd

    rows = []
    besides = varied(runs)
    for run in sorted(runs, key=place):
        told, timing = row(run), run.record["timing"]
        values = {key: told.get(key) for key in ("run", "task", *OF_A_RUN, *besides, "trainable")}
        values |= {key: timing.get(key) for key in TIMINGS}
        values |= {"device": run.record.get("device"), "metric": told["metric"]}
        values |= {
            key: value for key, value in told.items() if key.startswith(tuple(f"{s}_" for s in SPLITS))
        }
        rows.append(values)
    columns = list(dict.fromkeys(key for values in rows for key in values))
    frame = pd.DataFrame(rows, columns=columns or ["run"])
    for name in ("seed", "trainable", "peak_memory_bytes"):
        if name in frame:
            frame[name] = frame[name].astype("Int64")
    return frame


def each_run(runs: Sequence[Run], frame: pd.DataFrame, checkpoint: str) -> Table:
    """A line a run, a group a task.

    Args:
        frame: `costs` of these runs.
        checkpoint: whose metrics are shown.
    """
    besides = varied(runs)
    groups: dict[str, list[Row]] = {}
    for run, record in zip(sorted(runs, key=place), frame.to_dict("records"), strict=True):
        values = {str(key): value for key, value in record.items()}
        weights = ", ".join(map(plain_weight, letters(run))) or method_name(values["method"])
        cells = [
            *(_text(values[key]) for key in besides),
            _count(values["trainable"]),
            _number(values["seconds"], ",.1f"),
            _number(values["steps_per_second"], ",.2f"),
            _number(values["peak_memory_bytes"], ",.0f", MIB),
            *(_score(values.get(f"{split}_{checkpoint}"), values["metric"]) for split in SPLITS),
        ]
        line = Row(
            (values["task"], weights, _text(values["rank"]), _text(values["seed"])), tuple(map(Cell, cells))
        )
        groups.setdefault(values["task"], []).append(line)
    return Table(
        "Every run",
        ("task", "weights", "r", "seed"),
        (*besides, "trainable", "seconds", "steps/s", "peak MiB", *SPLITS),
        tuple(map(tuple, groups.values())),
        (f"{_metrics(frame)}, {checkpoint} checkpoint.",),
    )


def totals(frame: pd.DataFrame) -> Table:
    """A line for each task and method, and one for all."""
    rows = []
    for (task, method), found in frame.groupby(["task", "method"], sort=False):
        rows.append(_total((str(task), method_name(str(method))), found))
    groups = [tuple(rows)]
    if len(rows) > 1:
        groups.append((_total(("all", ""), frame),))
    return Table(
        "What the runs cost",
        ("task", "method"),
        ("runs", "trainable", "s per run", "shortest", "longest", "total", "peak MiB"),
        tuple(groups),
        (
            "Seconds: training and evaluation, as each run recorded them; the total is their sum, whatever "
            "ran side by side. Peak: the most memory held, on a GPU during the run, on a CPU by its process "
            "until then, earlier runs of a sweep included. "
            f"Device: {listed(devices(frame)) or 'not recorded'}.",
        ),
    )


def devices(frame: pd.DataFrame) -> list[str]:
    return [] if frame.empty else sorted(set(frame["device"].dropna()))


def duration(seconds: float) -> str:
    """ "41 s", "12 min" or "3 h 05 min"."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"


def _total(labels: tuple[str, ...], found: pd.DataFrame) -> Row:
    low, high = found["trainable"].min(), found["trainable"].max()
    seconds = found["seconds"]
    cells = (
        f"{len(found):,}",
        _count(low) if low == high else f"{_count(low)} to {_count(high)}",
        _number(seconds.mean(), ",.1f"),
        _number(seconds.min(), ",.1f"),
        _number(seconds.max(), ",.1f"),
        duration(float(seconds.sum())),
        _number(found["peak_memory_bytes"].max(), ",.0f", MIB),
    )
    return Row(labels, tuple(map(Cell, cells)))


def _metrics(frame: pd.DataFrame) -> str:
    """ "dev, test: accuracy on nli and logical form accuracy on sql"."""
    by_task = frame.groupby("task", sort=False)["metric"].first()
    told = [f"{str(metric).replace('_', ' ')} on {task}" for task, metric in by_task.items()]
    return f"{', '.join(SPLITS)}: {listed(told)}"


def _score(value: Any, name: str) -> str:
    """As people read the metric: a share in per cent; a metric that is not known here as it stands."""
    try:
        known = metric(name)
    except UserError:
        return _text(value)
    return _number(value, f".{known.decimals}f", 1 / known.scale)


def _is_missing(value: Any) -> bool:
    import pandas as pd

    return value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value))


def _text(value: Any) -> str:
    if _is_missing(value):
        return MISSING
    return f"{value:g}" if isinstance(value, float) else str(value)


def _count(value: Any) -> str:
    return MISSING if _is_missing(value) else f"{int(value):,}"


def _number(value: Any, form: str, unit: float = 1) -> str:
    return MISSING if _is_missing(value) else format(float(value) / unit, form)
