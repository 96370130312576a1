"""The claim about truncated adapters: its verdict on planted answers, and what it lacks."""

from __future__ import annotations

import pytest

from analysis.claims.catalogue import decide
from analysis.claims.truncation import Cuts, top_direction_does
from analysis.errors import AnalysisError
from tests.analysis.tables.test_accuracy import Planted
from tests.analysis.tables.test_truncation import fill, selected, study

__all__ = ["selected", "study"]


def cut(study: Planted, share: float, seeds: range = range(4)) -> None:
    for seed in seeds:
        study.run(rank=8, seed=seed, share=0.9)
        study.run(rank=1, seed=seed, share=0.85)
        study.run(rank=8, seed=seed, share=share, method="truncated", keep=1, by="dW")


@pytest.mark.parametrize(("share", "verdict"), [(0.1, "contradicted"), (0.95, "supported")])
def test_the_verdict(study, selected, share, verdict):
    cut(study, share)
    selection = selected()
    selection.task = "sql"
    evidence = top_direction_does(Cuts(selection, 1.0))
    judgement = decide({"top-direction-does": evidence}, "sql")["top-direction-does"]
    assert judgement.verdict == verdict
    assert judgement.value == pytest.approx(100 * (share - 0.85))
    assert (judgement.wanted, judgement.margin) == ("> -1", 1)
    assert judgement.note.startswith(f"The whole r=8: 90.0; its top direction alone: {100 * share:.1f};")


def test_what_is_lacking_is_said_with_the_command(study, selected):
    fill(study)
    study.runs = [run for run in study.runs if run.settings.get("keep") != 1]
    selection = selected()
    selection.task = "sql"
    with pytest.raises(AnalysisError, match="method=truncated targets=qv rank=8 keep=1 study=s"):
        top_direction_does(Cuts(selection, 1.0))
