"""Claims about accuracy that were made since the paper: which weights, which factor, which scale.

They are judged where a study has the runs that they are about, whatever else it has.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from analysis.cells import CellResult, Place, lora_runs
from analysis.claims.accuracy import ALL_TYPES, Answers, named
from analysis.claims.catalogue import claim
from analysis.claims.evidence import Evidence, Part, of_comparison
from analysis.errors import AnalysisError
from analysis.reading.run import Run
from analysis.selection import Selection
from analysis.statistics import compare
from lora.targets import LETTERS, parse_targets, targets_name

if TYPE_CHECKING:
    from pandas import DataFrame

RANK = 64
"""Of the claim about the scale."""
EQUAL = 0.02
"""Parameters that differ by less, as a share, are an equal number."""
SQUARE_ROOT = "alpha/sqrt(r)"
ATTENTION, MLP = frozenset(LETTERS[:4]), frozenset(LETTERS[4:])


def kind(run: Run) -> str | None:
    """The name of a LoRA run's weights, and what else tells it from the paper's LoRA: "qv train=B".

    None of what no claim here is about: another method, ranks that differ by letter, DoRA, LoRA+, PiSSA and
    OLoRA.
    """
    told = run.settings
    if told["method"] != "lora" or not isinstance(told.get("rank"), int):
        return None
    if told.get("init") in ("pissa", "olora") or run.setting("dora") or run.setting("lr_ratio") != 1:
        return None
    train, scaling = run.setting("train"), told.get("scaling", "alpha/r")
    words = [f"train={train}"] * (train != "both") + [f"scaling={scaling}"] * (scaling != "alpha/r")
    return " ".join([told["targets"], *words])


def kinds(selection: Selection) -> dict[str, str]:
    """By run id, of the selection's task."""
    found = {run.id: kind(run) for run in selection.study.runs if run.settings["task"] == selection.task}
    return {run: name for run, name in found.items() if name is not None}


def places(selection: Selection) -> set[Place]:
    """Every kind and rank that the study has on the task; nothing is read but what it has at hand."""
    there = kinds(selection)
    return {(there[run.id], run.settings["rank"]) for run in selection.study.runs if run.id in there}


class Since(Answers):
    """The answers of one task's LoRA runs, told apart by factor and scale too; one family of claims."""

    def cells(self, *places: Place) -> list[CellResult]:
        """The cells, whose runs differ in nothing that forbids comparing them.

        Raises:
            AnalysisError: a chosen seed has no run, runs cannot be told apart, are damaged or of different
                models.
        """
        for place in places:
            lacking = {*(self.selection.seeds or ())} - {*self._seeds(place)}
            if lacking:
                raise AnalysisError(
                    f"--seeds: {self.selection.task} {named(place)} has no run of seed "
                    f"{', '.join(map(str, sorted(lacking)))}"
                )
        return super().cells(*places)

    def difference(self, first: Place, second: Place) -> Part:
        """First minus second; the claim wants it above 0."""
        one, other = self.cells(first, second)
        words = f"{named(first)} against {named(second)}"
        return of_comparison(compare(one.outcomes, other.outcomes), scale=self.metric.scale, name=words)

    @cached_property
    def places(self) -> dict[Place, int]:
        """Every kind and rank, and the parameters of its adapter."""
        rows = self._lora[["targets", "rank", "adapter_parameters"]].itertuples(index=False)
        return {(targets, rank): int(parameters) for targets, rank, parameters in rows}

    def evidence(
        self, what: str, pairs: Sequence[tuple[Place, Place]], others: Sequence[Place] = ()
    ) -> Evidence:
        """Of the claim that each first beats its second; the others are told beside."""
        if not pairs:
            raise AnalysisError("of the runs that were chosen there are not both")
        parts = tuple(self.difference(first, second) for first, second in pairs)
        told = dict.fromkeys([*(place for pair in pairs for place in pair), *others])
        unit = ", points" if self.metric.share else ""
        noun = "accuracy" if self.metric.binary else self.metric.title
        return Evidence(f"{noun}: {what}{unit}", parts, f"Margin: none. {self.described(*told)}")

    @cached_property
    def _lora(self) -> DataFrame:
        found = lora_runs(self.selection.frame)
        names = kinds(self.selection)
        found = found[found["run"].isin(names)].copy()
        found["targets"] = [names[run] for run in found["run"]]
        return found


# ------------------------------------------------------------------------------------------ which weights


def has_mlp(selection: Selection) -> bool:
    """Whether there are runs of attention, of the MLP, and of both."""
    return any(True for _ in _groups({targets for targets, _ in places(selection)}))


