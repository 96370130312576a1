"""Claims made since the paper: their verdicts on planted studies, and which studies they are judged on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from analysis.claims import CLAIMS, judge
from analysis.claims.table import make
from analysis.errors import AnalysisError
from tests.analysis.claims.later import NOISE, study

__all__ = ["study"]

SINCE = (
    "mlp-beats-attention",
    "b-beats-a",
    "rslora-beats-lora",
    "lora-rate-tenfold",
    "lora-forgets-less",
    "intruders-forget",
)
TRUE, FALSE = ((0.80, 0.60),) * 5, ((0.60, 0.80),) * 5
VERDICTS = pytest.mark.parametrize(
    ("shares", "verdict"), [(TRUE, "supported"), (FALSE, "contradicted"), (NOISE, "undecided")]
)


def judged(study, **options):
    return {found.claim: found for found in judge(study.select(**options)) if found.since}


def of(study, claim, **options):
    found = judged(study, **options)
    assert [*found] == [claim]
    return found[claim]


def test_they_stand_after_the_paper_s_each_with_its_source():
    assert {one.name for one in CLAIMS if one.since} == {*SINCE}
    assert [one.since for one in CLAIMS] == sorted(one.since for one in CLAIMS)
    for one in CLAIMS:
        if one.since:
            assert one.section in one.evidence.__doc__.partition("\n\n")[0]
            assert "The claim wants" in " ".join(one.evidence.__doc__.split())


def test_a_study_without_what_they_are_about_has_none(study):
    for seed in range(3):
        study.add(seed=seed)
        study.add(seed=seed, method="full")
        study.add(seed=seed, train="B")
        study.add(seed=seed, rank=64)
        study.add(seed=seed, rank=4, scaling="alpha/sqrt(r)")
        study.add("qkvo", seed=seed)
        study.add("up-down", seed=seed)
    assert judged(study) == {}
    assert [table.title for table in make(study.select()).tables] == [
        "Claims of Section 7 on study s: 11 not testable"
    ]


# ------------------------------------------------------------------------------------------- which factor


@VERDICTS
def test_b_against_a(study, shares, verdict):
    for seed, (b, a) in enumerate(shares):
        study.add(seed=seed, share=b, train="B")
        study.add(seed=seed, share=a, train="A")
        study.add(seed=seed, share=0.9)
    found = of(study, "b-beats-a")
    assert found.verdict == verdict
    expected = 100 * sum(b - a for b, a in shares) / len(shares)
    assert found.value == pytest.approx(expected, abs=1e-6)
    assert (found.wanted, found.margin, found.null, found.seeds) == ("> 0", None, 0, 5)
    assert found.low <= found.value <= found.high
    assert "Margin: none." in found.note
    assert "qv r=8: 90.0 ± 0.0" in found.note


def test_what_differs_in_more_is_another_matter(study):
    """DoRA's runs are of no claim here; a choice of weights with one of the two is none either."""
    for seed, (b, a) in enumerate(TRUE):
        study.add(seed=seed, share=b, train="B")
        study.add(seed=seed, share=a, train="A")
        study.add(seed=seed, share=a, train="B", dora=True)
        study.add("qkvo", seed=seed, share=a, train="B")
    assert of(study, "b-beats-a").verdict == "supported"


def test_one_seed_decides_nothing(study):
    study.add(share=0.9, train="B")
    study.add(share=0.5, train="A")
    assert of(study, "b-beats-a").verdict == "undecided"


# -------------------------------------------------------------------------------------------- which scale


@VERDICTS
def test_the_scale_at_a_large_rank(study, shares, verdict):
    for seed, (rooted, plain) in enumerate(shares):
        study.add(rank=64, seed=seed, share=rooted, scaling="alpha/sqrt(r)")
        study.add(rank=64, seed=seed, share=plain)
    found = of(study, "rslora-beats-lora")
    assert found.verdict == verdict
    assert found.statistic.endswith("alpha/sqrt(r) minus alpha/r at r = 64, points")


def test_each_scale_has_its_best_rate_on_dev(study):
    for seed in range(3):
        for lr, dev, share in ((0.1, 0.5, 0.9), (0.2, 0.8, 0.7)):
            study.add(rank=64, seed=seed, share=share, dev=dev, lr=lr, scaling="alpha/sqrt(r)")
        study.add(rank=64, seed=seed, share=0.6, lr=0.3)
    found = of(study, "rslora-beats-lora")
    assert found.value == pytest.approx(10)
    assert "0.2 (qv scaling=alpha/sqrt(r) r=64), 0.3 (qv r=64)" in found.note


