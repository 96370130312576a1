from types import SimpleNamespace

import numpy as np
import pytest

from analysis.figures.assembly import colour_range, wrapped
from analysis.figures.fig3_6 import fig3
from analysis.figures.fig8 import fig8

PAPER = 0.1, 0.2


def panels(d, phi=0.15):
    i, j = np.arange(1, d // 10)[:, None], np.arange(1, 65)
    mean = np.maximum(i, j) / d
    return [SimpleNamespace(mean=mean, phi=np.full_like(mean, phi))]


@pytest.mark.parametrize(
    ("d", "phi", "expected"),
    [(12288, 0.15, PAPER), (12288, 0.9, PAPER), (256, 0.33, (0.0, 0.4)), (256, np.nan, (0.0, 0.3))],
)
def test_the_papers_colours_unless_chance_exceeds_them(d, phi, expected):
    assert colour_range(PAPER, panels(d, phi)) == pytest.approx(expected)


def test_another_range_is_stated_in_the_caption(planted):
    result = fig8(planted.select())
    assert "not the paper's, 0.1 to 0.2" in result.drawings[""].caption
    assert "not the paper's" not in result.drawings["-z"].caption
    assert result.provenance["colour_range"][0] == 0
    assert "not the paper's" not in fig3(planted.select()).drawings[""].caption


def test_rows():
    assert wrapped(list("abcde"), 2) == [["a", "b"], ["c", "d"], ["e"]]
