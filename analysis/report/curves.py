"""What runs logged while they trained, drawn: a panel for each choice of weights and rank, a line a seed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from analysis.cells import CHOSEN_ON
from analysis.figures.style import WIDTH, paper_style
from analysis.figures.words import weight
from analysis.report.runs import letters, method_name, place, varied
from analysis.result import Drawing
from experiments.store import HISTORY, read_jsonl

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from analysis.reading.run import Run

COLUMNS, FEWEST = 6, 3
# Inches.
LEFT, RIGHT, BOTTOM, TITLE, LOSS, METRIC, GAP, COLUMN_GAP = 0.46, 0.06, 0.32, 0.26, 0.72, 0.42, 0.05, 0.09
LINE: dict[str, Any] = {"color": "#0072B2", "linewidth": 0.6, "alpha": 0.75}
LINES = {"loss": LINE, CHOSEN_ON: {**LINE, "marker": "o", "markersize": 1.8, "markeredgewidth": 0}}
"""What is drawn of a run, from the top."""

LOGGED = ("run", "step", "loss", CHOSEN_ON)

Titled = tuple[str, Sequence[str]]
"""A panel: its title, and the ids of its runs."""


def histories(runs: Sequence[Run]) -> tuple[pd.DataFrame, dict[str, str]]:
    """One row a step of a run at which something was logged, and the runs that have nothing, with the reason.

    Columns: run, step; loss, the mean since the step logged before; dev, the task's main metric there. What
    was not logged at a step is missing.
    """
    import pandas as pd

    rows: list[dict[str, object]] = []
    without: dict[str, str] = {}
    for run in runs:
        try:
            found = _history(run)
        except FileNotFoundError:
            without[run.id] = f"no {HISTORY}"
        except (OSError, ValueError, KeyError, TypeError) as error:
            without[run.id] = f"{HISTORY} is damaged ({type(error).__name__}: {error})"
        else:
            rows += [{"run": run.id, "step": step, **values} for step, values in sorted(found.items())]
            if not found:
                without[run.id] = f"nothing in {HISTORY}"
    return pd.DataFrame(rows, columns=list(LOGGED)), without


def _history(run: Run) -> dict[int, dict[str, float]]:
    """By step; of several evaluations at one step the first, which is that of the model in training."""
    names = {"loss": "loss", f"{CHOSEN_ON}/{run.record['metric']}": CHOSEN_ON}
    found: dict[int, dict[str, float]] = {}
    for record in read_jsonl(run.path / HISTORY):
        for key, name in names.items():
            if key in record and math.isfinite(record[key]):
                found.setdefault(int(record["step"]), {}).setdefault(name, float(record[key]))
    return found


def curves(task: str, runs: Sequence[Run], history: pd.DataFrame) -> Drawing | None:
    """The learning curves of one task's runs, or None where none was trained, or has logged anything.

    Args:
        history: as `histories` gives it.
    """
    there = set(history.dropna(subset=["loss"])["run"])
    drawn = [run for run in runs if run.id in there]
    if not drawn:
        return None
    metric = str(drawn[0].record["metric"]).replace("_", " ")
    history = history[history["run"].isin([run.id for run in drawn])]
    several = history.groupby("run")[CHOSEN_ON].count().max() > 1  # one evaluation is no curve
    caption = (
        f"Learning curves on {task} of {len(drawn)} run{'s' * (len(drawn) > 1)}: a panel for each choice of "
        "weights and rank, a thin line a seed. "
        f"{'Above, the' if several else 'The'} training loss, each point the mean since the one before, on a "
        f"logarithmic axis{f'; below, {metric} on {CHOSEN_ON}, a dot an evaluation' if several else ''}. All "
        "panels share their axes."
    )
    if not several:
        caption += f" {CHOSEN_ON}, evaluated at most once a run, is no curve: the table of costs has it."
    return Drawing(_draw(_panels(drawn), history, several), caption)


def _panels(runs: Sequence[Run]) -> list[Titled]:
    """In order of method, number of weights, and rank."""
    besides = varied(runs)
    groups: dict[str, list[str]] = {}
    for run in sorted(runs, key=place):
        groups.setdefault(_title(run, besides), []).append(run.id)
    return [*groups.items()]


def _title(run: Run, besides: Iterable[str]) -> str:
    """The weights and the rank on a line; then whatever else tells these runs from others, a line each."""
    told = run.settings
    name = method_name(told["method"])
    if adapted := letters(run):
        name = f"{', '.join(map(weight, adapted))}   $r$ = {told['rank']}"
    return "\n".join([name, *(f"{key} = {told[key]}" for key in besides if key in told)])


def _draw(panels: Sequence[Titled], history: pd.DataFrame, judged: bool) -> Figure:
    """`judged`: below each panel of the loss is one of the evaluations on dev."""
    from matplotlib.figure import Figure

    columns = min(COLUMNS, max(FEWEST, len(panels)))
    lines = max(title.count("\n") for title, _ in panels)
    heading = TITLE + 0.11 * lines
    heights = [LOSS, METRIC] if judged else [LOSS]
    pitch = heading + sum(heights) + GAP * len(heights)
    rows = -(-len(panels) // columns)
    total = rows * pitch + BOTTOM
    width = (WIDTH - LEFT - RIGHT - (columns - 1) * COLUMN_GAP) / columns
    by_run = dict(iter(history.groupby("run")))
    shared = _limits(history)
    with paper_style():
        figure = Figure(figsize=(WIDTH, total))
        for number, (title, runs) in enumerate(panels):
            y, x = divmod(number, columns)
            left, bottom = LEFT + x * (width + COLUMN_GAP), total - y * pitch - heading
            stack = {}
            for name, height in zip(LINES, heights, strict=False):
                bottom -= height
                stack[name] = figure.add_axes((left / WIDTH, bottom / total, width / WIDTH, height / total))
                stack[name].set(**shared[name])
                for run in runs:
                    logged = by_run[run].dropna(subset=[name])
                    stack[name].plot(logged["step"], logged[name], **LINES[name])
                bottom -= GAP
            stack["loss"].set_title(title, fontsize=6.5, pad=3)
            _labels(stack, first=x == 0, last=number + columns >= len(panels))
    return figure


def _limits(history: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """The axes' ranges, with a little room; of the loss by a factor, as its axis is logarithmic."""
    last = max(float(history["step"].max()), 1.0)
    steps = (-0.03 * last, 1.05 * last)
    found: dict[str, dict[str, Any]] = {"loss": {"yscale": "log", "xlim": steps}, CHOSEN_ON: {"xlim": steps}}
    losses = history["loss"][history["loss"] > 0]
    if len(losses):
        found["loss"]["ylim"] = (float(losses.min()) / 1.15, float(losses.max()) * 1.15)
    scores = history[CHOSEN_ON].dropna()
    if len(scores):
        room = 0.08 * max(float(scores.max() - scores.min()), 0.05)
        found[CHOSEN_ON]["ylim"] = (float(scores.min()) - room, float(scores.max()) + room)
    return found


def _labels(stack: dict[str, Axes], first: bool, last: bool) -> None:
    """`first` of its row, `last` of its column."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

    loss, lowest = stack["loss"], [*stack.values()][-1]
    low, high = loss.get_ylim()
    loss.yaxis.set_major_locator(LogLocator(subs=(1,) if high > 50 * low else (1, 2, 5), numticks=6))
    loss.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    loss.yaxis.set_minor_formatter(NullFormatter())
    if CHOSEN_ON in stack:
        stack[CHOSEN_ON].yaxis.set_major_locator(MaxNLocator(3))
    for name, axes in stack.items():
        axes.tick_params(labelbottom=last and axes is lowest, labelleft=first)
        axes.xaxis.set_major_locator(MaxNLocator(3, integer=True))
        if first:
            axes.set_ylabel("training loss" if name == "loss" else name)
    if last:
        lowest.set_xlabel("step")
