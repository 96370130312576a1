"""Claims made since the paper about what adaptation forgets: the base model's own pretraining text."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.cells import CellResult, Cells, Evaluation, Place, lora_runs
from analysis.claims.accuracy import named
from analysis.claims.catalogue import claim
from analysis.claims.evidence import Evidence, of_units
from analysis.claims.since import kinds
from analysis.errors import AnalysisError
from analysis.reading import tensors
from analysis.selection import Selection
from analysis.statistics import Needed, UnitMean, rank_correlation, unit_mean, units_needed
from analysis.statistics.correlation import LEAST
from analysis.tables.spectra import INTRUDER_K, INTRUDER_THRESHOLD

if TYPE_CHECKING:
    from pandas import DataFrame

    from analysis.reading.run import Run

FULL: Place = ("full", 0)
IDS = ("run", "path")
FEWEST_SETTINGS = 6
"""Of a rank correlation; fewer decide nothing."""


class Forgetting:
    """What one task's runs have forgotten: the loss on pretraining text after minus before, nats a token.

    Runs of which it was not measured do not count, nor does LoRA of other kinds than the paper's.
    """

    one_family = False

    def __init__(self, selection: Selection, margin: float = math.nan) -> None:
        self.selection = selection

    @cached_property
    def cells(self) -> Cells:
        """Full fine-tuning and LoRA of each weights and rank, at the learning rate that is best on dev."""
        import pandas

        frame = self.frame
        lora = lora_runs(frame)
        lora = lora[lora["run"].isin(self._plain)]
        full = frame[frame["method"] == "full"].assign(targets=FULL[0], rank=FULL[1])
        names = [name for name in full.columns[: [*full.columns].index("trainable")] if name not in IDS]
        full = full[~full[names].astype(str).duplicated()]  # of runs that keep dW of other targets one counts
        return Cells(pandas.concat([full, lora]), Evaluation(self.selection.checkpoint, self.selection.split))

    @cached_property
    def frame(self) -> DataFrame:
        """The runs of which it was measured.

        Raises:
            AnalysisError: on different texts.
        """
        frame = self.selection.frame
        frame = frame[frame[self._column].notna()]
        texts = {run.record["forgetting"]["text"] for run in self.runs(frame["run"])}
        if len(texts) > 1:
            raise AnalysisError(
                f"forgetting was measured on different texts ({', '.join(sorted(texts))}); measure it on one"
            )
        return frame

    def runs(self, ids: Iterable[str]) -> list[Run]:
        by_id = {run.id: run for run in self.selection.study.runs}
        return [by_id[one] for one in ids]

    def of_cell(self, cell: CellResult) -> dict[int, float]:
        """By seed."""
        rows = self.frame.set_index("run").loc[[*cell.runs]]
        return dict(zip(map(int, rows["seed"]), map(float, rows[self._column]), strict=True))

    def settings(self) -> list[list[Run]]:
        """The LoRA runs of the selection's targets, those that differ in the seed alone together."""
        found: dict[Any, list[Run]] = {}
        for run in self.runs(run for run in self.frame["run"] if run in self._plain):
            if run.settings["targets"] == self.selection.targets:
                found.setdefault(_setting(run), []).append(run)
        return [*found.values()]

    def forgotten(self, run: Run) -> float:
        told = run.record["forgetting"]
        return float(told[self.selection.checkpoint] - told["before"])

    def intruders(self, runs: Iterable[Run]) -> dict[str, float]:
        """By run id, intruder dimensions a matrix: of the top ten left singular vectors of W + dW, how many
        are like none of W's (2410.21228), mean over layers and letters.
        """
        from analysis.geometry.dimensions import left_cosines, left_vectors

        chosen = [*runs]
        self.selection.check_model(chosen)
        counts: dict[str, list[float]] = {run.id: [] for run in chosen}
        for layer in tensors.layers(self.selection, chosen[0]):
            for letter in self.selection.letters:
                W = tensors.weight(self.selection, chosen[0], layer, letter).double()
                before = left_vectors(W)
                for run in chosen:
                    pair = tensors.factors(self.selection, run, layer, letter)
                    dW = pair.scaling * pair.B.double() @ pair.A.double()
                    cosines = left_cosines(W, dW, min(INTRUDER_K, *W.shape), before).cosines
                    counts[run.id].append(float((cosines < INTRUDER_THRESHOLD).sum()))
        return {run: float(np.mean(found)) for run, found in counts.items()}

    @cached_property
    def _plain(self) -> set[str]:
        """Ids of LoRA as the paper has it: both factors, alpha/r."""
        return {run for run, name in kinds(self.selection).items() if " " not in name}

    @property
    def _column(self) -> str:
        return f"forgetting_{self.selection.checkpoint}"


def _measured(selection: Selection, method: str) -> list[Run]:
    """The task's runs of a method of which it was measured."""
    runs = [run for run in selection.study.runs if run.settings["task"] == selection.task]
    return [run for run in runs if run.record.get("forgetting") and run.settings["method"] == method]


