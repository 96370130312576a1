"""`python -m analysis inspect PATH`: one adapter, in numbers, and in sentences that carry theirs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.checkup.measures import EPSILON, RATIOS, SCALED, SHAPED, Measured, frame, measure
from analysis.checkup.shortening import shortened
from analysis.errors import UsageError
from analysis.geometry.noise import SMALLEST_RANK
from analysis.provenance import rounding_of_weights
from analysis.reading.base_weights import BaseWeights
from analysis.reading.pairs import Adapter, open_adapter, stack_of, uneven_scales
from analysis.result import Cell, Row, Table
from lora.targets import LETTERS

if TYPE_CHECKING:
    import pandas as pd

NEAR_DEAD = 0.01
"""A projection whose ||dW|| is below this share of the median of its kind is named as near-dead."""
EVEN = 1.1
"""Energy counts as evenly spread where no part has more than this times its equal share."""
ALL_BUT = 0.999
"""The share of the energy from which a larger rank is not worth a word."""
SHADES = " .:-=+*#%@"


@dataclass(frozen=True, eq=False)
class Inspection:
    """A check-up.

    Attributes:
        adapter: what was inspected.
        measured: every projection, by layer and label.
        base: where W is from, or None.
        epsilon: of intruder dimensions.
        dequantised_from: the format whose rounding W carries, or None.
    """

    adapter: Adapter
    measured: Sequence[Measured] = field(repr=False)
    base: str | None = None
    epsilon: float = EPSILON
    dequantised_from: str | None = None

    @cached_property
    def numbers(self) -> pd.DataFrame:
        """One row a projection; layers from 0."""
        numbers = frame([*self.measured])
        alive = numbers["norm"].where(numbers["norm"] > 0)
        usual = alive.groupby(numbers["projection"]).transform("median").fillna(alive.median())
        numbers["state"] = np.where(
            numbers["norm"] == 0, "dW = 0", np.where(numbers["norm"] < NEAR_DEAD * usual, "near-dead", "")
        )
        numbers["energy_share"] = numbers["norm"] ** 2 / (numbers["norm"] ** 2).sum()
        return numbers

    @property
    def labels(self) -> list[str]:
        """Letters in their order, then other modules by energy."""
        energy = self.numbers.groupby("projection")["energy_share"].sum().sort_values(ascending=False)
        letters = [letter for letter in LETTERS if letter in energy.index]
        return [*letters, *(label for label in energy.index if label not in LETTERS)]

    @property
    def layers(self) -> list[int]:
        return sorted({int(layer) for layer in self.numbers["layer"].dropna()})

    def energy_map(self) -> pd.DataFrame:
        """The share of ||dW||^2 of all, label by layer; NaN where there is no projection."""
        numbers = self.numbers.dropna(subset=["layer"])
        table = numbers.pivot_table("energy_share", "projection", "layer", aggfunc="sum")
        return table.reindex([label for label in self.labels if label in table.index])

    def kept(self, rank: int) -> float:
        """The share of ||dW||^2 that is kept where every module is cut to its top `rank` directions.

        A fused module is cut as one, as `resize` does it.
        """
        squares = [np.nan_to_num(one.whole) ** 2 for one in self.measured if one.whole is not None]
        whole = float(sum(s.sum() for s in squares))
        return float(sum(s[:rank].sum() for s in squares)) / whole if whole else math.nan

    @property
    def largest_rank(self) -> int:
        """Of a whole module."""
        return max(len(one.whole) for one in self.measured if one.whole is not None)

    @property
    def unstated(self) -> bool:
        """Some scale is not stated, so that numbers which depend on it are marked."""
        return not all(one.pair.stated for one in self.measured)

    @cached_property
    def dependent(self) -> frozenset[str]:
        """The columns, and "kept", that depend on a scale that is not stated."""
        if not self.unstated:
            return frozenset()
        dense = any(one.dense and not one.pair.stated for one in self.measured)
        ratios = RATIOS if dense or uneven_scales(self.adapter) else frozenset()
        return SCALED | ratios | (SHAPED if dense else frozenset())

    def mark(self, column: str) -> str:
        """What stands behind a number of this column: "?" where it depends on a scale that is not stated."""
        return "?" if column in self.dependent else ""

    def title(self) -> str:
        numbers = self.numbers
        kinds = ", ".join(shortened(self.labels, 40)[:8]) + (
            f" and {len(self.labels) - 8} more" if len(self.labels) > 8 else ""
        )
        ranks = sorted(set(numbers["rank"]))
        rank = f"r = {ranks[0]}" if len(ranks) == 1 else f"r from {ranks[0]} to {ranks[-1]}"
        layered = {(stack_of(pair.module), pair.layer) for pair in self.adapter if pair.layer is not None}
        layers = f" of {_counted(len(layered), 'layer')}" if layered else ""
        if len(self.adapter.stacks) > 1:
            layers += f" in {len(self.adapter.stacks)} stacks"
        count = sum(pair.parameters for pair in self.adapter)
        return f"{_counted(len(numbers), 'projection')} ({kinds}{layers}), {rank}, {count:,} parameters"

    def origin(self) -> str:
        adapter = self.adapter
        names = " or ".join(adapter.architectures[:6]) or "unknown; modules keep their own names"
        told = (
            f"{names}, inferred from names and shapes"
            if adapter.inferred and adapter.architectures
            else names
        )
        stored = ", ".join(sorted(set(self.numbers["stored"])))
        return f"{adapter.format}; architecture: {told}; stored in {stored}"

    @cached_property
    def sentences(self) -> list[str]:
        return [*_sentences(self)]

    def tables(self) -> list[Table]:
        return [_by_label(self), _each(self)]

    def record(self) -> dict[str, Any]:
        """For --json: everything, NaN as null."""
        columns = [column for column in [*self.numbers.columns, "kept"] if column in self.dependent]
        return {
            "source": self.adapter.source,
            "format": self.adapter.format,
            "architectures": [*self.adapter.architectures],
            "inferred": self.adapter.inferred,
            "base": self.base,
            "scale_stated": not self.unstated,
            "depends_on_unstated_scale": columns,
            "notes": [*self.adapter.notes],
            "other_tensors": [*self.adapter.extra],
            "sentences": self.sentences,
            "norm": _norm(self),
            "kept": {str(rank): _plain(self.kept(rank)) for rank in _ranks(self)},
            "projections": [
                {key: _plain(value) for key, value in row.items()}
                | {"singular_values": [_plain(value) for value in one.values.tolist()]}
                for row, one in zip(self.numbers.to_dict("records"), self.measured, strict=True)
            ],
        }

    def printed(self) -> str:
        lines = [self.adapter.source, self.title(), self.origin(), ""]
        lines += [f"- {sentence}" for sentence in [*self.sentences, *self.adapter.notes]]
        heat = _shaded(self)
        return "\n".join([*lines, "", self.tables()[0].terminal(), *heat])


def inspect(
    path: str | Path,
    base: BaseWeights | str | Path | None = None,
    intruders: int | None = None,
    epsilon: float = EPSILON,
) -> Inspection:
    """What is in an adapter on disk.

    Args:
        path: as for `open_adapter`.
        base: the model that it belongs to, an open one or its folder or hub id: adds what needs W.
        intruders: how many of the top directions of W + dW are looked at for intruders (0: none); where not
            given, 10 if W is small.
        epsilon: |cosine| below which one is an intruder.

    Raises:
        AnalysisError: there is no whole adapter at the path, it is not of the base, or an option is wrong.
    """
    if not 0 < epsilon <= 1:
        raise UsageError(f"epsilon={epsilon:g} is no |cosine|; give one above 0 and at most 1, such as 0.5")
    if intruders is not None and intruders < 0:
        raise UsageError(f"intruders={intruders} is no number of directions; give 0 or more, such as 10")
    weights = BaseWeights.open(base) if isinstance(base, str | Path) else base
    adapter = open_adapter(path, weights)
    measured = measure(adapter, weights, intruders, epsilon)
    order = {letter: f"{place:02}" for place, letter in enumerate(LETTERS)}
    measured.sort(key=lambda m: (m.pair.layer is None, m.pair.layer or 0, order.get(m.label, f"~{m.label}")))
    source = None if weights is None else weights.checkpoint.source
    form = None if weights is None else weights.checkpoint.dequantised_from
    return Inspection(adapter, measured, source, epsilon, form)


# ------------------------------------------------------------------------------------------- in words


def _sentences(seen: Inspection) -> Iterator[str]:
    numbers = seen.numbers
    alive = numbers[numbers["norm"] > 0]
    if not len(alive):
        whole = f"all {len(numbers)} projections" if len(numbers) > 1 else "its one projection"
        yield f"dW = 0 in {whole}: nothing was trained, or B was reset."
        return
    mark = seen.mark("norm")
    if "relative_norm" in numbers:
        beside = alive["relative_norm"].dropna()
        if not len(beside):
            yield f"The base has no W of the names and sizes of these {len(alive)} projections."
            return
        yield (
            f"dW is {_percent(beside.median())}{mark} of W by Frobenius norm (median; "
            f"{_percent(beside.min())}{mark} to {_percent(beside.max())}{mark}); ||dW|| over all projections "
            f"is {_norm(seen):.3g}{mark}."
        )
        if without := [*alive.loc[alive["relative_norm"].isna(), "module"]]:
            yield (
                f"Beside W stand {len(beside)} of {len(alive)} projections; of the others the base has no W "
                f"of that name and size: {', '.join(without[:4])}{' and more' * (len(without) > 4)}."
            )
        yield from _against_weight(seen, alive)
    else:
        alone = " (of DoRA, B A alone)" if numbers["dora"].any() else ""
        yield (
            f"||dW|| over all projections is {_norm(seen):.3g}{mark}{alone}; its size beside W needs --base."
        )
    yield from _where(seen)
    yield from _rank_used(seen, alive)
    yield from _smaller(seen)
    yield from _dead(seen)
    below = alive[alive["below_rounding"] > 0]
    if len(below):
        yield (
            f"{_counted(int(below['below_rounding'].sum()), 'singular value')} in "
            f"{_counted(len(below), 'projection')} lie below "
            f"what rounding to {', '.join(sorted(set(below['stored'])))} can make: their directions are not "
            "the training's."
        )


def _against_weight(seen: Inspection, alive: pd.DataFrame) -> Iterator[str]:
    lift = alive["lift"].dropna()
    mark, shaped = seen.mark("factor"), seen.mark("lift")
    yield (
        f"Between dW's own directions W is {lift.median():.2f}{shaped} times as large as between random ones "
        f"(lift, median; 1 is chance), so dW amplifies them {alive['factor'].median():.3g}{mark}-fold, where "
        f"random directions would give {alive['null_factor'].median():.3g}{mark}."
    )
    if seen.dequantised_from is not None:
        told = rounding_of_weights(seen.dequantised_from)
        if "weight_below_rounding" in alive:
            counted = alive.dropna(subset=["weight_below_rounding"])
            smaller = counted[["d_out", "d_in"]].min(axis=1)
            share = float((counted["weight_below_rounding"] / smaller).median())
            told += f" Below the largest that it makes by itself lie {_percent(share)} of W's (median)."
        yield told
    left, right = (alive[f"share_{side}"].median() for side in ("left", "right"))
    chance = (alive["chance_left"].median(), alive["chance_right"].median())
    yield (
        f"{_percent(left)}{shaped} of dW's energy is in W's top left directions (chance "
        f"{_percent(chance[0])}) and {_percent(right)}{shaped} in its "
        f"top right ones (chance {_percent(chance[1])}), as many as dW's rank."
    )
    if "intruders_left" in alive:
        counted = alive.dropna(subset=["intruders_left"])
        left, right = (int(counted[f"intruders_{side}"].sum()) for side in ("left", "right"))
        near = int(counted["arbitrary_left"].sum()), int(counted["arbitrary_right"].sum())
        yield (
            f"Intruder dimensions, |cosine| below {seen.epsilon:g}: {left}{mark} on the left and "
            f"{right}{mark} on the right of {_counted(len(counted), 'projection')}; {near[0]}{mark} and "
            f"{near[1]}{mark} of them have singular values so "
            "close that their directions are arbitrary."
        )


def _where(seen: Inspection) -> Iterator[str]:
    mark = seen.mark("energy_share")
    shares = seen.numbers.groupby("projection")["energy_share"].sum().sort_values(ascending=False)
    if len(shares) > 1:
        top, share = str(shares.index[0]), float(shares.iloc[0])
        if share > EVEN / len(shares):
            yield (
                f"Of ||dW||^2, {_percent(share)}{mark} is in {top}; {_percent(1 / len(shares))} would be its "
                f"equal share among {len(shares)} kinds."
            )
        else:
            yield (
                f"||dW||^2 is spread evenly over the {len(shares)} kinds: the most, {_percent(share)}{mark}, "
                f"is in {top}."
            )
    layers = seen.layers
    if len(layers) >= 3 and len(seen.adapter.stacks) == 1:  # else one number is not one depth
        by_layer = seen.numbers.groupby("layer")["energy_share"].sum()
        parts = [part.tolist() for part in np.array_split(np.array(layers), 3)]
        energy = [float(by_layer.reindex(part).sum()) for part in parts]
        equal = [len(part) / len(layers) for part in parts]
        place = int(np.argmax(np.array(energy) / np.array(equal)))
        told = ", ".join(
            f"{_percent(share)}{mark} in {_span(part)}" for share, part in zip(energy, parts, strict=True)
        )
        most = ("first", "middle", "last")[place]
        lead = (
            f"Layer for layer it is densest in the {most} third"
            if energy[place] > EVEN * equal[place]
            else "It is spread evenly over the depth"
        )
        yield f"{lead}: {told} (evenly {', '.join(map(_percent, equal))})."


def _rank_used(seen: Inspection, alive: pd.DataFrame) -> Iterator[str]:
    def of(column: str) -> str:
        values, mark = alive[column].dropna(), seen.mark(column)
        median, low, high = (f"{value:.3g}{mark}" for value in (values.median(), values.min(), values.max()))
        return median if low == high else f"{median} ({low} to {high})"

    def directions(column: str) -> str:
        return f"{of(column)} direction{'s' * (of(column) != '1')}"

    ranks = sorted(set(alive["rank"]))
    rank = str(ranks[0]) if len(ranks) == 1 else f"{ranks[0]} to {ranks[-1]}"
    if ranks == [1]:
        yield "Of rank 1, dW has one direction; there is no rank left to use or to save."
        return
    yield (
        f"Of the rank, {rank}, a projection needs {directions('rank_90')} for 90 % of its energy, "
        f"{of('rank_95')} for 95 % and {of('rank_99')} for 99 % (medians; range); stable rank "
        f"{of('stable_rank')}, entropy rank {of('entropy_rank')}."
    )
    if len(alive["beyond_untrained"].dropna()):
        text = f"Beyond an untrained pair of the same norms stand {directions('beyond_untrained')}"
        if len(alive["beyond_noise"].dropna()):
            text += f", beyond the noise floor (Marchenko-Pastur) {of('beyond_noise')}"
        elif ranks[-1] < SMALLEST_RANK:
            text += f"; for a noise floor the rank is too small (below {SMALLEST_RANK})"
        yield f"{text}."


def _smaller(seen: Inspection) -> Iterator[str]:
    ranks = [rank for rank in _ranks(seen)[:-1] if rank > 0]
    if not ranks:
        return
    if any(one.pair.dora for one in seen.measured):
        yield (
            "What a smaller copy would keep is not told: resize cuts no DoRA, whose magnitudes are of the "
            "whole pair."
        )
        return
    mark = seen.mark("kept")
    enough = next((i for i, rank in enumerate(ranks) if seen.kept(rank) >= ALL_BUT), len(ranks))
    shown = ranks[max(0, enough - 3) : enough + 1]  # the smaller ones, up to the first that keeps nearly all
    told = "; ".join(
        f"rank {rank} keeps {_percent(kept)}{mark} (relative error {_percent(math.sqrt(1 - kept))}{mark})"
        for rank, kept in ((rank, min(1.0, seen.kept(rank))) for rank in reversed(shown))
    )
    yield f"Of the energy, a copy cut to {told}. What that costs on a task only an evaluation tells."


def _dead(seen: Inspection) -> Iterator[str]:
    numbers = seen.numbers
    for state, told in (
        ("dW = 0", "dW = 0"),
        ("near-dead", f"Near-dead, below 1 %{seen.mark('state')} of the median norm"),
    ):
        rows = numbers[numbers["state"] == state]
        if len(rows):
            yield f"{told}: {_named(rows)}."
    initial = numbers.dropna(subset=["A_init"])
    if len(initial):
        kinds = ", ".join(sorted(set(initial["A_init"])))
        also = " and their B is 0: they are untrained" if (initial["norm"] == 0).all() else ""
        yield (
            f"A of {len(initial)} of {len(numbers)} projections is not told apart from its initialisation "
            f"({kinds}){also}."
        )


def _span(layers: list[int]) -> str:
    first, last = layers[0] + 1, layers[-1] + 1
    return f"layer {first}" if first == last else f"layers {first} to {last}"


def _named(rows: pd.DataFrame, most: int = 6) -> str:
    names = [_place(layer, label) for layer, label in zip(rows["layer"], rows["projection"], strict=True)]
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _place(layer: Any, label: str) -> str:
    if layer is None or math.isnan(layer):
        return label
    if "*" in label:  # a whole name: with its own number it is what the file calls it
        return label.replace("*", str(int(layer)), 1)
    return f"{label} of layer {int(layer) + 1}"


# ------------------------------------------------------------------------------------------ in tables

_COLUMNS: Mapping[str, tuple[str, str]] = {
    "norm": ("||dW||", ".3g"),
    "sigma_1": ("sigma_1", ".3g"),
    "relative_norm": ("/||W||", ".2%"),
    "factor": ("AF", ".3g"),
    "null_factor": ("AF, chance", ".3g"),
    "lift": ("lift", ".2f"),
    "share_left": ("in W, left", ".1%"),
    "share_right": ("right", ".1%"),
    "intruders_left": ("intruders, left", ".3g"),
    "intruders_right": ("right", ".3g"),
    "stable_rank": ("stable", ".2f"),
    "entropy_rank": ("entropy", ".2f"),
    "rank_90": ("90 %", ".3g"),
    "rank_95": ("95 %", ".3g"),
    "rank_99": ("99 %", ".3g"),
    "beyond_untrained": ("> untrained", ".3g"),
    "beyond_noise": ("> noise", ".3g"),
}


def _cells(seen: Inspection, row: Mapping[Any, Any]) -> tuple[Cell, ...]:
    cells = []
    for column, (_, form) in _columns(seen).items():
        value = row[column]
        absent = value is None or math.isnan(value)
        cells.append(Cell("–" if absent else format(value, form) + seen.mark(column)))
    return tuple(cells)


def _columns(seen: Inspection) -> dict[str, tuple[str, str]]:
    return {name: told for name, told in _COLUMNS.items() if name in seen.numbers}


def _heads(seen: Inspection) -> tuple[str, ...]:
    heads = {name: head for name, (head, _) in _columns(seen).items()}
    if all(one.pair_alone for one in seen.measured):
        heads["norm"] = "||s B A||"
    return tuple(heads.values())


def _by_label(seen: Inspection, most: int = 24) -> Table:
    """Medians by letter; the norm and the share are of all its projections together."""
    rows = []
    mark = seen.mark("energy_share")
    for label in seen.labels[:most]:
        part = seen.numbers[seen.numbers["projection"] == label]
        middle = {name: part[name].median() for name in _columns(seen)}
        middle |= {
            "norm": math.sqrt((part["norm"] ** 2).sum()),
            "sigma_1": part["sigma_1"].max(),
            **{name: part[name].sum(min_count=1) for name in middle if name.startswith("intruders")},
        }
        share = Cell(f"{part['energy_share'].sum():.1%}{mark}")
        rows.append(Row((label, str(len(part))), (share, *_cells(seen, middle))))
    notes = ["||dW|| is over all layers, sigma_1 the largest, intruders their sum; the rest are medians."]
    if alone := sum(one.pair_alone for one in seen.measured):
        notes.append(
            f"Of DoRA, {alone} of {len(seen.measured)}, the numbers are of s B A, not of dW = W' - W0."
        )
    if len(seen.labels) > most:
        notes.append(f"{len(seen.labels) - most} more kinds are in the CSV.")
    return Table(
        "By kind of projection", ("", "modules"), ("energy", *_heads(seen)), (tuple(rows),), tuple(notes)
    )


def _each(seen: Inspection) -> Table:
    rows = [
        Row(
            (_place(row["layer"], row["projection"]), str(row["rank"])),
            (Cell(row["state"] or (f"A: {row['A_init']}" if row["A_init"] else "")), *_cells(seen, row)),
        )
        for row in seen.numbers.astype({"A_init": object}).where(lambda x: x.notna(), None).to_dict("records")
    ]
    return Table("Every projection", ("", "r"), ("", *_heads(seen)), (tuple(rows),), (), long=True)


def _shaded(seen: Inspection) -> list[str]:
    """The heat map in characters, for a terminal: label by layer, darker is more energy."""
    energy = seen.energy_map()
    if energy.empty or len(energy.columns) > 100:
        return []
    top = float(np.nanmax(energy.to_numpy()))
    labels = shortened([*energy.index[:24]], 32)
    of_each = " of each stack" if len(seen.adapter.stacks) > 1 else ""
    width = max(map(len, labels))
    first, last = (int(energy.columns[end]) + 1 for end in (0, -1))
    lines = ["", f"Energy by layer{of_each}, {first} to {last} from the left"]
    lines[-1] += f" ('{SHADES[-1]}' is {_percent(top)}{seen.mark('energy_share')} of ||dW||^2, blank is none)"
    for label, shares in zip(labels, energy.to_numpy(), strict=False):
        steps = np.ceil(np.nan_to_num(shares) / top * (len(SHADES) - 1)).astype(int) if top else shares * 0
        lines.append(f"{label.ljust(width)}  {''.join(SHADES[int(step)] for step in steps)}")
    return lines


def _ranks(seen: Inspection) -> list[int]:
    """1, 2, 4, ... below the largest rank, then that."""
    largest = seen.largest_rank
    powers = [2**power for power in range(largest.bit_length()) if 2**power < largest]
    return [*powers, largest]


def _norm(seen: Inspection) -> float:
    return math.sqrt(float((seen.numbers["norm"] ** 2).sum()))


def _percent(share: float) -> str:
    """Two significant digits, never 100 % for what is less."""
    percent = 100 * share
    if 99 <= percent < 100:
        return f"{min(percent, 99.99):.2f} %"
    return f"{percent:.2g} %" if percent < 10 else f"{percent:.0f} %"


def _counted(count: int, word: str) -> str:
    return f"{count} {word}{'s' * (count != 1)}"


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value.item() if isinstance(value, np.generic) else value
