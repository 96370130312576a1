from dataclasses import replace

import numpy as np
import pytest

from analysis.figures.drawing import Look, _edges, _stretches, draw
from analysis.figures.panels import Panel, zoom

LOOK = Look("title", (0.0, 0.5))


def panel(n1=4, n2=6, d=20, phi=None, z=None, limit=1.0):
    i, j = np.arange(1, n1 + 1)[:, None], np.arange(1, n2 + 1)
    return Panel(
        title="panel",
        d=d,
        phi=np.full((n1, n2), 0.25) if phi is None else phi,
        mean=np.maximum(i, j) / d,
        limit=np.broadcast_to(limit, (n1, n2)),
        z=np.zeros((n1, n2)) if z is None else z,
        arbitrary_i=np.zeros(n1, bool),
        arbitrary_j=np.zeros(n2, bool),
        shown=np.ones((n1, n2), bool),
        labels={},
    )


def heat_maps(figure):
    return [axes for axes in figure.axes if axes.get_title() == "panel"]


def image(axes):
    return axes.images[0].get_array()


def legend(figure):
    return " ".join(text.get_text() for text in figure.legends[0].get_texts())


def test_one_axes_a_panel_on_one_scale_at_the_page_width():
    figure = draw([[panel(), panel()], [panel()]], LOOK)
    assert len(heat_maps(figure)) == 3
    assert figure.get_figwidth() == 6.75
    assert all(np.array_equal(image(axes), image(heat_maps(figure)[0])) for axes in heat_maps(figure))


def test_i_runs_down_and_j_to_the_right():
    phi = np.zeros((4, 6))
    phi[3, 0] = 0.5
    axes = heat_maps(draw([[panel(phi=phi)]], LOOK))[0]
    assert axes.get_xlim() == (0.5, 6.5)
    assert axes.get_ylim() == (4.5, 0.5)
    colours = image(axes)
    assert np.array_equal(colours[0, 0], colours[0, 5])
    assert not np.array_equal(colours[0, 0], colours[3, 0])


def test_strips_show_the_null_on_the_panels_scale():
    figure = draw([[panel()]], LOOK)
    above, right = heat_maps(figure)[0].child_axes
    assert np.allclose(above.images[0].get_array(), np.arange(1, 7) / 20)
    assert np.allclose(right.images[0].get_array(), np.arange(1, 5)[:, None] / 20)
    assert {(strip.images[0].norm.vmin, strip.images[0].norm.vmax) for strip in (above, right)} == {(0, 0.5)}


def test_cells_that_are_not_beyond_chance_are_hatched_so_that_it_shows():
    limit = np.array([[0.05, 0.0], [0.5, 0.09]])
    phi = np.array([[0.1, 0.0], [0.5, 0.1]])
    z = np.full((2, 2), 9.0)  # what counts is the quantile
    figure = draw([[panel(2, 2, phi=phi, z=z, limit=limit)]], LOOK)
    assert "not beyond chance (its 99% quantile)" in legend(figure)
    axes = heat_maps(figure)[0]
    hatched = {}
    for patch in axes.patches:
        for path in patch.get_path().to_polygons(closed_only=False):
            hatched[tuple(map(int, path[:4].mean(axis=0)))] = patch.get_edgecolor()[0]
    assert hatched == {(2, 1): 1.0, (1, 2): 0.0}  # by (j, i): white on the dark cell, black on the light one


def test_undefined_cells_are_transparent_over_a_crossed_ground_and_in_the_legend():
    phi = np.full((4, 6), 0.25)
    phi[2:] = np.nan
    figure = draw([[panel(phi=phi)]], LOOK)
    axes = heat_maps(figure)[0]
    assert (image(axes)[2:, :, 3] == 0).all()
    assert (image(axes)[:2, :, 3] == 1).all()
    assert any(patch.get_hatch() == "xxxxxx" for patch in axes.patches)
    assert "not defined" in legend(figure)
    assert "not defined" not in legend(draw([[panel()]], LOOK))


def test_blank_cells_are_white():
    axes = heat_maps(draw([[replace(zoom(panel(), 4, "panel"))]], LOOK))[0]
    assert (image(axes)[0, 1:] == 1).all()
    assert not (image(axes)[1, 0] == 1).all()


def test_near_equal_singular_values_are_marked_beside_their_axis():
    marked = replace(panel(), arbitrary_i=np.array([False, True, True, False]))
    figure = draw([[marked]], LOOK)
    lines = heat_maps(figure)[0].lines
    assert [list(line.get_ydata()) for line in lines] == [[1.5, 3.5]]
    assert "undetermined" in legend(figure)
    assert "undetermined" not in legend(draw([[panel()]], LOOK))


def test_z_scores_have_one_symmetric_scale():
    high = panel(z=np.full((4, 6), 34.0))
    figure = draw([[high, panel(z=np.full((4, 6), -3.0))]], LOOK, z=True)
    bar = next(axes for axes in figure.axes if axes.get_title() == "$z$")
    assert bar.get_ylim() == (-50, 50)
    first, second = heat_maps(figure)
    assert not first.child_axes
    assert not np.array_equal(image(first), image(second))


def test_the_colour_bar_says_that_values_lie_outside_the_papers_range():
    above = np.full((4, 6), 0.75)
    for phi, extended in ((None, False), (above, True)):
        bar = next(axes for axes in draw([[panel(phi=phi)]], LOOK).axes if axes.get_title() == r"$\phi$")
        assert bool(bar.patches) is extended


def test_edges_enclose_the_cells():
    cells = np.zeros((3, 3), bool)
    cells[1, 2] = True
    corners = (2.5, 1.5), (3.5, 1.5), (3.5, 2.5), (2.5, 2.5)  # (j, i)
    border = {frozenset(pair) for pair in zip(corners, corners[1:] + corners[:1], strict=True)}
    assert {frozenset(segment) for segment in _edges(cells)} == border


@pytest.mark.parametrize(
    ("flags", "expected"),
    [([0, 0], []), ([1, 1], [(1, 2)]), ([0, 1, 1, 0, 1], [(2, 3), (5, 5)])],
)
def test_stretches(flags, expected):
    assert _stretches(np.array(flags, bool)) == expected


def test_the_users_matplotlib_settings_stay_as_they_are():
    import matplotlib

    with matplotlib.rc_context({"font.size": 31, "image.cmap": "jet"}):
        figure = draw([[panel()]], LOOK)
        assert matplotlib.rcParams["font.size"] == 31
    with matplotlib.rc_context({"font.size": 8}):
        assert np.array_equal(image(heat_maps(figure)[0]), image(heat_maps(draw([[panel()]], LOOK))[0]))
