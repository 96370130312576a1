"""Claims about what dW does to W (Section 7.3, Appendix H.4)."""

from __future__ import annotations

import math

import numpy as np

from analysis import paper_values
from analysis.claims.evidence import Evidence, of_units
from analysis.claims.geometry import FEW, MANY, Geometry, Lifts, agreement, defined, left_out
from analysis.errors import AnalysisError
from analysis.figures.words import plain_weight
from analysis.statistics import UnitMean, unit_mean
from analysis.tables.table7_numbers import PAPER_LETTER

HALFWAY = 0.5


def dw_correlates_with_w(geometry: Geometry) -> Evidence:
    """Section 7.3, Table 7: "dW has a stronger correlation with W compared to a random matrix".

    Lift at r = 4 and r = 64: the norm of W between the directions of dW, ||U'WV||, over the root mean square
    of that between random directions; root mean square over layers, geometric mean over seeds. The claim
    wants it, at both ranks, above the geometric mean of random directions, which lies below 1, the more the
    fewer they are: an unrelated dW is as often above as below it.
    """
    parts, told = [], []
    for rank, found in geometry.lifts.items():
        mask = defined(found.lift)
        mean = _lift(found, mask)
        parts.append(
            of_units(
                mean,
                above=True,
                null=math.exp(mean.reference),
                name=f"r = {rank}",
                shown=math.exp,
                paper=f"{_paper_lift(rank):g}" if geometry.weight == PAPER_LETTER else "",
            )
        )
        above = agreement(found.lift, mask, above=math.exp(mean.reference))
        text = f"{math.exp(mean.mean):.2f} at r = {rank} (above chance in {above}"
        if np.isfinite(found.neighbour[:, mask]).all():
            text += (
                f"; {_rms(found.neighbour[:, mask]).mean():.2f} with the directions of the next layer's dW"
            )
        told.append(f"{text})")
    return Evidence(f"lift of {plain_weight(geometry.weight)}", tuple(parts), f"Lift {', '.join(told)}.")


def dw_amplifies_what_w_does_not_emphasise(geometry: Geometry) -> Evidence:
    """Section 7.3, Table 7: "instead of repeating the top singular directions of W, dW only amplifies
    directions that are not emphasized in W".

    Where ||U'WV|| with the directions of dW lies between that of random directions (0) and that of W's own
    top r (1, the largest that any directions can give), on a logarithmic scale, mean over layers; at r = 4
    and r = 64. The claim wants it below 0.5, nearer to random directions than to W's own, at both ranks. The
    plain ratio to W's own would be small by chance alone at r = 4 and large by chance alone at r = 64.
    """
    parts, told = [], []
    for rank, found in geometry.lifts.items():
        with np.errstate(divide="ignore", invalid="ignore"):
            place = np.log(found.lift) / np.where(found.own > 1 + 1e-9, np.log(found.own), np.nan)
        try:
            mask = defined(place)
        except AnalysisError:
            raise AnalysisError(
                f"no layer tells dW's directions from W's own at r = {rank}: dW = 0 in each, or {rank} "
                "directions are all of W"
            ) from None
        mean = unit_mean(place[:, mask].mean(axis=1), reference=HALFWAY)
        paper = f"{_paper_place(rank):.2f}" if geometry.weight == PAPER_LETTER else ""
        parts.append(of_units(mean, above=False, null=0.0, name=f"r = {rank}", paper=paper))
        ratio = float(np.exp((np.log(found.lift) - np.log(found.own))[:, mask].mean()))
        told.append(
            f"{mean.mean:.2f} at r = {rank}, where the norm is {ratio:.1%} of that in W's own top {rank}"
            f"{left_out(mask)}"
        )
    return Evidence(
        f"place of {plain_weight(geometry.weight)} between random (0) and W's own directions (1)",
        tuple(parts),
        f"{'; '.join(told)}.",
    )


def amplification_falls_beyond_its_null(geometry: Geometry) -> Evidence:
    """Section 7.3 and H.4: "the amplification factor is rather huge: 21.5 for r = 4", and only around 2 for
    r = 64, from which the paper has it that most directions of r = 64 are not amplified.

    The factor falls with r whatever dW does: that of random directions is ||dW|| over r ||W|| / d. So what is
    judged is the fall of the factor from r = 4 to r = 64 over the fall of its null in the same runs. This is
    the lift at r = 64 over that at r = 4, as in `dw_correlates_with_w`, since factor = null / lift. The claim
    wants it above what random directions give, which is 1 but for the difference of their geometric means.
    """
    few, many = geometry.lifts[FEW], geometry.lifts[MANY]
    mask = defined(few.lift, many.lift)
    paper = f"{_paper_lift(MANY) / _paper_lift(FEW):.2f}" if geometry.weight == PAPER_LETTER else ""
    mean = _fall(few, many, mask)
    part = of_units(
        mean,
        above=True,
        null=math.exp(mean.reference),
        shown=math.exp,
        paper=paper,
    )
    told = ", ".join(
        f"{_geometric(lifts.factor, mask):.3g} at r = {rank} (null {_geometric(lifts.null_factor, mask):.3g})"
        for rank, lifts in geometry.lifts.items()
    )
    return Evidence(
        f"fall of the amplification factor from r = {FEW} to r = {MANY} over that of its null, "
        f"{plain_weight(geometry.weight)}",
        (part,),
        f"Factor {told}, geometric means over seeds and layers{left_out(mask)}.",
    )


def _lift(found: Lifts, mask: np.ndarray) -> UnitMean:
    """The logarithm of the seeds' lifts against that of random directions'."""
    logarithms, chance, error = _logarithms(found, mask)
    # Seeds whose dW differ in numerical rank have each its own chance.
    return unit_mean(
        logarithms - chance + chance.mean(), reference=float(chance.mean()), reference_error=error
    )


def _fall(few: Lifts, many: Lifts, mask: np.ndarray) -> UnitMean:
    """The logarithm of the lift of `many` over that of `few`, seed by seed."""
    (first, chance_few, error_few), (second, chance_many, error_many) = (
        _logarithms(found, mask) for found in (few, many)
    )
    chance = chance_many - chance_few
    return unit_mean(
        second - first - chance + chance.mean(),
        reference=float(chance.mean()),
        reference_error=math.hypot(error_few, error_many),
    )


def _logarithms(found: Lifts, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Of each seed's lift, root mean square over layers; their mean for random directions; its error."""
    random = np.log(_rms(found.random[:, mask]))
    error = random.std(axis=1, ddof=1).max() / math.sqrt(random.shape[1])
    return np.log(_rms(found.lift[:, mask])), random.mean(axis=1), float(error)


def _rms(values: np.ndarray) -> np.ndarray:
    """Over layers."""
    return np.asarray(np.sqrt(np.square(values).mean(axis=1)))


def _geometric(values: np.ndarray, mask: np.ndarray) -> float:
    return float(np.exp(np.log(values[:, mask]).mean()))


def _paper_lift(rank: int) -> float:
    return paper_values.value("derived_table7", "lift", rank=rank).value


def _paper_place(rank: int) -> float:
    """From the paper's Table 7 and its null."""
    table = {
        name: paper_values.value("table7", f"projected_norm_{name}", rank=rank).value
        for name in ("delta", "weight")
    }
    null = paper_values.value("derived_table7", "null_projected_norm", rank=rank).value
    return math.log(table["delta"] / null) / math.log(table["weight"] / null)
