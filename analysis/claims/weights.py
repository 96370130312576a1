"""Claims about what dW does to W (Section 7.3, Appendix H.4)."""

from __future__ import annotations

import math

import numpy as np

from analysis import paper_values
from analysis.claims.catalogue import claim
from analysis.claims.evidence import Evidence, of_units
from analysis.claims.geometry import FEW, MANY, Geometry, Lifts, agreement, defined, left_out
from analysis.errors import AnalysisError
from analysis.figures.words import plain_weight
from analysis.statistics import UnitMean, unit_mean
from analysis.tables.table7 import PAPER_LETTER

HALFWAY = 0.5


@claim("dw-correlates", "7.3", "dW correlates with W more than a random matrix does", Geometry)
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
                paper=f"{_paper(rank, 'lift'):g}" if geometry.weight == PAPER_LETTER else "",
            )
        )
        above = agreement(found.lift, mask, above=math.exp(mean.reference))
        text = f"{math.exp(mean.mean):.2f} at r = {rank} (above chance in {above}"
        if np.isfinite(found.neighbour[:, mask]).all():
            text += (
                f"; {_rms(found.neighbour[:, mask]).mean():.2f} with the directions of the next layer's dW"
            )
        told.append(f"{text})")
    return Evidence(
        f"lift of {plain_weight(geometry.weight)}, root mean square over layers, geometric mean over seeds",
        tuple(parts),
        f"Lift {', '.join(told)}.",
    )


@claim(
    "dw-not-top", "7.3", "dW's directions lie nearer to random ones than to W's own top directions", Geometry
)
def dw_lies_off_the_top_of_w(geometry: Geometry) -> Evidence:
    """Section 7.3, Table 7: "instead of repeating the top singular directions of W, dW only amplifies
    directions that are not emphasized in W".  Of this the first half is tested; by how much dW amplifies is
    Table 7's factor.

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
        f"place of {plain_weight(geometry.weight)} between random (0) and W's own directions (1), mean over "
        "layers",
        tuple(parts),
        f"{'; '.join(told)}.",
    )


@claim("af-falls", "7.3", "the amplification factor falls from r = 4 to r = 64", Geometry)
def amplification_falls(geometry: Geometry) -> Evidence:
    """Section 7.3 and H.4: "the amplification factor is rather huge: 21.5 for r = 4", and only around 2 for
    r = 64, from which the paper has it that most directions of r = 64 are not amplified.

    The factor at r = 64 over that at r = 4, geometric mean over layers and seeds; the claim wants it below 1.
    The factor falls with r whatever dW does, since that of random directions is ||dW|| over r ||W|| / d.  So
    the note tells the fall beside that of its null in the same runs, which is a remark and not the claim.
    """
    few, many = geometry.lifts[FEW], geometry.lifts[MANY]
    mask = defined(few.lift, many.lift)
    fall, null_fall = (
        (np.log(large) - np.log(small))[:, mask].mean(axis=1)
        for large, small in ((many.factor, few.factor), (many.null_factor, few.null_factor))
    )
    factors = {rank: _paper(rank, "factor") for rank in geometry.lifts}
    part = of_units(
        unit_mean(fall),
        above=False,
        null=math.exp(null_fall.mean()),
        shown=math.exp,
        paper=f"{factors[MANY] / factors[FEW]:.3f}" if geometry.weight == PAPER_LETTER else "",
    )
    told = ", ".join(
        f"{_geometric(lifts.factor, mask):.3g} at r = {rank} (null {_geometric(lifts.null_factor, mask):.3g})"
        for rank, lifts in geometry.lifts.items()
    )
    return Evidence(
        f"amplification factor at r = {MANY} over that at r = {FEW}, {plain_weight(geometry.weight)}, "
        "geometric mean over layers and seeds",
        (part,),
        f"Factor {told}{left_out(mask)}. {_beside_the_null(fall - null_fall, few, many, mask, geometry)}",
    )


def _beside_the_null(
    logarithms: np.ndarray, few: Lifts, many: Lifts, mask: np.ndarray, geometry: Geometry
) -> str:
    """The remark on the fall over its null's; by chance that is 1 but for random lifts' geometric means."""
    chance = [np.log(lifts.random[:, mask]) for lifts in (few, many)]
    expected = float(chance[0].mean() - chance[1].mean())
    error = math.hypot(*(draws.std() / math.sqrt(mask.sum() * draws.shape[2]) for draws in chance))
    mean = unit_mean(logarithms, reference=expected, reference_error=error)
    value, low, high = (math.exp(number) for number in (mean.mean, mean.low, mean.high))
    text = f"Beside its null, which falls too: its fall over that of the null is {value:.3g}"
    if math.isnan(low):
        return f"{text}, by chance {math.exp(expected):.3g}."
    more = "less" if mean.mean > mean.reference else "more"
    words = (
        f"it falls {more} than by chance" if mean.p_value < 0.05 else "not shown to be another than by chance"
    )
    paper = ""
    if geometry.weight == PAPER_LETTER:
        paper = f"; the paper's is {_paper(FEW, 'lift') / _paper(MANY, 'lift'):.3g}"
    return f"{text} ({low:.3g} to {high:.3g}), by chance {math.exp(expected):.3g}: {words}{paper}."


def _lift(found: Lifts, mask: np.ndarray) -> UnitMean:
    """The logarithm of the seeds' lifts against that of random directions'."""
    logarithms, chance, error = _logarithms(found, mask)
    # Seeds whose dW differ in numerical rank have each its own chance.
    return unit_mean(
        logarithms - chance + chance.mean(), reference=float(chance.mean()), reference_error=error
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


def _paper(rank: int, quantity: str) -> float:
    """What the paper's Table 7 implies."""
    return paper_values.value("derived_table7", quantity, rank=rank).value


def _paper_place(rank: int) -> float:
    """From the paper's Table 7 and its null."""
    table = {
        name: paper_values.value("table7", f"projected_norm_{name}", rank=rank).value
        for name in ("delta", "weight")
    }
    null = _paper(rank, "null_projected_norm")
    return math.log(table["delta"] / null) / math.log(table["weight"] / null)
