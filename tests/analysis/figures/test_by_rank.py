"""The metric against rank and parameters: what is drawn is what the grid says."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.figures import by_rank
from analysis.grid import grids
from tests.analysis.test_grid import reference, select, sized, study

__all__ = ["study"]


@pytest.fixture
def grid(study):
    for seed in range(2):
        for rank in (3, 5, 6, 24):
            study.run(targets="v", rank=rank, seed=seed, share=rank / 30 + seed / 50)
        study.run(targets="qk", rank=4, seed=seed, share=0.5)
        study.run(targets="qk", ranks={"q": 1, "k": 2}, seed=seed, share=0.5)
        reference(study, "full", seed=seed, share=0.9)
    [made] = grids(select(study))
    return made


def test_lines_bands_and_references(grid):
    figure = by_rank.draw([grid], "rank")
    [axes] = figure.axes
    curve = next(line for line in axes.lines if line.get_marker() == "o")
    assert curve.get_xdata().tolist() == [3, 5, 6, 24]
    assert curve.get_ydata() == pytest.approx([11, 17.5, 21, 81], abs=0.01)
    [band] = [one for one in axes.collections if one.get_paths()[0].vertices.shape[0] > 4]
    corners = band.get_paths()[0].vertices
    of_v = grid.lines["v"]
    for x, cell in zip((3, 5, 6, 24), of_v, strict=True):
        ends = corners[np.isclose(corners[:, 0], x)][:, 1]
        mean = cell.result.mean
        assert (ends.min(), ends.max()) == pytest.approx((100 * mean.low, 100 * mean.high))
    assert any(np.allclose(line.get_ydata(), 90) for line in axes.lines)  # full fine-tuning
    assert axes.get_xscale() == "log"
    assert axes.get_ylabel() == "logical form accuracy (%)"
    assert axes.get_title() == "sql"


def test_ticks_are_the_ranks_there_are_but_for_labels_that_would_meet(grid):
    [axes] = by_rank.draw([grid], "rank").axes
    shown = dict(zip(axes.get_xticks(), [tick.get_text() for tick in axes.get_xticklabels()], strict=True))
    assert shown == {3: "3", 4: "4", 5: "5", 6: "6", 24: "24"}
    assert by_rank._apart([1, 2, 63, 64], 64, 16) == [1, 2, 64]


def test_against_parameters(grid):
    [axes] = by_rank.draw([grid], "parameters").axes
    curve = next(line for line in axes.lines if line.get_marker() == "o")
    assert curve.get_xdata().tolist() == [cell.result.trainable for cell in grid.lines["v"]]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["5k", "10k", "20k", "50k"]


def test_a_panel_a_grid_and_one_legend(grid):
    figure = by_rank.draw([grid, grid, grid], "rank")
    assert len(figure.axes) == 3
    [legend] = figure.legends
    labels = [text.get_text() for text in legend.get_texts()]
    assert labels == ["$W_{v}$", "$W_{q}$, $W_{k}$", "full fine-tuning"]  # what has a rank, or none at all
    [other] = by_rank.draw([grid], "parameters").legends
    assert "$W_{q}$, $W_{k}$ r=q1-k2" in [text.get_text() for text in other.get_texts()]
    figure.draw_without_rendering()
    box = legend.get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.width
    assert box.y0 >= 0


def test_many_lines_stay_apart_and_in_the_figure(study):
    letters = ["q", "k", "v", "o", "qk", "qv", "kv", "qo", "vo", "qkv", "qkvo"]
    for targets in letters:
        for rank in (1, 8):
            study.run(targets=targets, rank=rank, share=0.5)
    figure = by_rank.draw(grids(select(study)), "rank")
    [legend] = figure.legends
    looks = {(line.get_color(), line.get_linestyle(), line.get_marker()) for line in legend.get_lines()}
    assert len(looks) == len(letters)
    figure.draw_without_rendering()
    assert legend.get_window_extent().width <= figure.bbox.width
    assert figure.axes[0].xaxis.label.get_window_extent().y0 >= legend.get_window_extent().y1


def test_the_caption_says_what_is_not_drawn(grid):
    text = by_rank.caption([grid], "rank", "Study mine.")
    assert "of sql. A line a choice of weights (mean over seeds)" in text
    assert "Not drawn, for their letters differ in rank: qk r=q1-k2." in text
    assert "Not drawn" not in by_rank.caption([grid], "parameters", "Study mine.")


def test_other_methods_are_marks_at_their_parameters(study):
    """With their intervals, and within the axis; against the rank they are not drawn, and named so."""
    for rank in (3, 24):
        study.run(targets="v", rank=rank, share=rank / 30)
    sized(study, "adapter_h", share=0.7, bottleneck=8)
    study.runs[-1].record["parameters"] |= {"trainable": 500_000}
    reference(study, "bias", share=0.2)
    [made] = grids(select(study))
    [axes] = by_rank.draw([made], "parameters").axes
    [mark] = [line for line in axes.lines if [*line.get_xdata()] == [500_000] and line.get_marker() == "o"]
    assert mark.get_ydata() == pytest.approx([70])
    assert axes.get_xlim()[1] > 500_000
    [bars] = [
        one
        for one in axes.collections
        if len(one.get_paths()) == 1 and one.get_paths()[0].vertices.shape == (2, 2)
    ]
    mean = next(cell for cell in made.references if cell.is_mark).result.mean
    assert bars.get_paths()[0].vertices[:, 1] == pytest.approx([100 * mean.low, 100 * mean.high])
    assert "Black marks: other methods at their sizes. Study" in by_rank.caption(
        [made], "parameters", "Study x."
    )
    [axes] = by_rank.draw([made], "rank").axes
    assert not any(np.allclose(line.get_ydata(), 70) for line in axes.lines)
    assert "Not drawn: other methods, which have no rank." in by_rank.caption([made], "rank", "Study x.")
