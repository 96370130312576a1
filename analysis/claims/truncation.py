"""The claim that a truncated adapter bears on: what its top direction does (Section 7.2)."""

from __future__ import annotations

from functools import cached_property

from analysis.claims.accuracy import Answers
from analysis.claims.catalogue import claim
from analysis.claims.evidence import Evidence, of_comparison
from analysis.errors import AnalysisError
from analysis.tables.truncation import Curve, against, curves_of, has_cuts

TARGETS, RANK, KEPT, ORDER = "qv", 8, 1, "dW"


class Cuts(Answers):
    """The adapters of one task that were cut: a family of claims of its own."""

    @cached_property
    def curve(self) -> Curve:
        """Of W_q and W_v at r = 8.

        Raises:
            AnalysisError: they were not cut to their top direction, or nothing was trained at r = 1.
        """
        for curve in curves_of(self.selection):
            there = (ORDER, KEPT) in curve.cut and KEPT in curve.trained
            if (curve.task, curve.targets, curve.rank) == (self.selection.task, TARGETS, RANK) and there:
                return curve
        study = self.selection.study.name
        raise AnalysisError(
            f"{self.selection.task}: no run of {TARGETS} at r={RANK} cut to its top direction beside one at "
            f"r={KEPT}; make it: python run.py -m method=truncated targets={TARGETS} rank={RANK} keep={KEPT} "
            f"study={study}"
        )


@claim(
    "top-direction-does",
    "7.2",
    "the top direction of r = 8 does what an adapter of r = 1 does, for W_q and W_v",
    Cuts,
    applies=has_cuts,
)
def top_direction_does(cuts: Cuts) -> Evidence:
    """Section 7.2: r = 8 and r = 64 share their top direction with each other and not the rest, "so the
    top singular-vector directions ... are the most useful, while other directions potentially contain mostly
    random noises"; hence "a rank as small as one suffices".

    Accuracy of r = 8 cut to the top direction of each dW minus that of adapters trained at r = 1. The claim
    is one of non-inferiority: it wants the difference above minus the margin.
    """
    curve = cuts.curve
    metric, cut, trained = curve.metric, curve.cut[ORDER, KEPT], curve.trained[KEPT]
    found = against(cut, trained, reference=-cuts.margin)
    if found is None:
        raise AnalysisError(f"{curve.title}: no seed has both a cut run and one trained at r={KEPT}")
    part = of_comparison(found, scale=metric.scale)
    whole, one, other = (curve.number(cell.mean.mean) for cell in (curve.whole, cut, trained))
    return Evidence(
        f"{metric.title} of r={RANK} cut to its top direction minus that of r={KEPT}",
        (part,),
        f"The whole r={RANK}: {whole}; its top direction alone: {one}; trained at r={KEPT}: {other}.",
    )
