"""The figure of what LoRA costs: latency, memory told apart, memory by size, and speed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from analysis import paper_values
from analysis.claims.costs import ADAPTERS, THIRD, name_of, paper_slowdown, slowdowns, speedups
from analysis.figures.style import WIDTH, paper_style
from analysis.reading.costs import FULL, LORA, Costs

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HEIGHT = 5.2
MIB = 2**20
FORWARDS = {
    "lora_merged": ("LoRA, merged", "#332288", "o"),
    "lora_unmerged": ("LoRA, not merged", "#88ccee", "s"),
    "adapter_l": ("Adapter^L", "#999933", "^"),
    "adapter_h": ("Adapter^H", "#cc6677", "v"),
}
PARTS = {
    "weights": "#332288",
    "optimizer": "#88ccee",
    "gradients": "#999933",
    "activations": "#cc6677",
}
PARTS_IN_WORDS = {"optimizer": "Adam's moments"}


def draw(costs: Costs) -> Figure:
    """Four panels; what each shows is in the caption (`caption`)."""
    from matplotlib.figure import Figure

    with paper_style():
        figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
        (latency, memory), (sizes, speed) = figure.subplots(2, 2)
        _latency(latency, costs)
        _memory(memory, costs)
        _sizes(sizes, costs)
        _speed(speed, costs)
    return figure


def caption(costs: Costs) -> str:
    """What the figure shows."""
    batch, length = costs.steps[0].size
    return (
        "What LoRA costs. Top left: time of a forward pass over that of the fine-tuned model at the "
        "settings of the paper's Table 1, scaled; hollow: the paper's. Top right: memory of a training step "
        f"of {batch} × {length} tokens, told apart; black: the peak as measured, for gradients come as "
        "activations go. Bottom left: full fine-tuning's peak over LoRA's by batch and length; lines: the "
        "formula. Bottom right: training steps a second over full fine-tuning's; hollow: the paper's tokens "
        "a second. Bars: 95% interval over rounds."
    )


def _latency(axes: Any, costs: Costs) -> None:
    spread = 0.16
    for number, (name, (word, color, marker)) in enumerate(FORWARDS.items()):
        offset = (number - (len(FORWARDS) - 1) / 2) * spread
        for place, forward in enumerate(costs.forwards):
            found = slowdowns(forward)[name]
            low, high = found.interval()
            axes.errorbar(
                place + offset,
                found.value,
                [[found.value - low], [high - found.value]],
                color=color,
                marker=marker,
                linestyle="none",
                label=word if place == 0 else None,
            )
            paper = paper_slowdown(ADAPTERS[name], forward) if name in ADAPTERS else None
            if name == "lora_merged":
                paper = 1.0
            if paper is not None:
                axes.plot(place + offset + spread / 3, paper, marker, color=color, markerfacecolor="none")
    axes.axhline(1.0, color="black", linewidth=0.5)
    axes.set_xticks(
        range(len(costs.forwards)),
        [f"{one.batch} × {one.length}\n(paper {one.paper[0]} × {one.paper[1]})" for one in costs.forwards],
    )
    axes.set_ylabel("time over full fine-tuning's")
    axes.set_title("forward pass, batch × length")
    axes.legend(loc="upper left")


def _memory(axes: Any, costs: Costs) -> None:
    steps = list(costs.by_method.values())[::-1]
    left = [0.0] * len(steps)
    for part, color in PARTS.items():
        sizes = [getattr(step, part) / MIB for step in steps]
        axes.barh(range(len(steps)), sizes, left=left, color=color, label=PARTS_IN_WORDS.get(part, part))
        left = [before + size for before, size in zip(left, sizes, strict=True)]
    axes.plot(
        [step.peak / MIB for step in steps], range(len(steps)), "|", color="black", label="peak", markersize=8
    )
    axes.set_yticks(range(len(steps)), [name_of(step.method) for step in steps])
    axes.set_xlabel("MiB")
    axes.set_title("memory of a training step")
    axes.set_xlim(0, 1.5 * axes.get_xlim()[1])  # room for the legend beside the bars
    axes.legend(loc="lower right")


def _sizes(axes: Any, costs: Costs) -> None:
    import numpy as np

    tokens = [full.batch * full.length for full, _ in costs.pairs]
    x = np.geomspace(min(tokens) / 4, 4 * max(tokens))
    lengths = sorted({full.length for full, _ in costs.pairs})
    colors = ("#332288", "#cc6677", "#999933", "#88ccee")
    for length, color in zip(lengths, colors, strict=False):
        there = [(full, lora) for full, lora in costs.pairs if full.length == length]
        axes.plot(
            [full.batch * full.length for full, _ in there],
            [full.peak / lora.peak for full, lora in there],
            "o",
            color=color,
            label=f"length {length}",
        )
        formula = [
            costs.formula(FULL, t / length, length) / costs.formula(LORA, t / length, length) for t in x
        ]
        axes.plot(x, formula, color=color, linewidth=0.7)
    axes.axhline(THIRD, color="black", linestyle=":", linewidth=0.8)
    axes.text(x[0], THIRD, " the paper's 3", va="bottom", fontsize=6.5)
    axes.set_xscale("log")
    axes.set_ylim(bottom=1.0)
    axes.set_xlabel("tokens of a batch")
    axes.set_ylabel("full fine-tuning over LoRA")
    axes.set_title("peak memory")
    axes.legend(loc="lower left")


def _speed(axes: Any, costs: Costs) -> None:
    found = speedups(costs)
    names = [*found][::-1]
    for place, name in enumerate(names):
        ratio = found[name]
        low, high = ratio.interval()
        axes.errorbar(
            ratio.value,
            place,
            xerr=[[ratio.value - low], [high - ratio.value]],
            color="#332288" if name == LORA else "#888888",
            marker="o",
        )
    paper = [paper_values.value("section4_2", "throughput", method=name).value for name in (LORA, FULL)]
    if LORA in names:
        axes.plot(paper[0] / paper[1], names.index(LORA), "o", color="#332288", markerfacecolor="none")
    axes.axvline(1.0, color="black", linewidth=0.5)
    axes.set_yticks(range(len(names)), [name_of(name) for name in names])
    axes.set_xlabel("steps a second over full fine-tuning's")
    axes.set_title("training speed")
