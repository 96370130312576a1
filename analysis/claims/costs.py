"""What the paper says that LoRA costs, judged on what was measured (`analysis.reading.costs`)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median

from analysis import paper_values
from analysis.claims.evidence import Evidence, Part
from analysis.claims.judgement import Judgement, Verdict
from analysis.reading.costs import FULL, LORA, Costs, Forward
from analysis.statistics import Needed, Ratio, holm, paired_ratio
from experiments.methods import METHODS

SUBJECT = "costs"
"""What stands in the place of a task."""
MARGIN = 0.02
"""What counts as no latency: less than the least slow-down of the paper's Table 1, 2.2 %."""
ALPHA = 0.05
LEAST_ROUNDS = 10
"""That a verdict takes."""
THIRD, TEN_THOUSAND, ROUGHLY = 3.0, 10_000, 0.1
ADAPTERS = {"adapter_l": "adapter-l", "adapter_h": "adapter-h"}
"""Those of Table 1, and their names there."""


@dataclass(frozen=True)
class _Said:
    """A claim as the paper makes it: name, section, and statement in one line."""

    claim: str
    section: str
    statement: str


MERGED = _Said("merged-adds-no-latency", "4.1", "a merged LoRA model is the base's modules and no slower")
SLOWER = _Said("adapters-add-latency", "3", "adapter layers make a forward pass slower")
MEMORY = _Said("memory-a-third", "4.2", "training takes a third of full fine-tuning's memory")
STORAGE = _Said(
    "storage-ten-thousandth", "4.2", "a checkpoint shrinks as its parameters do, 10,000 times for GPT-3"
)
FASTER = _Said("trains-faster", "4.2", "a training step takes less time than full fine-tuning's")
SWITCHING = _Said("switching-is-cheap", "4.2", "another task's adapter is there sooner than another model")


def judge_costs(costs: Costs) -> list[Judgement]:
    """Each claim about costs, in the paper's order.

    The p-values of those that were timed are corrected by Holm together; memory and storage do not vary.
    """
    timed = {
        SLOWER: _adapters(costs),
        MERGED: _merged(costs),
        FASTER: _faster(costs),
        SWITCHING: _switching(costs),
    }
    corrected = dict(zip(timed, holm([found.p_value for found in timed.values()]), strict=True))
    judged: dict[_Said, Judgement] = {
        said: _judged(said, found, corrected[said]) for said, found in timed.items()
    }
    judged |= {MEMORY: _memory(costs), STORAGE: _storage(costs)}
    order = (SLOWER, MERGED, MEMORY, STORAGE, FASTER, SWITCHING)
    return [judged[said] for said in order]


def slowdowns(forward: Forward) -> dict[str, Ratio]:
    """Seconds of each candidate over those of full fine-tuning."""
    full = forward.seconds[FULL]
    return {name: paired_ratio(found, full) for name, found in forward.seconds.items() if name != FULL}


def speedups(costs: Costs) -> dict[str, Ratio]:
    """Seconds of full fine-tuning's training step over those of each other method's."""
    seconds = costs.training_seconds
    return {name: paired_ratio(seconds[FULL], found) for name, found in seconds.items() if name != FULL}


def paper_slowdown(method: str, forward: Forward) -> float:
    """Table 1's, as a ratio."""
    return 1 + paper_values.value("table1", "slowdown", method=method, batch=forward.paper[0]).value / 100


def where(costs: Costs) -> str:
    """On what it was measured, in a sentence."""
    model = f"{costs.model['name']} ({costs.model['parameters']:,} parameters), {costs.precision}"
    device = costs.device if costs.gpu else costs.device.replace("cpu", "a CPU")
    told = f"Measured on {device}, {model}"
    told += "." if costs.gpu else "; there was no GPU, which the paper's numbers are of."
    return told + " A trial (--quick), which measures nothing." * costs.quick


def name_of(method: str) -> str:
    """A method in a word or two, as its label begins: "Adapter^H", "full fine-tuning"."""
    label = METHODS[method].label if method in METHODS else method
    return label.partition(":")[0].partition(" (")[0]


# ---------------------------------------------------------------------------------------------- what is timed


