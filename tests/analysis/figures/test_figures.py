"""The figures' numbers, from factors that are known, by another way than the code's."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.linalg import subspace_angles

from analysis.figures.fig3_6 import fig3, fig6
from analysis.figures.fig4_7 import fig4, fig7
from analysis.figures.fig8 import fig8
from analysis.reading.needs import MissingRunsError
from analysis.reading.study import Study
from analysis.selection import Selection
from analysis.tables.numbers import short
from tests.analysis.planted import LAYERS, STUDY, D, factors, write_run


def phi(V1, V2, i, j):
    """Mean squared cosine of the principal angles; V1 and V2 hold directions as rows."""
    return np.mean(np.cos(subspace_angles(V1[:i].T, V2[:j].T)) ** 2)


def right_of_A(layer, letter, rank, seed):
    return np.linalg.svd(factors(layer, letter, rank, seed).A.double().numpy(), full_matrices=False)[2]


def svd_of_dW(layer, letter, rank, seed):
    pair = factors(layer, letter, rank, seed)
    U, _, Vh = np.linalg.svd(pair.scaling * (pair.B.double() @ pair.A.double()).numpy())
    return U[:, :rank], Vh[:rank]


def cell(numbers, i, j, **where):
    found = numbers[(numbers["i"] == i) & (numbers["j"] == j)]
    for key, value in where.items():
        found = found[found[key] == value]
    assert len(found) == 1
    return found.iloc[0]


def titles(drawing):
    return [axes.get_title() for axes in drawing.figure.axes if axes.get_title()]


CELLS = ((1, 1), (2, 5), (8, 64), (8, 3), (5, 40))


def test_fig3_compares_ranks_8_and_64_in_the_middle_layer(planted):
    result = fig3(planted.select())
    assert len(result.numbers) == 2 * 8 * 64
    for letter in "qv":
        small, large = right_of_A(1, letter, 8, 0), right_of_A(1, letter, 64, 0)
        for i, j in CELLS:
            found = cell(result.numbers, i, j, weight=f"W_{letter}", layer=2)
            assert found.phi == pytest.approx(phi(small, large, i, j), abs=1e-9)
            assert found.null_mean == pytest.approx(max(i, j) / D)
    q, v = r"$\Delta W_{q}$", r"$\Delta W_{v}$"
    assert titles(result.drawings[""]) == [q, v, f"{q}, zoom", f"{v}, zoom", r"$\phi$"]
    assert titles(result.drawings["-z"])[-1] == "$z$"


def test_fig3_caption_says_what_it_is_of_and_what_is_blank(planted):
    drawings = fig3(planted.select()).drawings
    for text in ("Study planted", "task sql", "model base", f"d = {D}", "r = 8", "r = 64", "seed 0"):
        assert text in drawings[""].caption
        assert text in drawings["-z"].caption
    for text in ("the paper's basis", "last checkpoint", "layer 2 of 5", "max(i, j)/d", "(j > i) are blank"):
        assert text in drawings[""].caption
    assert "nothing is blank" in drawings[""].caption


@pytest.mark.parametrize(("basis", "side"), [("dW-right", 1), ("dW-left", 0)])
def test_fig3_in_the_bases_of_dW(planted, basis, side):
    result = fig3(planted.select(basis=basis, layer=0))
    assert result.name == f"fig3-{basis}-layer1"
    small, large = svd_of_dW(0, "q", 8, 0)[side], svd_of_dW(0, "q", 64, 0)[side]
    small, large = (small, large) if side else (small.T, large.T)
    for i, j in CELLS:
        assert cell(result.numbers, i, j, weight="W_q").phi == pytest.approx(
            phi(small, large, i, j), abs=1e-8
        )


def test_fig3_leaves_dW_of_zero_undefined(planted):
    result = fig3(planted.select(basis="dW-right", layer=LAYERS - 1))
    assert result.numbers["phi"].isna().all()
    assert "not defined" in result.drawings[""].caption


def test_fig3_of_a_weight_with_more_outputs_than_inputs(planted, tmp_path):
    from analysis.reading.study import Study
    from analysis.selection import Selection

    for rank in (8, 64):
        write_run(tmp_path, planted.base, rank, 0, letters=("q", "up"))
    study = Study.open("planted", tmp_path)
    result = fig3(Selection.of(study, targets="q,up", basis="B"))
    assert set(result.numbers["weight"]) == {"W_q", "W_up"}
    assert f"d = {D} and {4 * D}" in result.drawings[""].caption
    small, large = (
        np.linalg.svd(factors(1, "up", rank, 0).B.double().numpy(), full_matrices=False)[0].T
        for rank in (8, 64)
    )
    assert cell(result.numbers, 3, 7, weight="W_up").phi == pytest.approx(phi(small, large, 3, 7), abs=1e-9)


def test_fig6_is_fig3_in_four_layers(planted):
    result = fig6(planted.select())
    assert sorted(result.numbers["layer"].unique()) == [1, 2, 3, 5]
    middle = fig3(planted.select()).numbers
    here = result.numbers[result.numbers["layer"] == 2].reset_index(drop=True)
    assert here.equals(middle)
    assert titles(result.drawings[""])[:2] == [r"Layer 1, $\Delta W_{q}$", r"Layer 1, $\Delta W_{v}$"]
    assert len(titles(result.drawings[""])) == 16 + 1


def test_fig4_compares_the_first_two_seeds_and_keeps_every_pair(planted):
    result = fig4(planted.select())
    numbers = result.numbers
    pairs = numbers[["seed_i", "seed_j", "drawn"]].dropna().drop_duplicates().values.tolist()
    assert pairs == [[0, 1, 1], [0, 2, 0], [1, 2, 0]]
    for one, other in ((0, 1), (1, 2)):
        first, second = right_of_A(1, "v", 64, one), right_of_A(1, "v", 64, other)
        for i, j in ((1, 1), (64, 64), (10, 3)):
            found = cell(numbers, i, j, weight="W_v", seed_i=one, seed_j=other)
            assert found.phi == pytest.approx(phi(first, second, i, j), abs=1e-9)
    assert len(result.provenance["runs"]) == 3


def test_fig4_random_panel_is_at_the_null(planted):
    result = fig4(planted.select())
    mean = result.numbers[result.numbers["weight"] == "random, mean of 20"]
    assert len(mean) == 64 * 64
    assert np.abs(mean["phi"] - mean["null_mean"]).max() < 0.1
    assert np.abs(mean["z"]).max() < 5 / np.sqrt(20)
    one = result.numbers[result.numbers["weight"] == "random, one pair"]
    assert one["z"].std() > 2 * mean["z"].std()
    assert "mean of 20" in titles(result.drawings[""])[2]
    assert "one pair" in titles(result.drawings["-z"])[2]


@pytest.mark.parametrize(
    ("basis", "said"),
    [
        ("A", f"right singular vectors of 64 x {D} matrices of independent normal entries, the shape of A"),
        ("dW-right", f"right singular vectors of 64 x {D} matrices"),
        ("B", f"left singular vectors of {D} x 64 matrices of independent normal entries, the shape of B"),
        ("dW-left", f"left singular vectors of {D} x 64 matrices"),
    ],
    ids=["A", "dW-right", "B", "dW-left"],
)
def test_random_panels_say_which_side_they_are_of(planted, basis, said):
    selection = planted.select(basis=basis)
    assert said in fig4(selection).drawings[""].caption
    drawing = fig8(selection).drawings[""]
    assert said in drawing.caption
    random = "B" if said.startswith("left") else "A"
    assert titles(drawing)[3] == rf"$\phi(W_{{q}}, {random}_{{\mathrm{{rand}}}}, i, j)$"


def test_fig4_has_a_random_panel_for_each_dimension(planted, tmp_path):
    from analysis.reading.study import Study
    from analysis.selection import Selection

    for seed in (0, 1):
        write_run(tmp_path, planted.base, 64, seed, letters=("q", "up"))
    study = Study.open("planted", tmp_path)
    result = fig4(Selection.of(study, targets="q,up", basis="B"))
    mean = result.numbers[result.numbers["weight"] == "random, mean of 20"]
    assert mean["d"].value_counts().to_dict() == {D: 64 * 64, 4 * D: 64 * 64}
    wide = mean[mean["d"] == 4 * D]
    assert np.abs(wide["phi"] - wide[["i", "j"]].max(axis=1) / (4 * D)).max() < 0.05
    assert [title.rpartition("$d$ = ")[2] for title in titles(result.drawings[""])[2:4]] == [
        f"{D}",
        f"{4 * D}",
    ]
    assert f"{D} x 64 and {4 * D} x 64 matrices" in result.drawings[""].caption
    inputs = fig4(Selection.of(study, targets="q,up"))
    assert len(titles(inputs.drawings[""])) == 3 + 1  # one input space, one random panel


@pytest.mark.parametrize("figure", [fig3, fig4, fig6, fig7])
def test_the_second_null_is_over_pairs_of_different_layers(planted, figure):
    result = figure(planted.select())
    numbers, caption = result.numbers, result.drawings[""].caption
    runs = ((8, 0), (64, 0)) if figure in (fig3, fig6) else ((64, 0), (64, 1))
    one, other = ([right_of_A(layer, "v", *run) for layer in range(LAYERS)] for run in runs)
    apart = [(a, b) for a in range(LAYERS) for b in range(LAYERS) if a != b]
    for i, j in ((1, 1), (8, 64)):
        values = [phi(one[a], other[b], i, j) for a, b in apart]
        drawn = numbers[(numbers["i"] == i) & (numbers["j"] == j) & (numbers["weight"] == "W_v")]
        drawn = drawn[drawn["drawn"] == 1] if "drawn" in drawn else drawn
        assert drawn["other_layers_mean"].to_numpy() == pytest.approx(np.mean(values), abs=1e-9)
        assert drawn["other_layers_sd"].to_numpy() == pytest.approx(np.std(values, ddof=1), abs=1e-9)
    assert "different layers (20 pairs of layers" in caption
    first = np.mean([phi(one[a], other[b], 1, 1) for a, b in apart])
    assert f"W_v {short(first)} at i = j = 1 (closed form {short(1 / D)})" in caption
    assert "different layers" in result.drawings["-z"].caption


def test_a_second_null_needs_two_layers(planted):
    from analysis.figures.nulls import other_layers

    selection = planted.select()
    run = selection.available()[0]
    assert other_layers(selection, run, run, "q").pairs == LAYERS * (LAYERS - 1)
    one = type("One", (), {"layers": (2,), "shape": lambda *_: (D, D), "__contains__": lambda *_: True})()
    assert other_layers(selection, SimpleNamespace(adapter=lambda _: one), run, "q") is None


def test_fig4_takes_the_seeds_in_the_order_given(planted):
    result = fig4(planted.select(seeds=(2, 0)))
    drawn = result.numbers[result.numbers["drawn"] == 1]
    assert drawn[["seed_i", "seed_j"]].dropna().drop_duplicates().values.tolist() == [[2, 0]]


def test_fig7_is_fig4_in_four_layers(planted):
    result = fig7(planted.select())
    assert sorted(result.numbers["layer"].unique()) == [1, 2, 3, 5]
    first, second = right_of_A(4, "q", 64, 0), right_of_A(4, "q", 64, 1)
    found = cell(result.numbers, 7, 9, weight="W_q", layer=5)
    assert found.phi == pytest.approx(phi(first, second, 7, 9), abs=1e-9)
    order = [title.split(",")[0] for title in titles(result.drawings[""])[:-1]]
    assert order == [f"Layer {layer}" for layer in (1, 1, 2, 2, 3, 3, 5, 5)]


@pytest.mark.parametrize("basis", ["A", "dW-left"])
def test_fig8_compares_with_the_top_tenth_of_W(planted, basis):
    result = fig8(planted.select(basis=basis))
    numbers = result.numbers
    assert numbers["i"].max() == 8  # 10 % of 72, rounded up
    U, _, Vh = np.linalg.svd(planted.weights[1, "q"].numpy())
    top = Vh if basis == "A" else U.T
    for rank in (4, 8, 64):
        found = right_of_A(1, "q", rank, 0) if basis == "A" else svd_of_dW(1, "q", rank, 0)[0].T
        for i, j in ((1, 1), (8, rank), (3, 2)):
            value = cell(numbers, i, j, against=f"r={rank}").phi
            assert value == pytest.approx(phi(top, found, i, j), abs=1e-8)
    random = numbers[numbers["against"] == "random, mean of 20"]
    assert random["j"].max() == 64
    assert np.abs(random["z"]).max() < 5 / np.sqrt(20)


@pytest.mark.parametrize("figure", [fig3, fig4, fig6, fig7, fig8])
def test_missing_runs_are_named(planted, figure):
    with pytest.raises(MissingRunsError, match=r"lacks .*q r=64 seed=0"):
        figure(planted.select(targets="q"))


def test_figures_of_other_ranks_say_so_in_name_and_caption(planted):
    result = fig3(planted.select(), ranks=(4, 64))
    assert result.name == "fig3-r4-64"
    assert "at r = 4 and the top j at r = 64" in result.drawings[""].caption
    assert {*result.numbers["rank_i"]} == {4}
    assert not result.printed()
    assert fig4(planted.select(seeds=(0, 1)), rank=8).name == "fig4-seed0-1-r8"


def test_what_the_study_lacks_of_the_papers_figure_is_one_line_and_the_rest_is_drawn(planted, tmp_path):
    for rank, seed in ((2, 0), (16, 0), (16, 1)):
        write_run(tmp_path, planted.base, rank, seed)
    selection = Selection.of(Study.open(STUDY, tmp_path))
    result = fig3(selection)
    told = "Figure 3. The paper's has r = 8 and 64; the study lacks r = 8 and r = 64; drawn: r = 2 and 16."
    assert result.printed() == told
    assert ({*result.numbers["rank_i"]}, {*result.numbers["rank_j"]}) == ({2}, {16})
    result = fig7(selection)
    assert result.printed() == "Figure 7. The paper's has r = 64, which the study lacks; drawn: r = 16."
    assert {*result.numbers["rank"]} == {16}
    result = fig8(selection)
    assert result.printed().startswith("Figure 8. The paper's has r = 4, 8 and 64; the study lacks r = 4,")
    assert {*result.numbers["against"]} > {"r=2", "r=16"}
    assert "at r = 2 and 16;" in result.drawings[""].caption
    with pytest.raises(MissingRunsError, match="qv r=8 seed=0"):
        fig3(selection, ranks=(8, 16))


def test_a_second_seed_is_asked_for_at_a_rank_that_the_study_has(planted, tmp_path):
    write_run(tmp_path, planted.base, 8, 0)
    with pytest.raises(MissingRunsError, match="qv r=8 seed=1"):
        fig4(Selection.of(Study.open(STUDY, tmp_path)))