def _groups(targets: set[str]) -> Iterator[tuple[str, str]]:
    """MLP's targets and those of all linear layers, where both are there, and attention's too."""
    for name in sorted(targets):
        letters = parse_targets(name.replace("-", ",")) if " " not in name else ()
        everything = targets_name(tuple(letter for letter in LETTERS if letter in ATTENTION | {*letters}))
        if letters and MLP.issuperset(letters) and {ALL_TYPES, everything} <= targets:
            yield name, everything


@claim(
    "mlp-beats-attention",
    "LoRA Without Regret",
    "at equal parameters the MLP's weights beat attention's, and all linear layers beat both",
    Since,
    applies=has_mlp,
    since=True,
)
def mlp_beats_attention(since: Since) -> Evidence:
    """LoRA Without Regret (Thinking Machines, September 2025): MLP and all layers beat attention alone, which
    2405.09673 finds for code and mathematics too, and advises all layers.

    Accuracy of the MLP's weights minus that of W_q, W_k, W_v and W_o, and of all of them minus either, at
    ranks at which their parameters differ by 2 % at most. The claim wants every difference above 0.
    """
    found: dict[tuple[Place, Place, Place], float] = {}
    for mlp, everything in _groups({targets for targets, _ in since.places}):
        ranks = [
            [place for place in since.places if place[0] == name] for name in (ALL_TYPES, mlp, everything)
        ]
        for attention, only, linear in itertools.product(*ranks):
            three = attention, only, linear
            sizes = [since.places[place] for place in three]
            if max(sizes) <= (1 + EQUAL) * min(sizes):
                found[three] = max(sizes) / min(sizes)
    if not found:
        raise AnalysisError(
            "no ranks of attention, MLP and all linear layers have equal parameters (to 2 %); train some: "
            f"python run.py -m +experiment=attention_or_mlp study={since.selection.study.name}"
        )
    pairs = [
        pair
        for attention, mlp, everything in found
        for pair in ((mlp, attention), (everything, attention), (everything, mlp))
    ]
    made = since.evidence("one set of weights minus another of as many parameters", pairs)
    told = "; ".join(
        ", ".join(f"{named(place)} {since.places[place]:,}" for place in three) for three in found
    )
    return Evidence(made.statistic, made.parts, f"{made.note} Parameters: {told}.")


# ------------------------------------------------------------------------------------------- which factor


def has_one_factor(selection: Selection) -> bool:
    """Whether there are runs that train A alone beside such as train B alone."""
    return bool(_one_factor(places(selection)))


def _one_factor(there: set[Place]) -> list[Place]:
    """The weights and ranks of both."""
    alone = [(name.removesuffix(" train=B"), rank) for name, rank in there if name.endswith(" train=B")]
    return sorted(place for place in alone if (f"{place[0]} train=A", place[1]) in there)


@claim(
    "b-beats-a",
    "2402.16842",
    "training B alone beats training A alone",
    Since,
    applies=has_one_factor,
    since=True,
)
def b_beats_a(since: Since) -> Evidence:
    """Zhu et al. (2402.16842): A reads features and B makes the output of them, so that a random A that is
    never trained does hardly worse than a trained one, and training B matters more than training A.

    Accuracy of runs that train B alone, A random, minus that of such as train A alone, B random and of the
    same distribution as A of the transposed W; at the same weights and rank. The claim wants it above 0.
    """
    both = _one_factor({*since.places})
    pairs = [((f"{name} train=B", rank), (f"{name} train=A", rank)) for name, rank in both]
    return since.evidence(
        "B trained alone minus A trained alone", pairs, [place for place in both if place in since.places]
    )


# -------------------------------------------------------------------------------------------- which scale


def has_both_scales(selection: Selection) -> bool:
    """Whether there are runs of r = 64 at either scale."""
    return bool(_both_scales(places(selection)))


def _both_scales(there: set[Place]) -> list[str]:
    """The weights of both."""
    rooted = [name.removesuffix(f" scaling={SQUARE_ROOT}") for name, rank in there if rank == RANK]
    return sorted(
        {name for name in rooted if {(name, RANK), (f"{name} scaling={SQUARE_ROOT}", RANK)} <= there}
    )


@claim(
    "rslora-beats-lora",
    "2312.03732",
    "at r = 64 the scale alpha/sqrt(r) beats alpha/r",
    Since,
    applies=has_both_scales,
    since=True,
)
def rslora_beats_lora(since: Since) -> Evidence:
    """Kalajdzievski (2312.03732): under alpha/r an adapter of a large rank hardly learns; alpha/sqrt(r) keeps
    learning stable at every rank, so that large ranks get better.

    Accuracy at r = 64 with alpha/sqrt(r) minus that with alpha/r, each at the learning rate that is best on
    dev where several were tried. The claim wants it above 0.
    """
    pairs = [((f"{n} scaling={SQUARE_ROOT}", RANK), (n, RANK)) for n in _both_scales({*since.places})]
    return since.evidence(f"{SQUARE_ROOT} minus alpha/r at r = {RANK}", pairs)
