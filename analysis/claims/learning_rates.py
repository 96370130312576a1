"""The claim about LoRA's best learning rate, made since the paper."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from analysis.cells import CHOSEN_ON, differing_settings
from analysis.claims.catalogue import claim
from analysis.claims.evidence import Evidence, of_units
from analysis.claims.since import kinds
from analysis.errors import AnalysisError
from analysis.selection import Selection
from analysis.statistics import unit_mean

if TYPE_CHECKING:
    from pandas import DataFrame

FEWEST_RATES = 3
"""That show where the best lies: one on either side of it."""
RATIO, RATIO_MARGIN, RANK_MARGIN = 10.0, 3.0, 2.0
"""About ten times: within a factor of 3. Nearly independent of the rank: within a factor of 2."""

Curve = dict[float, dict[int, float]]
"""By learning rate and seed, the metric on dev."""


class LearningRates:
    """How well LoRA of each rank, under alpha/r, and full fine-tuning do on dev at each learning rate.

    Of LoRA the runs of the selection's targets count.
    """

    one_family = False

    def __init__(self, selection: Selection, margin: float = math.nan) -> None:
        self.selection = selection

    @cached_property
    def curves(self) -> dict[int | None, Curve]:
        """By rank; None is full fine-tuning. Of each the rates that were tried, three or more.

        Raises:
            AnalysisError: runs differ in something else, or cannot be told apart.
        """
        frame = self.selection.frame
        names = {run for run, name in kinds(self.selection).items() if name == self.selection.targets}
        full, lora = frame[frame["method"] == "full"], frame[frame["run"].isin(names)]
        used = frame[frame["run"].isin({*full["run"], *lora["run"]})]
        differing = differing_settings(used, but=("method", "targets", "rank", "seed", "lr"))
        if differing:
            name, values = next(iter(differing.items()))
            raise AnalysisError(
                f"the runs differ in {name} ({', '.join(map(str, values))}); choose one kind, as in --choose "
                f"{name}={values[0]}"
            )
        found: dict[int | None, Curve] = {None: self._curve(full, "full")}
        for rank in sorted({int(rank) for rank in lora["rank"]}):
            found[rank] = self._curve(lora[lora["rank"] == rank], f"r={rank}")
        return {rank: curve for rank, curve in found.items() if len(curve) >= FEWEST_RATES}

    def _curve(self, runs: DataFrame, name: str) -> Curve:
        curve: Curve = {}
        column = f"{CHOSEN_ON}_{self.selection.checkpoint}"
        if column not in runs:
            return curve
        for rate, seed, score in runs[["lr", "seed", column]].dropna().itertuples(index=False):
            at = curve.setdefault(float(rate), {})
            if at.setdefault(int(seed), float(score)) != float(score):
                raise AnalysisError(
                    f"{name} has several runs of lr={rate:g} and seed {seed}; choose one kind"
                )
        return curve


def has_rates(selection: Selection) -> bool:
    """Whether full fine-tuning and LoRA at two ranks were tried at several learning rates."""
    names = kinds(selection)
    rates: dict[int | None, set[float]] = {}
    for run in selection.study.runs:
        told = run.settings
        if told["task"] == selection.task and told["method"] == "full":
            rates.setdefault(None, set()).add(told["lr"])
        elif names.get(run.id) == selection.targets:
            rates.setdefault(told["rank"], set()).add(told["lr"])
    several = [rank for rank, tried in rates.items() if len(tried) >= FEWEST_RATES]
    return None in several and len(several) > 2


def best_rates(curve: Mapping[float, Mapping[int, float]], name: str) -> dict[int, float]:
    """The logarithm of each seed's best learning rate, of the seeds that have most rates.

    The best is the top of the parabola, in the logarithm of the rate, through the best that was tried and its
    two neighbours; of several that are equally good the middle.

    Raises:
        AnalysisError: no three rates were tried with the same seeds, all are equally good, or the mean's best
            is the least or the largest, so that the best may lie beyond.
    """
    seeds = sorted({seed for at in curve.values() for seed in at})
    tried = {seed: sum(seed in at for at in curve.values()) for seed in seeds}
    seeds = [seed for seed in seeds if tried[seed] == max(tried.values())]
    rates = sorted(rate for rate, at in curve.items() if {*seeds} <= {*at})
    if len(rates) < FEWEST_RATES:
        raise AnalysisError(f"{name}: no three learning rates were tried with the same seeds")
    x = np.log(rates)
    scores = np.array([[curve[rate][seed] for rate in rates] for seed in seeds])
    mean = scores.mean(axis=0)
    if math.isclose(mean.min(), mean.max()):
        raise AnalysisError(
            f"{name}: every learning rate has the same {CHOSEN_ON} score, so none is the best"
        )
    if int(mean.argmax()) in (0, len(rates) - 1):
        which, wanted = ("least", "smaller") if mean.argmax() == 0 else ("largest", "larger")
        raise AnalysisError(
            f"{name}: the best learning rate on {CHOSEN_ON}, {rates[int(mean.argmax())]:g}, is the {which} "
            f"that was tried; try {wanted} ones"
        )
    return {seed: _top(x, row) for seed, row in zip(seeds, scores, strict=True)}


def _top(x: np.ndarray, scores: np.ndarray) -> float:
    best = np.flatnonzero(np.isclose(scores, scores.max(), rtol=0, atol=1e-12))
    place = int(best[0])
    if len(best) > 1 or place in (0, len(x) - 1):
        return float(x[best].mean())
    second, first, _ = np.polyfit(x[place - 1 : place + 2] - x[place], scores[place - 1 : place + 2], 2)
    return float(x[place] - first / (2 * second))


@claim(
    "lora-rate-tenfold",
    "LoRA Without Regret",
    "LoRA's best learning rate is about ten times full fine-tuning's, and nearly independent of the rank",
    LearningRates,
    applies=has_rates,
    since=True,
)
def lora_rate_is_tenfold(rates: LearningRates) -> Evidence:
    """LoRA Without Regret (Thinking Machines, September 2025): the best learning rate of LoRA is about ten
    times that of full fine-tuning and, under alpha/r, nearly independent of the rank.

    Each seed's best learning rate on dev. The claim wants the mean of LoRA's, over ranks, above 10/3 and
    below 30 times full fine-tuning's, and that of the largest rank, by a straight line through all ranks,
    above half and below twice that of the least: geometric means over seeds.
    """
    curves = rates.curves
    if None not in curves or len(curves) < 3:
        raise AnalysisError(f"the runs have no {CHOSEN_ON} split to choose learning rates by")
    best = {rank: best_rates(c, "full" if rank is None else f"r={rank}") for rank, c in curves.items()}
    seeds = sorted(set.intersection(*({*of_seed} for of_seed in best.values())))
    if not seeds:
        raise AnalysisError("no seed has every rank and full fine-tuning at several learning rates")
    ranks = [rank for rank in best if rank is not None]
    logs = np.array([[best[rank][seed] for rank in ranks] for seed in seeds])
    ratio = logs.mean(axis=1) - np.array([best[None][seed] for seed in seeds])
    slope = np.polyfit(np.log(ranks), logs.T, 1)[0] * math.log(ranks[-1] / ranks[0])
    parts = []
    words = f"r = {ranks[-1]} over r = {ranks[0]}"
    for values, center, factor, name in (
        (ratio, RATIO, RATIO_MARGIN, "LoRA over full fine-tuning"),
        (slope, 1.0, RANK_MARGIN, words),
    ):
        for above, bound in ((True, center / factor), (False, center * factor)):
            found = unit_mean(values, reference=math.log(bound))
            part = of_units(found, above=above, null=1.0, name=name, shown=math.exp)
            parts.append(replace(part, margin=factor))
    told = [
        f"{'full' if rank is None else f'r={rank}'} {_geometric([best[rank][seed] for seed in seeds]):.2g} "
        f"({len(curves[rank])} tried)"
        for rank in best
    ]
    return Evidence(
        f"best learning rate: LoRA's over full fine-tuning's, and {words}",
        tuple(parts),
        f"Margins: a factor of {RATIO_MARGIN:g} about {RATIO:g}, and of {RANK_MARGIN:g} about 1. LoRA over "
        f"full {_geometric(ratio):.2g}; {words} {_geometric(slope):.2g}. Best: {', '.join(told)}.",
    )


def _geometric(logarithms: object) -> float:
    return float(np.exp(np.mean(np.asarray(logarithms, dtype=float))))
