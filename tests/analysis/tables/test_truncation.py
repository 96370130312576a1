"""The truncation curve of planted answers: means, differences of the same seeds, and what is not there."""

from __future__ import annotations

from types import SimpleNamespace

import pandas
import pytest

from analysis.errors import AnalysisError
from analysis.tables import truncation
from tests.analysis.tables.test_accuracy import Planted


@pytest.fixture
def study(tmp_path) -> Planted:
    return Planted(tmp_path)


@pytest.fixture
def selected(study):
    def select():
        frame = study.frame()
        return SimpleNamespace(
            frame=frame, study=SimpleNamespace(name="s"), checkpoint="last", split="test", task=None
        )

    return select


def fill(study, seeds=(0, 1)):
    for seed in seeds:
        study.run(rank=8, seed=seed, share=0.9)
        study.run(rank=1, seed=seed, share=0.85)
        for keep, by_dw, by_a in ((1, 0.1, 0.05), (4, 0.8, 0.6)):
            for by, share in (("dW", by_dw), ("A", by_a)):
                study.run(rank=8, seed=seed, share=share, method="truncated", keep=keep, by=by)


def test_a_curve_and_its_differences(study, selected):
    fill(study)
    study.run(rank=8, seed=7, share=0.2)  # was never cut
    [curve] = truncation.curves_of(selected())
    assert (curve.title, curve.kept) == ("sql, qv r=8", [1, 4])
    assert curve.whole.mean.mean == pytest.approx(0.9)
    assert curve.cut["A", 4].mean.mean == pytest.approx(0.6)
    rows = pandas.DataFrame(truncation._numbers(curve)).set_index(["kind", "directions"])
    assert rows.loc[("dW", 1), "mean"] == pytest.approx(10)
    assert rows.loc[("dW", 4), "minus_whole"] == pytest.approx(-10)
    assert rows.loc[("dW", 4), "minus_low_whole"] < -10 < rows.loc[("dW", 4), "minus_high_whole"] < 0
    assert rows.loc[("dW", 1), "minus_trained"] == pytest.approx(-75)
    assert pandas.isna(rows.loc[("dW", 4), "minus_trained"])  # nothing was trained at r=4
    assert rows.loc[("whole", 8), "seeds"] == 2
    table = truncation._table([curve], selected())
    lines = [" ".join(line.split()) for line in table.terminal().splitlines()]
    assert any(line.startswith("sql, qv r=8 1 10.0 ±0.0 5.0 ±0.0 85.0 ±0.0 -80.0 [") for line in lines)
    assert any(line.startswith("sql, qv r=8 8 (whole) – – 90.0 ±0.0 –") for line in lines)
    assert truncation._commands([curve]).lead == "Not trained at the rank of the cut: sql, qv r=8: r=4."


def test_each_rank_is_a_curve_and_a_panel(study, selected):
    fill(study)
    for seed in (0, 1):
        study.run(rank=64, seed=seed, share=0.95)
        study.run(rank=64, seed=seed, share=0.3, method="truncated", keep=1, by="dW")
    curves = [*truncation.curves_of(selected())]
    assert [curve.rank for curve in curves] == [8, 64]
    figure = truncation._draw(curves)
    assert [axes.get_title() for axes in figure.axes] == ["sql, qv r=8", "sql, qv r=64"]
    assert [len(axes.lines) for axes in figure.axes] == [4, 3]  # by A none was cut at r=64


def test_what_is_missing_is_said(study, selected):
    study.run(rank=8)
    with pytest.raises(AnalysisError, match=r"no truncated run; .* \+experiment=truncation study=s"):
        [*truncation.curves_of(selected())]
    study.runs.clear()
    study.run(rank=8, share=0.3, method="truncated", keep=1, by="dW")
    with pytest.raises(AnalysisError, match="sql qv r=8: the runs that were cut are not in the study"):
        [*truncation.curves_of(selected())]
