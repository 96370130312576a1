from types import SimpleNamespace

import numpy as np
import pytest

from analysis.figures.assembly import colour_range, wrapped
from analysis.figures.fig3_6 import fig3
from analysis.figures.fig8 import fig8

PAPER = 0.0, 0.2


def panels(d, phi=0.15, shown=True):
    i, j = np.arange(1, d // 10)[:, None], np.arange(1, 65)
    mean = np.maximum(i, j) / d
    return [SimpleNamespace(mean=mean, phi=np.full_like(mean, phi), shown=np.full(mean.shape, shown))]


@pytest.mark.parametrize(
    ("paper", "d", "phi", "expected"),
    [
        (PAPER, 12288, 0.15, PAPER),
        (PAPER, 12288, 0.91, (0.0, 1.0)),
        (PAPER, 12288, 0.2, PAPER),
        ((0.1, 0.2), 12288, 0.15, (0.0, 0.2)),  # chance, in the strips, is below the paper's range
        (PAPER, 256, 0.33, (0.0, 0.4)),
        (PAPER, 256, np.nan, (0.0, 0.3)),
    ],
)
def test_the_papers_colours_unless_a_cell_lies_outside_them(paper, d, phi, expected):
    assert colour_range(paper, panels(d, phi)) == pytest.approx(expected)


def test_cells_left_blank_do_not_widen_the_colours():
    assert colour_range(PAPER, [*panels(12288), *panels(12288, 0.9, shown=False)]) == PAPER


def test_another_range_is_stated_in_the_caption(planted):
    result = fig8(planted.select())
    assert "the paper's, from 0.1 to 0.2" in result.drawings[""].caption
    assert "the paper's, from" not in result.drawings["-z"].caption
    assert result.provenance["colour_range"][0] == 0
    assert "the paper's, from" not in fig3(planted.select()).drawings[""].caption


def test_rows():
    assert wrapped(list("abcde"), 2) == [["a", "b"], ["c", "d"], ["e"]]
