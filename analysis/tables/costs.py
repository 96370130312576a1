"""What LoRA costs, as scripts/benchmark_costs.py has measured it, beside what the paper says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from analysis import paper_values
from analysis.claims.costs import ADAPTERS, judge_costs, name_of, paper_slowdown, slowdowns, speedups, where
from analysis.claims.judgement import Judgement
from analysis.errors import AnalysisError
from analysis.figures.costs import FORWARDS, MIB, caption, draw
from analysis.reading.costs import FILE, FULL, LORA, Costs, costs_file, has_costs, read_costs
from analysis.registry import command
from analysis.result import Cell, Drawing, Result, Row, Table
from analysis.statistics import Ratio
from analysis.tables.numbers import MISSING

if TYPE_CHECKING:
    from analysis.selection import Selection

PEFT = (
    "PEFT's own comparison (Llama-3.2-3B, MetaMathQA, one run a setting, 2026; LoRA of r = 32 on W_q and "
    "W_v) found 1.7 times less memory, steps 2.3 times as fast, and a checkpoint 175 times smaller."
)


def is_measured(selection: Selection) -> bool:
    return has_costs(selection.study)


@command(
    "costs",
    "what LoRA costs: latency, memory, storage, speed, switching, beside the paper's numbers",
    selects=(),
    every_task=True,
    title="What LoRA costs",
    applies=is_measured,
    alone=True,
)
def make(selection: Selection, from_: Path | None = None) -> Result:
    """One table, one figure, and a judgement of each claim.

    Args:
        from_: a file of scripts/benchmark_costs.py; None for the study's own.

    Raises:
        AnalysisError: there is none, or it is not whole.
    """
    import pandas

    path = costs_file(selection.study) if from_ is None else from_
    if from_ is None and not is_measured(selection):
        raise AnalysisError(
            f"{path.parent} has no {FILE}; measure it with python scripts/benchmark_costs.py --out {path}, "
            "or give another file with --from"
        )
    costs = read_costs(path)
    judgements = judge_costs(costs)
    return Result(
        "costs",
        pandas.DataFrame([*_numbers(costs)]),
        {
            "file": costs.name,
            "model": dict(costs.model),
            "device": costs.device,
            "precision": costs.precision,
            "lora": dict(costs.lora),
            "machine": dict(costs.machine),
            "quick": costs.quick,
        },
        drawings={"": Drawing(draw(costs), f"{caption(costs)} {where(costs)}")},
        tables=(table(costs, judgements),),
        judgements=judgements,
        answers=[_answer(found) for found in judgements],
    )


def table(costs: Costs, judgements: Sequence[Judgement]) -> Table:
    """A row a method, then the paper's; below them what each claim has come to."""
    batch, length = costs.training
    lora = f"r = {costs.lora['rank']} on W_{', W_'.join(costs.lora['targets'])}"
    at = f"{costs.steps[0].batch} × {costs.steps[0].length}"
    return Table(
        title=f"What LoRA costs, beside other methods ({costs.model['name']}, {costs.device})",
        labels=("method",),
        columns=(
            "trained",
            *(f"pass {one.batch} × {one.length}" for one in costs.forwards),
            f"step {batch} × {length}",
            "peak, MiB",
            "file, KiB",
        ),
        groups=(tuple(_rows(costs)), tuple(_paper_rows(costs))),
        notes=(
            where(costs),
            "Pass: time of a forward pass over full fine-tuning's, whose own is in ms; step: training steps "
            "a second over full fine-tuning's; medians with their 95% interval over rounds. Peak: "
            f"of all that is allocated in a step of {at} tokens, weights included. LoRA is of {lora} in "
            f"training; in passes the methods add the paper's shares of parameters: {_added(costs)}.",
            *(f"{f.claim} ({f.section}): {f.statement}. Value: {f.statistic}. {f.note}" for f in judgements),
            PEFT,
        ),
    )


def _added(costs: Costs) -> str:
    return "; ".join(
        f"{one.batch} × {one.length}: "
        + ", ".join(f"{one.added[name]:,} {word}" for name, (word, *_) in FORWARDS.items() if one.added[name])
        for one in costs.forwards
    )


def _answer(found: Judgement) -> str:
    """A verdict in a line, with its value."""
    cells = found.cells
    value = f"{cells['value']} ({cells['interval']})" if cells["interval"] else cells["value"]
    beside = [f"{word} {cells[word]}" for word in ("wanted", "paper") if cells[word]]
    return f"{found.claim}: {found.verdict}. {', '.join([value, *beside])}."


