"""Figures 4 and 7: the directions of two seeds at the same rank."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from analysis.figures.other_layers import other_layers
from analysis.figures.panels import OtherLayers, Panel, similarity
from analysis.figures.words import basis_name, dimensions, layers_of, listed, plain_weight, symbol, weight
from analysis.provenance import lora_sentence
from analysis.reading import tensors

if TYPE_CHECKING:
    from analysis.reading.run import Run
    from analysis.selection import Selection

RANK = 64
Pair = tuple["Run", "Run"]


def pairs_of(selection: Selection) -> list[Pair]:
    """Every pair of seeds, the first two seeds first.

    Raises:
        MissingRunsError: the study lacks a second seed.
    """
    seeds = selection.seeds_with((RANK,), count=2)
    found = selection.runs((RANK,), seeds)
    return [(found[RANK, one], found[RANK, other]) for one, other in itertools.combinations(seeds, 2)]


def panels_of(selection: Selection, pair: Pair, layers: Sequence[int]) -> list[Panel]:
    """phi between the two seeds, for each layer and in it for each weight; several layers are named."""
    others = {letter: other_layers(selection, *pair, letter) for letter in selection.letters}
    return [
        _panel(selection, pair, layer, letter, len(layers) > 1, others[letter])
        for layer in layers
        for letter in selection.letters
    ]


def _panel(
    selection: Selection, pair: Pair, layer: int, letter: str, name_layer: bool, others: OtherLayers | None
) -> Panel:
    one, other = (tensors.directions(selection, run, layer, letter) for run in pair)
    labels = {
        "layer": layer + 1,
        "weight": plain_weight(letter),
        "rank": RANK,
        "seed_i": pair[0].settings["seed"],
        "seed_j": pair[1].settings["seed"],
    }
    title = weight(letter, delta=True)
    return similarity(one, other, f"Layer {layer + 1}, {title}" if name_layer else title, labels, others)


def title(selection: Selection) -> str:
    """What phi compares, in mathtext."""
    one, other = symbol(selection.basis, RANK), symbol(selection.basis, RANK, r"\prime")
    return rf"$\phi({one}, {other}, i, j)$"


def caption(
    selection: Selection, pair: Pair, layers: Sequence[int], count: int, panels: Sequence[Panel]
) -> str:
    """What is compared, without what is particular to a figure."""
    weights = listed(f"Δ{plain_weight(letter)}" for letter in selection.letters)
    one, other = (run.settings["seed"] for run in pair)
    return (
        f"Similarity φ(i, j) between the top i directions of {weights} trained from seed {one} and the top j "
        f"from seed {other}, both at r = {RANK}, {layers_of(layers, count)}; directions: "
        f"{basis_name(selection.basis)}, d = {dimensions(panels)}. "
        f"{lora_sentence(selection, pair)} Nothing is blank."
    )
