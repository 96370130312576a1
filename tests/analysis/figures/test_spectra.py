import math

import pandas as pd
import pytest

from analysis.figures.spectra import draw

POINTS = 72


def numbers(shared):
    """Two layers, one weight, r = 8: the shared dimension of these pairs of seeds, by layer."""
    row = {"weight": "W_q", "source": "r = 8"}
    rows = [
        {**row, "layer": layer, "quantity": "shared_dimension", "value": float(value)}
        for layer, values in enumerate(shared, start=1)
        for value in values
    ]
    rows += [{**row, "layer": layer, "quantity": "energy_rank", "value": 2.0} for layer in (1, 2)]
    rows += [{**row, "layer": 1, "quantity": "singular_value", "k": k, "value": 1 / k} for k in (1, 2, 3)]
    return pd.DataFrame(rows)


@pytest.mark.parametrize("shared", [[[1, 1, 1], [2, 1, 1]], [[0], [0]], [[7], [0]], [[40], [41]]])
def test_every_marker_is_wholly_inside(shared):
    figure = draw(numbers(shared), 1)
    panel = figure.axes[2]
    low, high = panel.get_ylim()
    height = POINTS * figure.get_figheight() * panel.get_position().height
    (line,) = panel.lines
    for value in line.get_ydata():
        for distance in (high - value, value - low):
            assert distance / (high - low) * height > line.get_markersize()


def test_what_is_not_defined_is_said():
    undefined = draw(numbers([[math.nan], [math.nan]]), 1).axes[2]
    assert [text.get_text() for text in undefined.texts] == ["$r = 8$: not defined"]
    assert undefined.get_ylim()[1] > 1
    partly = draw(numbers([[math.nan], [1]]), 1).axes[2]
    assert [text.get_text() for text in partly.texts] in ([], [""])
    one_seed = draw(numbers([]), 1).axes[2]
    assert [text.get_text() for text in one_seed.texts] == ["one seed"]