def _rows(costs: Costs) -> Iterator[Row]:
    passes = [slowdowns(forward) for forward in costs.forwards]
    steps = speedups(costs)
    seconds = costs.training_seconds
    for method, step in costs.by_method.items():
        key = "lora_unmerged" if method == LORA else method
        if method == FULL:
            timed = [Cell(f"{1000 * median(one.seconds[FULL]):.3g} ms") for one in costs.forwards]
            speed = Cell(f"{1 / median(seconds[FULL]):.3g}/s")
        else:
            timed = [_ratio(found.get(key)) for found in passes]
            speed = _ratio(steps.get(method))
        size = costs.storage.get(method)
        yield Row(
            (name_of(method),),
            (
                Cell(f"{step.trainable:,}"),
                *timed,
                speed,
                Cell(f"{step.peak / MIB:,.1f}"),
                Cell(MISSING if size is None else f"{size / 1024:,.1f}"),
            ),
        )
        if method == LORA:
            merged = [_ratio(found["lora_merged"]) for found in passes]
            yield Row(("LoRA, merged",), (Cell("0"), *merged, *[Cell(MISSING)] * 3))


def _ratio(found: Ratio | None) -> Cell:
    if found is None:
        return Cell(MISSING)
    low, high = found.interval()
    return Cell(f"{found.value:.3f} [{low:.3f}, {high:.3f}]")


def _paper_rows(costs: Costs) -> Iterator[Row]:
    """GPT-2 medium's passes (Table 1), GPT-3's memory, files and throughput (Section 4.2)."""
    nothing = Cell(MISSING)

    def of_gpt3(method: str) -> tuple[Cell, Cell, Cell]:
        memory, file, rate = (
            paper_values.value("section4_2", name, method=method).value
            for name in ("memory", "checkpoint", "throughput")
        )
        full = paper_values.value("section4_2", "throughput", method=FULL).value
        speed = f"{rate:g} tokens/s" if method == FULL else f"{rate / full:.2f}"
        return Cell(speed), Cell(f"{memory:,.0f} GB"), Cell(f"{file:,.0f} MB")

    milliseconds = [
        paper_values.value("table1", "latency", method="lora", batch=one.paper[0]).value
        for one in costs.forwards
    ]
    passes = [Cell(f"{value:g} ms") for value in milliseconds]
    yield Row(("paper: full fine-tuning",), (nothing, *passes, *of_gpt3(FULL)), "paper")
    yield Row(("paper: LoRA",), (nothing, *[nothing] * len(passes), *of_gpt3(LORA)), "paper")
    yield Row(("paper: LoRA, merged",), (nothing, *[Cell("1")] * len(passes), *[nothing] * 3), "paper")
    for method, name in ADAPTERS.items():
        slower = [Cell(f"{paper_slowdown(name, one):.3f}") for one in costs.forwards]
        yield Row((f"paper: {name_of(method)}",), (nothing, *slower, *[nothing] * 3), "paper")


def _numbers(costs: Costs) -> Iterator[dict[str, Any]]:
    """Every number drawn or told, one row each."""

    def row(quantity: str, method: str, value: float, **more: Any) -> dict[str, Any]:
        return {"quantity": quantity, "method": method, "value": value, **more}

    def timed(quantity: str, method: str, found: Ratio, **more: Any) -> dict[str, Any]:
        low, high = found.interval()
        return row(quantity, method, found.value, low=low, high=high, rounds=found.rounds, **more)

    for one in costs.forwards:
        size = {"batch": one.batch, "length": one.length}
        for name, seconds in one.seconds.items():
            yield row("pass, median s", name, median(seconds), **size)
        for name, found in slowdowns(one).items():
            yield timed("pass over full", name, found, **size)
    for step in costs.steps:
        size = {"batch": step.batch, "length": step.length}
        for part in ("trainable", "weights", "gradients", "optimizer", "activations", "peak"):
            yield row(f"step, {part}", step.method, getattr(step, part), **size)
    for name, bytes_ in costs.storage.items():
        yield row("file, bytes", name, bytes_)
    size = dict(zip(("batch", "length"), costs.training, strict=True))
    for name, seconds in costs.training_seconds.items():
        yield row("step, median s", name, median(seconds), **size)
    for name, found in speedups(costs).items():
        yield timed("steps a second over full", name, found, **size)
    for name, seconds in costs.switching.items():
        yield row("switching, median s", name, median(seconds))