# ------------------------------------------------------------------------------------------ which weights

SIZES = {"qkvo": (20, 163_840), "up-down": (16, 163_840), "q-k-v-o-up-down": (9, 165_888)}


@pytest.mark.parametrize(
    ("shares", "verdict"),
    [
        ({"qkvo": 0.6, "up-down": 0.7, "q-k-v-o-up-down": 0.8}, "supported"),
        ({"qkvo": 0.7, "up-down": 0.6, "q-k-v-o-up-down": 0.8}, "contradicted"),
        ({"qkvo": 0.6, "up-down": 0.8, "q-k-v-o-up-down": 0.7}, "contradicted"),
        (None, "undecided"),
    ],
)
def test_mlp_against_attention(study, shares, verdict):
    for seed, (one, other) in enumerate(NOISE):
        here = shares or {"qkvo": one, "up-down": other, "q-k-v-o-up-down": (one + other) / 2}
        for targets, (rank, size) in SIZES.items():
            study.add(targets, rank, seed, share=here[targets], parameters=size)
            study.add(targets, 1, seed, share=0.5, parameters=100 + 10 * len(targets))  # of unequal size
    found = of(study, "mlp-beats-attention")
    assert found.verdict == verdict
    assert "Parameters: qkvo r=20 163,840, up-down r=16 163,840, q-k-v-o-up-down r=9 165,888." in found.note


def test_sizes_that_differ_are_not_compared(study):
    for targets, (rank, _) in SIZES.items():
        study.add(targets, rank, parameters=len(targets) * 1000)
    found = of(study, "mlp-beats-attention")
    assert found.verdict == "not testable"
    assert "python run.py -m +experiment=attention_or_mlp study=s" in found.note


# ---------------------------------------------------------------------------------------------- the table


def test_they_have_a_table_of_their_own(study):
    for seed, (b, a) in enumerate(TRUE):
        study.add(seed=seed, share=b, train="B")
        study.add(seed=seed, share=a, train="A")
        study.add(task="nli", seed=seed)
    result = make(study.select_all())
    paper, since = result.tables
    assert paper.title.startswith("Claims of Section 7 on study s: ")
    assert since.title == "Claims made since on study s: 1 supported"
    assert [row.labels for group in since.groups for row in group] == [
        ("2402.16842", "b-beats-a", "supported")
    ]
    assert any("corrected by Holm over a task's claims about accuracy made since" in n for n in since.notes)
    assert len(result.judgements) == 2 * 11 + 1
    assert result.numbers["since"].sum() == 1


def test_a_seed_that_was_chosen_must_be_there(study):
    for seed in range(5):
        study.add(seed=seed, share=0.8, train="B")
    study.add(seed=0, share=0.6, train="A")
    found = of(study, "b-beats-a", seeds=(0, 1))
    assert found.verdict == "not testable"
    assert "--seeds: sql qv train=A r=8 has no run of seed 1" in found.note


def test_a_choice_without_one_of_the_two_is_said(study):
    study.add(seed=0, train="B", lr=0.1)
    study.add(seed=0, train="A", lr=0.2)
    assert "there are not both" in of(study, "b-beats-a", choice={"lr": 0.1}).note


def test_no_tensor_is_read_for_what_needs_none(tmp_path):
    program = f"""
import sys
from pathlib import Path
from analysis.claims.catalogue import CLAIMS
from tests.analysis.claims.later import Later
from tests.analysis.claims.test_learning_rates import plant
study = Later(Path({str(tmp_path)!r}))
for seed in range(3):
    study.add(seed=seed, share=0.8, train="B", forgotten=0.1)
    study.add(seed=seed, share=0.6, train="A")
    study.add(seed=seed, share=0.6, forgotten=0.1)
    study.add(seed=seed, share=0.6, method="full", forgotten=0.2)
plant(study, {{None: -3, 1: -2, 8: -2}})
for one in CLAIMS:
    if one.since and one.applies(study.select()) and one.name != "intruders-forget":
        print(one.name)
        one.evidence(one.source(study.select(), 1.0))
sys.exit("torch" in sys.modules)
"""
    root = Path(__file__).resolve().parents[3]
    shown = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.split() == ["b-beats-a", "lora-forgets-less", "lora-rate-tenfold"]


def test_the_error_of_the_selection_is_raised(study):
    study.add()
    with pytest.raises(AnalysisError, match="no run of sql with seed 5"):
        judge(study.select(seeds=(5,)))
