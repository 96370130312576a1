"""Verdicts on studies whose truth is planted."""

from __future__ import annotations

import math

import numpy as np
import pandas
import pytest

from analysis.claims import CLAIMS, catalogue, claim, judge
from analysis.claims.evidence import Evidence, of_units
from analysis.claims.geometry import Geometry
from analysis.commands import main
from analysis.errors import AnalysisError
from analysis.reading.study import Study
from analysis.registry import always
from analysis.statistics import unit_mean
from tests.analysis.claims.builder import EXAMPLES, FALSE, SEEDS, STUDY, TRUE, D, write_run, write_study
from tests.analysis.planted import planted

__all__ = ["planted"]

ACCURACIES = ("qv-beats-q", "types-beat-rank", "r1-suffices-qv", "r1-suffices-qkvo", "r1-short-q")
GEOMETRY = ("top-shared", "rest-not-shared", "seeds-share-q", "dw-correlates", "dw-not-top", "af-falls")


def judged(selection, **options):
    return {found.claim: found for found in judge(selection, **options)}


ALWAYS_JUDGED = [one.name for one in CLAIMS if one.applies is always]


@pytest.fixture(scope="module")
def true(claims):
    return judged(claims.select("true"))


@pytest.fixture(scope="module")
def false(claims):
    return judged(claims.select("false"))


@pytest.fixture(scope="module")
def undecided(claims):
    return judged(claims.select("open"))


def test_every_claim_is_judged_once():
    assert [*ALWAYS_JUDGED] == [*ACCURACIES, *GEOMETRY]
    of_paper = [one for one in CLAIMS if not one.since]
    assert [one.name for one in of_paper if one.name not in ALWAYS_JUDGED] == ["top-direction-does"]
    for one in of_paper:
        assert one.evidence.__doc__.startswith(f"Section {one.section}")


@pytest.mark.parametrize("claim", ALWAYS_JUDGED)
def test_what_is_true_is_supported(true, claim):
    assert true[claim].verdict == "supported"


@pytest.mark.parametrize(
    ("name", "verdict"), [("false", "contradicted"), ("undecided", "undecided")], ids=["false", "open"]
)
def test_what_is_false_is_contradicted_and_what_is_open_left_open(request, name, verdict):
    found = request.getfixturevalue(name)
    assert {claim: one.verdict for claim, one in found.items()} == dict.fromkeys(found, verdict)


def test_a_judgement_about_accuracy(true):
    """Planted: 75 % against 60 %, of which the paper's difference is 73.7 - 70.4."""
    found = true["qv-beats-q"]
    assert found.statistic == "accuracy of qv r=4 minus q r=8, points"
    assert found.low < 15 < found.high
    assert (found.null, found.wanted, found.margin, found.paper) == (0, "> 0", None, "+3.3")
    assert (found.seeds, found.examples, found.needed, found.level) == (5, EXAMPLES, None, 0.95)
    assert found.p_value < found.p_holm < 0.05
    assert "qv r=4: 74.9 ± 0.3; q r=8: 59.7 ± 0.2" in found.note
    assert true["types-beat-rank"].note.startswith("Shown: against o r=8.")  # the best single type
    assert true["types-beat-rank"].paper == "+0.5"
    equal = true["r1-suffices-qv"]
    assert (equal.margin, equal.wanted, equal.level, equal.paper) == (1, "> -1", 0.95, "-0.4")
    assert -1 < equal.low < equal.high
    short = true["r1-short-q"]
    assert (short.wanted, short.null, short.paper) == ("< -1", 0, "-1.6")
    assert short.high < -1