def _merged(costs: Costs) -> Evidence:
    parts = [
        _part(_at(forward), found, MARGIN, paper="1")
        for forward, found in ((one, slowdowns(one)["lora_merged"]) for one in costs.forwards)
    ]
    kept = [name for name, same in costs.merged.items() if name != "count" and not same]
    unmerged = _listed({_at(one): slowdowns(one)["lora_unmerged"] for one in costs.forwards})
    if kept:
        told = f"The merged model differs from the base in its {' and '.join(kept)}."
        parts = [_certain(part) for part in parts]
    else:
        told = f"Merged: the base's modules, shapes and {costs.merged['count']} operators, one for one."
    return Evidence(
        "time of a pass over that of the fine-tuned model", tuple(parts), f"{told} Not merged: {unmerged}."
    )


def _certain(part: Part) -> Part:
    """The part, contradicted whatever its time."""
    return dataclasses.replace(part, p_for=1.0, p_against=0.0, distance=-1.0)


def _adapters(costs: Costs) -> Evidence:
    parts = [
        _part(
            f"{name_of(method)} at {_at(forward)}",
            slowdowns(forward)[method],
            paper=f"{paper_slowdown(name, forward):.3g}",
        )
        for forward in costs.forwards
        for method, name in ADAPTERS.items()
    ]
    told = _listed({part.name: part for part in parts})
    return Evidence("time of a pass over that of the fine-tuned model", tuple(parts), f"{told}.")


def _faster(costs: Costs) -> Evidence:
    paper = {name: paper_values.value("section4_2", "throughput", method=name).value for name in (FULL, LORA)}
    found = speedups(costs)
    others = _listed({name_of(name): ratio for name, ratio in found.items() if name != LORA})
    batch, length = costs.training
    return Evidence(
        "time of full fine-tuning's step over LoRA's",
        (_part("", found[LORA], paper=f"{paper[LORA] / paper[FULL]:.3g}"),),
        f"Steps of {batch} × {length} tokens. The paper's 1.33 is 43.1 over 32.5 tokens/s, its 25% is the "
        f"time saved. Others: {others}.",
    )


def _switching(costs: Costs) -> Evidence:
    words = {"file": "from a file", "memory": "from memory", "merged": "from memory, of a merged model"}
    ratios = {words[name]: paired_ratio(costs.switching["load"], costs.switching[name]) for name in words}
    seconds = ", ".join(
        f"{1000 * median(costs.switching[name]):.3g} ms {told}" for name, told in words.items()
    )
    return Evidence(
        "time to load the model over that to switch its adapter",
        tuple(_part(name, found) for name, found in ratios.items()),
        f"Loading (the file in the disk's cache): {1000 * median(costs.switching['load']):.3g} ms; a switch: "
        f"{seconds}.",
    )


def _part(name: str, ratio: Ratio, margin: float | None = None, paper: str = "") -> Part:
    """A part that wants a ratio above 1; with a margin, one of 1 within it."""
    if margin is None:
        level, wanted = 0.95, "> 1"
        p_for, p_against = 2 * ratio.p_not_above(1.0), 2 * ratio.p_not_below(1.0)
        distance = math.log(ratio.value)
    else:
        low, high = 1 / (1 + margin), 1 + margin
        level, wanted = 0.90, f"{low:.2f} to {high:.2f}"
        p_for = max(ratio.p_not_above(low), ratio.p_not_below(high))
        p_against = 2 * min(ratio.p_not_below(low), ratio.p_not_above(high))
        distance = math.log(high) - abs(math.log(ratio.value))
    low, high = ratio.interval(level)
    return Part(
        name=name,
        value=ratio.value,
        low=low,
        high=high,
        level=level,
        null=math.nan,
        wanted=wanted,
        p_for=min(1.0, p_for),
        p_against=min(1.0, p_against),
        distance=distance,
        seeds=ratio.rounds,
        examples=None,
        plan=lambda alpha: Needed(None, None, None, "more rounds may decide", None, None),
        least=LEAST_ROUNDS,
        margin=margin,
        paper=paper,
    )


