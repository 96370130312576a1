from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.linalg import subspace_angles

from analysis.errors import AnalysisError
from analysis.figures.panels import OtherLayers, frame, similarity, zoom
from analysis.figures.words import marks
from analysis.geometry.nulls import phi_quantile
from analysis.geometry.subspaces import Directions


def directions(n, d, seed, values=None, rank=None):
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.linalg.qr(torch.randn(d, n, generator=generator, dtype=torch.float64)).Q.T.clone()
    if rank is not None:
        vectors[rank:] = torch.nan
    values = torch.arange(n, 0, -1, dtype=torch.float64) if values is None else torch.tensor(values)
    return Directions(vectors, values, n if rank is None else rank, "A")


@pytest.fixture
def panel():
    return similarity(directions(8, 40, 0), directions(30, 40, 1), "title", {"weight": "W_q"})


def test_phi_is_the_mean_squared_cosine_of_the_principal_angles(panel):
    one, other = directions(8, 40, 0).vectors.numpy(), directions(30, 40, 1).vectors.numpy()
    for i, j in ((1, 1), (3, 20), (8, 30), (5, 2)):
        expected = np.mean(np.cos(subspace_angles(one[:i].T, other[:j].T)) ** 2)
        assert panel.phi[i - 1, j - 1] == pytest.approx(expected, abs=1e-12)


def test_null_and_z(panel):
    i, j, d = 3, 20, 40
    std = np.sqrt(2 * i * j * (d - i) * (d - j) / (d**2 * (d - 1) * (d + 2))) / i
    assert panel.mean[i - 1, j - 1] == pytest.approx(j / d)
    assert panel.z[i - 1, j - 1] == pytest.approx((panel.phi[i - 1, j - 1] - j / d) / std)
    assert panel.d == d


def test_cells_beyond_chance_are_those_above_the_null_s_quantile_and_outlined_those_with_z_above_two(panel):
    i, j = np.arange(1, 9)[:, None], np.arange(1, 31)
    assert np.array_equal(panel.beyond_chance, panel.phi > phi_quantile(i, j, 40, 0.99))
    assert np.array_equal(panel.outlined, panel.z > 2)
    same = similarity(directions(8, 40, 0), directions(8, 40, 0), "", {})
    assert same.beyond_chance.diagonal().all()


@pytest.mark.parametrize(
    ("z", "said"), [(False, "No cell is beyond chance."), (True, "No cell is enclosed: none has z > 2.")]
)
def test_a_caption_says_where_all_is_chance(z, said):
    vectors = torch.eye(40, dtype=torch.float64)
    apart = [replace(directions(8, 40, 0), vectors=vectors[start : start + 8]) for start in (0, 8)]
    chance, same = (similarity(apart[0], other, "", {}) for other in (apart[1], apart[0]))
    assert said in marks([chance], z)
    assert said not in marks([chance, same], z)


def test_one_line_in_a_hundred_is_beyond_chance_by_chance():
    """By z > 2 it would be one in twenty: phi(1, 1) is Beta(1/2, (d - 1)/2), which is far from normal."""
    lines = [similarity(directions(1, 40, 2 * n), directions(1, 40, 2 * n + 1), "", {}) for n in range(2000)]
    assert np.mean([panel.beyond_chance.item() for panel in lines]) == pytest.approx(0.01, abs=0.008)
    assert np.mean([panel.outlined.item() for panel in lines]) > 0.035


def test_near_equal_singular_values_are_marked_on_their_own_axis():
    rows = directions(4, 40, 0, values=[3.0, 2.0, 1.999, 1.0])
    panel = similarity(rows, directions(3, 40, 1), "", {})
    assert panel.arbitrary_i.tolist() == [False, True, False, False]
    assert not panel.arbitrary_j.any()


def test_directions_that_do_not_exist_are_undefined_and_not_beyond_chance():
    panel = similarity(directions(4, 40, 0, rank=2), directions(3, 40, 1), "", {})
    assert panel.undefined(z=False)[2:].all()
    assert not panel.undefined(z=False)[:2].any()
    assert not panel.beyond_chance[2:].any()
    assert not panel.outlined[2:].any()


def test_zoom_blanks_what_is_above_the_diagonal_and_changes_no_number(panel):
    small = zoom(panel, 8, "zoom")
    assert small.shape == (8, 8)
    assert np.array_equal(small.phi, panel.phi[:8, :8])
    assert np.array_equal(small.shown, np.tril(np.ones((8, 8), bool)))
    assert panel.shown.all()


def test_frame_has_a_row_for_each_shown_cell(panel):
    table = frame([panel, zoom(panel, 8, "zoom")])
    assert len(table) == 8 * 30 + 36
    cell = table[(table.i == 3) & (table.j == 20)].iloc[0]
    assert cell.weight == "W_q"
    assert cell.phi == panel.phi[2, 19]
    assert cell.null_mean == panel.mean[2, 19]
    assert cell.z == panel.z[2, 19]
    assert cell.null_q99 == phi_quantile(3, 20, 40, 0.99)
    assert cell.d == 40
    assert "other_layers_mean" not in table


def test_the_second_null_is_in_the_frame_of_whole_panels_and_of_zooms(panel):
    others = OtherLayers(np.random.default_rng(0).random((8, 30)), np.full((8, 30), 0.25), 12)
    panel = replace(panel, others=others)
    for table in (frame([panel]), frame([zoom(panel, 8, "zoom")])):
        cell = table[(table.i == 7) & (table.j == 5)].iloc[0]
        assert cell.other_layers_mean == others.mean[6, 4]
        assert cell.other_layers_sd == 0.25
    assert "other_layers_mean" in frame([panel, replace(panel, others=None)])


def test_frame_marks_a_cell_where_either_of_its_subspaces_is_arbitrary():
    rows = directions(2, 40, 0, values=[2.0, 1.999])
    table = frame([similarity(rows, directions(2, 40, 1), "", {})])
    assert table.sort_values(["i", "j"]).arbitrary.tolist() == [1, 1, 0, 0]


def test_spaces_of_different_dimensions_are_refused():
    with pytest.raises(AnalysisError, match=r"R\^40 and of R\^50"):
        similarity(directions(4, 40, 0), directions(4, 50, 0), "W_q", {})