def test_judgements_about_geometry(true):
    top, rest, seeds = (true[name] for name in ("top-shared", "rest-not-shared", "seeds-share-q"))
    assert top.value == pytest.approx(1)
    assert top.null == pytest.approx(1 / D)
    assert (top.wanted, top.paper) == ("> 0.504", "> 0.5")
    assert rest.null == pytest.approx(63 / (D - 1))
    assert rest.value == pytest.approx(rest.null, abs=0.05)
    assert rest.wanted == "< 0.733"  # half of the way from chance to 1
    assert seeds.value == 50 + 6 - 2  # W's directions and the shared ones of W_q, the shared ones of W_v
    assert "jackknife over 5 seeds, 10 pairs" in seeds.note
    lift, place, fall = (true[name] for name in GEOMETRY[3:])
    # By W's spectrum: dW at r = 4 lies along its directions 55 to 58.
    spectrum = [0.95 ** (2 * i) for i in range(D)]
    measured = math.sqrt(sum(spectrum[54:58]) / sum(spectrum)) / (4 / D)
    assert lift.value == pytest.approx(measured, rel=0.01)
    assert 0.7 < lift.null < 1  # the geometric mean of random directions, below their root mean square
    assert lift.wanted == f"> {lift.null:.3g}"
    assert lift.paper == "15.9"
    assert (place.null, place.wanted) == (0, "< 0.5")
    assert place.paper == "0.37"
    assert "Shown: r = 64." in place.note
    # The factor is null / lift; the claim is of the factor itself, and the lift's part a remark.
    norms = [np.linalg.norm(np.linspace(2, 1, rank) ** 2) / rank for rank in (4, 64)]  # scaling is 8 / r
    assert fall.null == pytest.approx(norms[1] / norms[0] * 4 / 64, rel=1e-3)
    along = [math.sqrt(sum(spectrum[place]) / sum(spectrum)) for place in (slice(54, 58), slice(8, 58))]
    assert fall.value == pytest.approx(norms[1] / norms[0] * along[0] / along[1], rel=0.02)
    assert (fall.wanted, fall.paper) == ("< 1", "0.087")
    assert "Beside its null, which falls too" in fall.note
    assert "above chance in 2 of 2 layers" in lift.note


def test_the_false_are_shown_by_what_contradicts_them(false):
    found = false
    assert found["types-beat-rank"].note.startswith("Shown: against q r=8.")
    assert found["rest-not-shared"].value > 0.95
    assert found["seeds-share-q"].value == 56 + 2 - 60
    assert found["dw-correlates"].note.startswith("Shown: r = 64.")
    assert found["dw-not-top"].value == pytest.approx(1)


def test_the_open_say_what_they_need(undecided):
    found = undecided
    assert found["af-falls"].needed > 0
    assert (
        f"Undecided: {found['af-falls'].needed} more seeds would decide (80% power" in found["af-falls"].note
    )
    assert 0 < found["af-falls"].needed_fewest < found["af-falls"].needed
    assert found["af-falls"].needed_most is None  # over 100: the present effect is no standard error from 0
    assert found["qv-beats-q"].needed is None
    assert "feasible number of seeds" in found["qv-beats-q"].note
    assert found["qv-beats-q"].cells["more seeds"] == "none feasible"
    assert "the mean is exactly 0" in found["seeds-share-q"].note


def test_the_margin_decides_equivalence(claims):
    wide, narrow = (judged(claims.select("false"), margin=margin) for margin in (20, 0.3))
    assert wide["r1-suffices-qv"].verdict == "supported"
    assert wide["r1-suffices-qv"].margin == 20
    assert wide["r1-short-q"].verdict == "contradicted"
    assert narrow["r1-suffices-qv"].verdict == "contradicted"
    assert narrow["r1-short-q"].wanted == "< -0.3"
    for name in ("qv-beats-q", "types-beat-rank", *GEOMETRY):
        assert wide[name].value == narrow[name].value


def test_one_seed_decides_nothing(claims, tmp_path):
    write_study(tmp_path, claims.base, TRUE, seeds=(3,))
    found = judged(_select(tmp_path))
    shared = found.pop("seeds-share-q")
    assert {one.verdict for one in found.values()} == {"undecided"}
    for one in found.values():
        assert math.isnan(one.p_value)
        assert one.seeds == 1
        assert "one seed does not tell" in one.note
    assert shared.verdict == "not testable"
    assert [need.seed for need in shared.missing] == [0, 1]  # three seeds in all


def test_two_seeds_are_one_pair(claims, tmp_path):
    write_study(tmp_path, claims.base, TRUE, seeds=(0, 1))
    found = judged(_select(tmp_path))
    shared = found["seeds-share-q"]
    assert shared.value == 54
    assert math.isnan(shared.low)
    assert shared.seeds == 2
    assert "one pair of seeds does not tell" in shared.note
    for name in GEOMETRY:
        assert (found[name].verdict, found[name].seeds) == ("undecided", 2)
        assert math.isnan(found[name].p_holm)
    assert found["top-shared"].note.endswith(
        "Undecided: 1 more seed would decide (80% power, the present effect taken as true)."
    )
    assert found["qv-beats-q"].verdict == "supported"