def _setting(run: Run) -> tuple[tuple[str, str], ...]:
    """All that tells it from other runs but for the seed."""
    return tuple((name, str(value)) for name, value in run.settings.items() if name != "seed")


def has_both(selection: Selection) -> bool:
    """Whether it was measured of LoRA and of full fine-tuning."""
    return bool(_measured(selection, "lora") and _measured(selection, "full"))


def has_several(selection: Selection) -> bool:
    """Whether it was measured of enough settings of LoRA on the selection's targets."""
    names = kinds(selection)
    runs = [run for run in _measured(selection, "lora") if names.get(run.id) == selection.targets]
    return len({_setting(run) for run in runs}) >= FEWEST_SETTINGS


@claim(
    "lora-forgets-less",
    "2405.09673",
    "LoRA forgets less than full fine-tuning",
    Forgetting,
    applies=has_both,
    since=True,
)
def lora_forgets_less(forgetting: Forgetting) -> Evidence:
    """Biderman et al. (2405.09673), "LoRA Learns Less and Forgets Less": after LoRA the base model is better
    at what it could before than after full fine-tuning, which learns more of the new task.

    The loss on pretraining text after adaptation minus before, in nats a token: LoRA's minus full
    fine-tuning's of the same seed, for each choice of weights and rank that was measured, each at the
    learning rate that is best on dev. The claim wants every difference below 0. The text is the same for all
    runs and counts as given.
    """
    cells = forgetting.cells
    lora = [place for place in cells if place != FULL]
    if FULL not in cells or not lora:
        raise AnalysisError("of the runs chosen it was not measured of both LoRA and full fine-tuning")
    cells.differing([FULL, *lora])
    forgetting.selection.check_model(forgetting.runs(run for place in cells for run in cells[place].runs))
    full = forgetting.of_cell(cells[FULL])
    parts, told = [], [_told("full", cells[FULL], full, cells)]
    for place in sorted(lora):
        found = forgetting.of_cell(cells[place])
        shared = sorted(found.keys() & full.keys())
        told.append(_told(named(place), cells[place], found, cells))
        if shared:
            mean = unit_mean([found[seed] - full[seed] for seed in shared])
            parts.append(of_units(mean, above=False, null=0.0, name=f"{named(place)} against full"))
    if not parts:
        raise AnalysisError("no seed has both LoRA and full fine-tuning with forgetting measured")
    return Evidence(
        "loss on pretraining text after minus before, LoRA minus full fine-tuning, nats a token",
        tuple(parts),
        f"Margin: none. Forgetting, and the metric on {forgetting.selection.split}: {'; '.join(told)}.",
    )


def _told(name: str, cell: CellResult, found: dict[int, float], cells: Cells) -> str:
    scale, decimals = cells.metric.scale, cells.metric.decimals
    unit = " %" if cells.metric.share else ""
    value = f"{scale * cell.mean.mean:.{decimals}f}{unit}"
    return f"{name} {np.mean([*found.values()]):+.3f}, {value} (lr {cell.lr:g})"


@claim(
    "intruders-forget",
    "2410.21228",
    "the more intruder dimensions, the more is forgotten",
    Forgetting,
    applies=has_several,
    since=True,
)
def intruders_go_with_forgetting(forgetting: Forgetting) -> Evidence:
    """Shuttleworth et al. (2410.21228v3): LoRA's weights have high-ranking singular vectors that are like
    none of the base's, and the more they have the more of the pretraining text is forgotten.

    Spearman's correlation, over settings of LoRA (rank, learning rate, ...), between intruder dimensions a
    matrix and what was forgotten, both means over the seeds of a setting: runs that differ in the seed alone
    are repeats. The claim wants it above 0.
    """
    settings = forgetting.settings()
    if len(settings) < LEAST:
        raise AnalysisError(f"{len(settings)} settings of the runs that were chosen are too few to correlate")
    counts = forgetting.intruders(run for runs in settings for run in runs)
    x = [float(np.mean([counts[run.id] for run in runs])) for runs in settings]
    y = [float(np.mean([forgetting.forgotten(run) for run in runs])) for runs in settings]
    found = rank_correlation(x, y)
    part = of_units(found, above=True, null=0.0, shown=math.tanh)
    part = replace(part, least=FEWEST_SETTINGS, plan=lambda alpha: _settings_needed(found, alpha))
    count = sum(map(len, settings))
    return Evidence(
        "Spearman's correlation of intruder dimensions and forgetting, over settings",
        (part,),
        f"Margin: none. {len(settings)} settings of {forgetting.selection.targets}, {count} runs; settings "
        f"stand here in the place of seeds, {FEWEST_SETTINGS} at least. Intruders a matrix {min(x):.2f} to "
        f"{max(x):.2f}, forgetting {min(y):+.3f} to {max(y):+.3f} nats a token. {found.method}.",
    )


def _settings_needed(found: UnitMean, alpha: float) -> Needed:
    """A plan of settings, where others are of seeds."""
    planned = units_needed(found, alpha=alpha, least=FEWEST_SETTINGS)
    return replace(planned, reason=planned.reason.replace("seed", "setting"))
