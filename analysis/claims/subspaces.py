"""Claims about the subspaces that adapters span (Section 7.2)."""

from __future__ import annotations

import math

import numpy as np

from analysis import paper_values
from analysis.claims.catalogue import claim
from analysis.claims.evidence import Evidence, of_units
from analysis.claims.geometry import LARGE, SMALL, Geometry, agreement, defined, left_out
from analysis.errors import AnalysisError
from analysis.figures.words import plain_weight
from analysis.statistics import UnitMean, pair_mean, unit_mean

PAPER_LETTERS = ("q", "v")
"""Of Figures 3 and 4."""

PHI = (0.0, 1.0)

ROUNDED = 1 / 12
"""The variance of a count that could be half a step more or less."""


def halfway(null: float) -> float:
    """Half of the way from chance to identity: the paper's "normalized similarity > 0.5" where chance is 0.

    So a similarity above it is also beyond the null, in a small space too.
    """
    return (1 + null) / 2


@claim("top-shared", "7.2", "the top direction of r = 8 is that of r = 64", Geometry)
def top_direction_is_shared(geometry: Geometry) -> Evidence:
    """Section 7.2, Figure 3: "Directions corresponding to the top singular vector overlap significantly
    between A_r=8 and A_r=64"; they "share a subspace of dimension 1 with normalized similarity > 0.5", for
    W_q and for W_v.

    phi(1, 1) between r = 8 and r = 64 of one seed, mean over layers. The claim wants it more than halfway
    from chance (1/d) to 1, for each weight.
    """
    bound = paper_values.value("figure3", "phi", direction=1).value
    parts, told = [], []
    for letter in geometry.letters:
        found = geometry.overlap(letter)
        mask = defined(found.top)
        mean = unit_mean(found.top[:, mask].mean(axis=1), reference=halfway(found.top_null))
        parts.append(
            of_units(
                mean,
                above=True,
                null=found.top_null,
                name=plain_weight(letter),
                paper=f"> {bound:g}" if letter in PAPER_LETTERS else "",
                bounds=PHI,
            )
        )
        above = agreement(found.top, mask, above=mean.reference)
        told.append(f"{plain_weight(letter)} {mean.mean:.3f} (above in {above})")
    return Evidence(
        f"phi(1, 1) of r = {SMALL} and r = {LARGE}, mean over layers", tuple(parts), f"{'; '.join(told)}."
    )


@claim("rest-not-shared", "7.2", "no other direction of r = 8 is among those of r = 64", Geometry)
def other_directions_are_not_shared(geometry: Geometry) -> Evidence:
    """Section 7.2, Figure 3: the top directions of r = 8 and r = 64 overlap, "while others do not": the space
    that they share has one dimension.

    phi of each direction i = 2 .. 8 of r = 8, alone, with the directions 2 .. 64 of r = 64 together, mean
    over layers. The claim wants each of them less than halfway from chance to 1: one direction that is shared
    is enough to contradict it, corrected for having looked at all. The mean over the directions, which can
    lie below where one of them lies above, is told beside it.

    Why not phi(i, j) for larger i, as the figure shows: it holds the first direction too, whose share falls
    as 1/min(i, j) whatever the others do. Why all of 2 .. 64: a direction that is shared need not have the
    same place in both orders. Chance is then 63/(d - 1), in the space that the first direction leaves.
    """
    parts, told = [], []
    for letter in geometry.letters:
        found = geometry.overlap(letter)
        mask = defined(found.others)
        others = found.others[:, mask].mean(axis=1)
        bound = halfway(found.others_null)
        for place in range(others.shape[1]):
            mean = unit_mean(others[:, place], reference=bound)
            name = f"{plain_weight(letter)}, direction {place + 2}"
            parts.append(of_units(mean, above=False, null=found.others_null, name=name, bounds=PHI))
        together = unit_mean(others.mean(axis=1), reference=bound)
        above = int((others.mean(axis=0) > bound).sum())
        told.append(
            f"{plain_weight(letter)} {_with_interval(together)}, the largest "
            f"{others.mean(axis=0).max():.3f}, {above} of {others.shape[1]} above{left_out(mask)}"
        )
    return Evidence(
        f"phi of one direction of r = {SMALL} with all but the first of r = {LARGE}, mean over layers",
        tuple(parts),
        f"Rule: all {len(parts)} directions must lie below {parts[0].wanted.removeprefix('< ')}, and one "
        f"that lies above is enough to contradict. Mean over the directions 2 to {SMALL}: {'; '.join(told)}.",
    )


@claim("seeds-share-q", "7.2", "at r = 64 two seeds share more directions of W_q than of W_v", Geometry)
def seeds_share_more_of_q_than_of_v(geometry: Geometry) -> Evidence:
    """Section 7.2, Figure 4: "dW_q appears to have a higher intrinsic rank than dW_v, since more common
    singular value directions are learned by both runs for dW_q", at r = 64.

    The dimension that two seeds share beyond chance (`analysis.shared_dimension`) of W_q minus that of W_v,
    mean over layers and pairs of seeds. Pairs that have a seed in common are not independent, so the interval
    is a delete-one jackknife over seeds. The same at the study's other ranks is told beside it.
    """
    if not {"q", "v"} <= {*geometry.letters}:
        letters = "".join(geometry.letters)
        raise AnalysisError(f"is about W_q and W_v, and --targets {letters} does not adapt both")
    q, v = geometry.shared("q"), geometry.shared("v")
    found, mask = _more_of_q(q, v)
    means = [pair_mean(shared[:, :, mask].mean(axis=2)).mean for shared in (q, v)]
    of_seeds = (q - v).sum(axis=1) / (len(q) - 1)
    note = (
        f"W_q {means[0]:.2f} of {LARGE} dimensions, W_v {means[1]:.2f}; W_q shares more in "
        f"{agreement(of_seeds, mask, above=0)}. {found.method.capitalize()}."
    )
    if not (q.any() or v.any()):
        note += " No pair of seeds shares a direction beyond chance."
    others = {
        rank: _more_of_q(geometry.shared("q", rank), geometry.shared("v", rank))[0]
        for rank in geometry.other_ranks
    }
    if others:
        told = "; ".join(f"{_with_interval(one, '+.2f')} at r = {rank}" for rank, one in others.items())
        note += f" At other ranks: {told}."
    part = of_units(found, above=True, null=0.0)
    return Evidence(
        f"dimensions shared by two seeds at r = {LARGE}, W_q minus W_v, mean over layers", (part,), note
    )


def _more_of_q(q: np.ndarray, v: np.ndarray) -> tuple[UnitMean, np.ndarray]:
    """What two seeds share of W_q minus that of W_v, over the layers that have both, and these layers."""
    mask = defined(*(shared.reshape(-1, shared.shape[2]) for shared in (q, v)))
    difference = (q - v)[:, :, mask].mean(axis=2)
    return pair_mean(difference, rounding=2 * ROUNDED / int(mask.sum())), mask  # of two counts, over layers


def _with_interval(found: UnitMean, form: str = ".3f") -> str:
    """ "0.460 (0.412 to 0.508)"."""
    interval = "" if math.isnan(found.low) else f" ({found.low:{form}} to {found.high:{form}})"
    return f"{found.mean:{form}}{interval}"