def test_what_lacks_runs_is_named_with_its_commands(claims, tmp_path):
    write_study(tmp_path, claims.base, TRUE, cells={"q": (8,), "qv": (4, 8)})
    found = judged(_select(tmp_path))
    assert found["qv-beats-q"].verdict == "supported"
    types = found["types-beat-rank"]
    assert types.verdict == "not testable"
    assert {(need.targets, need.rank) for need in types.missing} == {("qkvo", 2), *((x, 8) for x in "kvo")}
    assert {need.seed for need in types.missing} == set(SEEDS)
    assert [line.split()[-3:] for line in types.commands] == [
        ["targets=qkvo", "rank=2", "seed=0,1,2,3,4"],
        ["targets=k,v,o", "rank=8", "seed=0,1,2,3,4"],
    ]
    assert all(line.startswith("python run.py -m study=claims") for line in types.commands)
    assert types.note == "Lacks 20 runs."
    assert {(need.targets, need.rank) for need in found["top-shared"].missing} == {("qv", 64)}
    assert found["top-shared"].commands[0].endswith("targets=qv rank=64 seed=0,1,2,3,4")
    assert found["top-shared"].missing == found["af-falls"].missing
    assert math.isnan(found["top-shared"].value)


def test_seeds_are_those_that_have_what_a_claim_needs(claims, tmp_path):
    write_study(tmp_path, claims.base, TRUE, cells={"qv": (8,)}, seeds=(0, 1, 2))
    write_study(tmp_path, claims.base, TRUE, cells={"qv": (64,)}, seeds=(1, 2, 3))
    found = judged(_select(tmp_path))
    assert found["top-shared"].seeds == 2
    assert found["seeds-share-q"].seeds == 3


def test_seeds_that_were_chosen_are_not_left_out_in_silence(claims, tmp_path):
    write_study(tmp_path, claims.base, TRUE, cells={"qv": (4, 8), "q": (8,)}, seeds=(0, 1, 2))
    write_study(tmp_path, claims.base, TRUE, cells={"qv": (64,)}, seeds=(1, 2, 3))
    write_run(tmp_path, claims.base, TRUE, "qv", 1, 2)
    chosen = judged(_select(tmp_path, seeds=(0, 1)))
    for name in ("top-shared", "seeds-share-q", "dw-correlates"):
        assert [str(need) for need in chosen[name].missing] == ["qv r=64 seed=0"]
    assert chosen["qv-beats-q"].seeds == 2
    short = judged(_select(tmp_path, seeds=(1, 2)))["r1-suffices-qv"]
    assert [str(need) for need in short.missing] == ["qv r=1 seed=1"]
    with pytest.raises(AnalysisError, match=r"--seeds 1,7: study claims has no run of sql with seed 7; it"):
        judge(_select(tmp_path, seeds=(1, 7)))


def test_the_papers_value_is_of_its_own_weights(claims, tmp_path):
    write_study(tmp_path, claims.base, TRUE, cells={"k": (4, 8, 64)}, seeds=(0, 1))
    found = judged(_select(tmp_path, targets="k"))
    for name in ("top-shared", "rest-not-shared", "dw-correlates", "dw-not-top", "af-falls"):
        assert not math.isnan(found[name].value)
        assert found[name].paper == ""


def test_each_task_for_itself(claims, tmp_path):
    write_study(tmp_path, claims.base, TRUE, cells={"q": (8,), "qv": (4,)}, seeds=(0, 1, 2))
    write_study(tmp_path, claims.base, FALSE, cells={"q": (8,), "qv": (4,)}, seeds=(0, 1, 2), task="nli")
    found = {(one.task, one.claim): one for one in judge(_select(tmp_path))}
    assert len(found) == 2 * len(ALWAYS_JUDGED)
    assert found["sql", "qv-beats-q"].verdict == "supported"
    assert found["nli", "qv-beats-q"].verdict == "contradicted"
    assert found["nli", "qv-beats-q"].paper == "+0.3"
    assert " task=nli " in found["nli", "top-shared"].commands[0]
    alone = judge(_select(tmp_path, task="nli"))
    assert {one.task for one in alone} == {"nli"}


def test_holm_counts_the_claims_that_can_be_tested(claims, true, tmp_path):
    write_study(tmp_path, claims.base, TRUE, cells={"q": (8,), "qv": (4,)})
    alone = judged(_select(tmp_path))["qv-beats-q"]
    assert alone.p_holm == alone.p_value == true["qv-beats-q"].p_value
    assert true["qv-beats-q"].p_holm == pytest.approx(5 * true["qv-beats-q"].p_value)


