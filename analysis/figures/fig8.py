"""Figure 8: phi between the top directions of W and those of dW at r = 4, 8 and 64 (paper, App. H.3)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from analysis.figures.assembly import assemble
from analysis.figures.drawing import Look
from analysis.figures.nulls import DRAWS, average, gaussian_directions
from analysis.figures.panels import frame, similarity
from analysis.figures.words import (
    OUTPUT_SIDE,
    basis_name,
    gaussian_name,
    gaussian_symbol,
    heading_of,
    layers_of,
    listed,
    plain_weight,
    symbol,
    weight,
)
from analysis.provenance import lora_sentence, stem_of, weight_sentence
from analysis.reading import tensors
from analysis.registry import command

if TYPE_CHECKING:
    from collections.abc import Sequence

    from analysis.geometry.subspaces import Directions
    from analysis.reading.run import Run
    from analysis.result import Result
    from analysis.selection import Selection

RANKS = (4, 8, 64)
SHARE = 0.1
"""Of W's directions, how many are compared: the top 10 % of min(d_out, d_in)."""
LIMITS = (0.1, 0.2)


@command("fig8", "top directions of W against those of dW at r=4, 8, 64", title="Figure 8", place="subspaces")
def fig8(selection: Selection) -> Result:
    """A panel a rank and one of a random matrix, all against the first of the chosen weights (W_q).

    The ranks are the paper's, 4, 8 and 64; where the study lacks one of them, its least, middle and largest.

    Raises:
        MissingRunsError: the study has no run, or one rank alone.
    """
    ranks = _ranks(selection.ranks)
    seed = selection.seeds_with(ranks)[0]
    runs = {rank: run for (rank, _), run in selection.runs(ranks, (seed,)).items()}
    any_run, letter = runs[ranks[0]], selection.letters[0]
    count = tensors.layers(selection, any_run)[-1] + 1
    layer = tensors.one_layer(selection, any_run)
    top = _top_directions(selection, any_run, layer, letter)
    d = top.vectors.shape[1]
    labels = {"layer": layer + 1, "weight": plain_weight(letter), "seed": seed}
    panels = [
        similarity(
            top,
            tensors.directions(selection, runs[rank], layer, letter),
            _title(letter, selection.basis, rank),
            {**labels, "against": f"r={rank}"},
        )
        for rank in ranks
    ]
    n = panels[-1].shape[1]
    title = rf"$\phi({weight(letter).strip('$')}, {gaussian_symbol(selection.basis)}, i, j)$"
    random = [
        similarity(top, drawn, title, {**labels, "against": "random, one matrix"})
        for drawn in gaussian_directions(DRAWS, n, d, selection.device)
    ]
    mean = average(random, title, {**labels, "against": f"random, mean of {DRAWS}"})
    look = Look(
        title=heading_of(
            f"Top directions of {weight(letter)} and {weight(letter, delta=True)}",
            selection.basis,
            [layer],
            count,
            panels,
        ),
        limits=LIMITS,
    )
    side = "left" if selection.basis in OUTPUT_SIDE else "right"
    name, used = plain_weight(letter), list(runs.values())
    caption = (
        f"Figure 8. Similarity φ(i, j) between the top i {side} singular vectors of {name}, the weight "
        f"before adaptation, and the top j directions of Δ{name} at r = {listed(ranks)}; directions: "
        f"{basis_name(selection.basis)}; {layers_of([layer], count)}, d = {d}; i up to {SHARE:.0%} of "
        f"min(d_out, d_in). {lora_sentence(selection, used)}"
        f"{weight_sentence(selection, used)} All runs have seed {seed}. "
        f"Last panel: {gaussian_name(selection.basis, [(n, d)])}; the mean over {DRAWS} in the "
        "figure of φ, one in the figure of z. Nothing is blank."
    )
    lacking = [f"r = {rank}" for rank in RANKS if rank not in ranks]
    told = (
        f"Figure 8. The paper's has r = 4, 8 and 64; the study lacks {listed(lacking)}; drawn: r = "
        f"{listed(ranks)}."
        if lacking
        else None
    )
    return assemble(
        selection,
        used,
        stem_of(selection, "fig8"),
        [[*panels, mean]],
        look,
        caption,
        rows_z=[[*panels, random[0]]],
        numbers=frame([*panels, mean, random[0]]),
        weights=True,
        lacks=told,
    )


def _ranks(there: Sequence[int]) -> tuple[int, ...]:
    """Of those there are; the paper's where none is missing, or where one alone is there."""
    if len(there) < 2 or {*RANKS} <= {*there}:
        return RANKS
    return tuple(sorted({there[0], there[len(there) // 2], there[-1]}))


def _top_directions(selection: Selection, run: Run, layer: int, letter: str) -> Directions:
    """W's, on the side that the basis lives on."""
    from analysis.geometry.subspaces import Directions
    from analysis.geometry.weight_svd import top_directions

    W = tensors.weight(selection, run, layer, letter)
    k = math.ceil(SHARE * min(W.shape))
    U, S, Vh = top_directions(W, k)
    return Directions(U.T if selection.basis in OUTPUT_SIDE else Vh, S, int((S > 0).sum()), "W")


def _title(letter: str, basis: str, rank: int) -> str:
    return rf"$\phi({weight(letter).strip('$')}, {symbol(basis, rank)}, i, j)$"