def _judged(said: _Said, found: Evidence, p_holm: float) -> Judgement:
    part = found.shown
    verdict: Verdict = "undecided"
    if found.enough and p_holm < ALPHA:
        verdict = "supported" if found.p_for < found.p_against else "contradicted"
    rounds = f"{found.seeds} rounds" + (
        "" if found.enough else f", fewer than the {LEAST_ROUNDS} of a verdict"
    )
    told = [f"Shown: {part.name}." if part.name else "", found.note, f"Intervals are over {rounds}."]
    return Judgement(
        SUBJECT,
        said.claim,
        said.section,
        said.statement,
        verdict,
        statistic=found.statistic,
        value=part.value,
        low=part.low,
        high=part.high,
        level=part.level,
        wanted=part.wanted,
        margin=part.margin,
        p_value=found.p_value if found.enough else math.nan,
        p_holm=p_holm if found.enough else math.nan,
        paper=part.paper,
        note=" ".join(filter(None, told)),
    )


# --------------------------------------------------------------------------------------- what does not vary


def _memory(costs: Costs) -> Judgement:
    ratios = {f"{full.batch} × {full.length}": full.peak / lora.peak for full, lora in costs.pairs}
    low, high = min(ratios.values()), max(ratios.values())
    verdict: Verdict = "supported" if low >= THIRD else "contradicted" if high < THIRD else "undecided"
    depends = "It depends on batch and length. " if verdict == "undecided" else ""
    full, lora = (costs.by_method[name] for name in (FULL, LORA))
    paper = [paper_values.value("section4_2", "memory", method=name).value for name in (FULL, LORA)]
    none = costs.formula(FULL, 0, 0) / costs.formula(LORA, 0, 0)
    length = full.length
    many = costs.formula(FULL, 1e9, length) / costs.formula(LORA, 1e9, length)
    told = ", ".join(f"{ratio:.2f} at {size}" for size, ratio in ratios.items())
    error = max(
        abs(costs.formula(step.method, *step.size) / step.peak - 1) for pair in costs.pairs for step in pair
    )
    return Judgement(
        SUBJECT,
        MEMORY.claim,
        MEMORY.section,
        MEMORY.statement,
        "undecided" if costs.quick else verdict,
        statistic="peak of full fine-tuning's step over LoRA's, and its range over batch and length",
        value=full.peak / lora.peak,
        low=low,
        high=high,
        wanted=f">= {THIRD:g}",
        paper=f"{paper[0] / paper[1]:.2g}",
        note=f"{depends}Batch × length: {told}. By formula from {none:.2f} with no tokens to {many:.2f} with "
        f"many, of length {length}: Adam's moments and gradients are saved, activations are not. It is "
        f"within {100 * error:.0f}% of each peak.",
    )


def _storage(costs: Costs) -> Judgement:
    here = costs.storage[FULL] / costs.storage[LORA]
    step = {name: costs.by_method[name] for name in (FULL, LORA)}
    formula = step[FULL].total / step[LORA].trainable
    whole = 1e6 * max(row["parameters"] for row in paper_values.table("table4").rows)
    trained = paper_values.value("table5", "parameters", targets="qv", rank=4).value
    holds = abs(here / formula - 1) < ROUGHLY and abs(whole / trained / TEN_THOUSAND - 1) < ROUGHLY
    return Judgement(
        SUBJECT,
        STORAGE.claim,
        STORAGE.section,
        STORAGE.statement,
        "undecided" if costs.quick else "supported" if holds else "contradicted",
        statistic="bytes of the model's file over those of LoRA's, here",
        value=here,
        wanted=f"{formula:,.0f} by formula",
        margin=ROUGHLY * formula,
        paper=f"{TEN_THOUSAND:,}",
        note=f"The formula is all parameters over those trained: {whole / trained:,.0f} for GPT-3 (r = 4, "
        f"W_q and W_v; about 3 d/r), {formula:,.0f} for this model; 10% is allowed for either. Files of "
        f"{costs.storage[FULL]:,} and {costs.storage[LORA]:,} bytes.",
    )


def _at(forward: Forward) -> str:
    return f"{forward.batch} × {forward.length} (paper {forward.paper[0]} × {forward.paper[1]})"


def _listed(found: Mapping[str, Ratio | Part]) -> str:
    return ", ".join(f"{name} {one.value:.3g}" for name, one in found.items())