def test_learning_rates_are_chosen_on_dev_or_by_hand(claims, tmp_path):
    write_study(tmp_path, claims.base, TRUE, cells={"q": (8,), "qv": (4, 8, 64)}, seeds=(0, 1))
    for seed in (0, 1):
        write_run(tmp_path, claims.base, FALSE, "q", 8, seed, lr=0.5)  # better
        write_run(tmp_path, claims.base, TRUE, "qv", 8, seed, lr=0.5)
    found = judged(_select(tmp_path))
    assert "Learning rates chosen on dev: 0.02 (qv r=4), 0.5 (q r=8)." in found["qv-beats-q"].note
    assert found["qv-beats-q"].value < 1
    assert found["top-shared"].verdict == "not testable"
    assert "differ in lr (0.02, 0.5)" in found["top-shared"].note
    lacking = found["r1-suffices-qkvo"]
    assert len(lacking.missing) == 4
    assert not lacking.commands
    assert "say which are meant" in lacking.note
    chosen = judged(_select(tmp_path, choice={"lr": 0.02}))
    assert chosen["qv-beats-q"].value > 10
    assert chosen["top-shared"].value == pytest.approx(1)
    assert "lr=0.02" in chosen["r1-suffices-qkvo"].commands[0]


def test_one_layer_and_another_basis(claims):
    found = judged(claims.select("true", layer=1, basis="dW-right"))
    assert "above chance in 1 of 1 layers" in found["dw-correlates"].note
    assert found["top-shared"].value == pytest.approx(1)
    left = judged(claims.select("true", basis="dW-left"))
    assert left["top-shared"].verdict == "contradicted"  # B is drawn for each rank


def test_reasons_that_are_no_missing_runs(claims, planted, tmp_path):
    alone = judged(claims.select("true", targets="q"))
    assert alone["seeds-share-q"].verdict == "not testable"
    assert "--targets q does not adapt both" in alone["seeds-share-q"].note
    assert not alone["seeds-share-q"].missing
    small = judged(planted.select())
    assert "two subspaces of 64 dimensions meet in the space of 72" in small["seeds-share-q"].note
    write_study(tmp_path, claims.base, TRUE, cells={"qv": (4, 8, 64)})
    moved = claims.folder / "moved"
    elsewhere = judged(_select(tmp_path, base=str(moved)))
    assert elsewhere["dw-correlates"].verdict == "not testable"
    assert "moved" in elsewhere["dw-correlates"].note
    assert elsewhere["top-shared"].verdict == "supported"


def test_wrong_choices_are_errors(claims, tmp_path):
    for margin in (0, -1, math.nan):
        with pytest.raises(AnalysisError, match="give points above 0"):
            judge(claims.select("true"), margin=margin)
    with pytest.raises(AnalysisError, match="--layer 9"):
        judge(claims.select("true", layer=8))
    with pytest.raises(AnalysisError, match="lrr is not a setting"):
        judge(claims.select("true", choice={"lrr": 1}))
    (tmp_path / STUDY).mkdir()
    with pytest.raises(AnalysisError, match="no finished run"):
        judge(_select(tmp_path))


def _select(root, **options):
    from analysis.selection import Selection

    return Selection.of_tasks(Study.open(STUDY, root), **options)


@pytest.fixture
def toy(monkeypatch):
    """A claim, registered by one entry and nothing else."""
    monkeypatch.setattr(catalogue, "CLAIMS", CLAIMS.copy())
    monkeypatch.setattr("analysis.claims.table.CLAIMS", catalogue.CLAIMS)

    @claim("toy", "7.2", "two seeds are more than one", Geometry)
    def two_seeds_are_more_than_one(geometry):
        mean = unit_mean([run.settings["seed"] for run in geometry.selection.available()], reference=-5)
        return Evidence("seed number", (of_units(mean, above=True, null=0.0),), "A toy.")

    return catalogue.CLAIMS


def test_a_claim_is_one_entry(toy, claims, tmp_path, capsys, monkeypatch):
    """It is then in the table, in `all` and on the page."""
    assert [one.name for one in toy].index("toy") == [one.section for one in toy].index("7.3") - 1
    monkeypatch.setattr("analysis.result.rendered", lambda *arguments, **options: b"")  # pictures take long
    write_study(tmp_path / "outputs", claims.base, TRUE, cells={"qv": (8,)}, seeds=(0, 1, 2))
    place = ["--study", STUDY, "--root", str(tmp_path / "outputs"), "--out", str(tmp_path / "results")]
    assert main(["claims", *place]) == 0
    assert "toy: two seeds are more than one. Value: seed number. A toy." in capsys.readouterr().out
    main(["all", *place, "--wandb", "disabled"])
    row = pandas.read_csv(tmp_path / "results" / "claims.csv").set_index("claim").loc["toy"]
    assert (row["verdict"], row["value"], row["seeds"]) == ("supported", 1, 3)
    assert 'id="toy"' in (tmp_path / "results" / "report.html").read_text()


def test_a_claim_that_is_registered_twice_is_an_error(toy):
    with pytest.raises(ValueError, match="the claim toy is registered twice"):
        claim("toy", "7.1", "again", Geometry)(lambda geometry: None)
