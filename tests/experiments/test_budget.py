"""Table 5's ranks come from its budget, on the paper's model and on others."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.budget import parameters_of, parameters_per_rank, rank_for_budget
from experiments.errors import UserError

PAPER_BUDGET = 18_874_368
GPT3 = dict.fromkeys("qkvo", (12288, 12288))
GROUPED = {"q": (4096, 4096), "k": (1024, 4096), "v": (1024, 4096), "o": (4096, 4096)}  # Llama-3 8B


@pytest.mark.parametrize(
    ("targets", "rank"), [("q", 8), ("k", 8), ("v", 8), ("o", 8), ("qk", 4), ("qv", 4), ("qkvo", 2)]
)
def test_the_papers_ranks(targets, rank):
    found = rank_for_budget(PAPER_BUDGET, targets, GPT3, layers=96)
    assert (found.rank, found.parameters, found.excess) == (rank, PAPER_BUDGET, 0)


def test_smaller_keys_and_values_get_a_higher_rank():
    budget = parameters_per_rank("q", GROUPED, layers=32) * 8
    ranks = {t: rank_for_budget(budget, t, GROUPED, layers=32) for t in ("q", "k", "qk", "qv", "qkvo")}
    # 8 * 8192 / (1024 + 4096) = 12.8; / (8192 + 5120) = 4.9; / (2 * 8192 + 2 * 5120) = 2.46
    assert {t: found.rank for t, found in ranks.items()} == {"q": 8, "k": 13, "qk": 5, "qv": 5, "qkvo": 2}
    assert ranks["k"].parameters == 32 * 13 * 5120
    assert ranks["k"].excess == pytest.approx(13 / 12.8 - 1)


@pytest.mark.parametrize(
    ("budget", "parameters"),
    [("q8", PAPER_BUDGET), ("qv4", PAPER_BUDGET), ("o1", PAPER_BUDGET // 8), (99, 99)],
)
def test_a_budget_is_a_number_or_what_letters_cost(budget, parameters):
    assert parameters_of(budget, GPT3, layers=96) == parameters


def test_a_budget_of_letters_follows_the_shapes():
    shapes = {"q": (8, 8), "v": (2, 8), "up": (32, 8)}
    assert parameters_of("v10", shapes, layers=3) == 3 * 10 * (2 + 8)
    assert parameters_of("q-up2", shapes, layers=1) == 2 * (16 + 40)


@pytest.mark.parametrize(
    "budget", ["q", "8", "8q", "q0", "q-1", "q8 v8", "Q8", "", 0, -5, True, 18.5, None, ["q8"], "x8", "v8"]
)
def test_what_is_no_budget(budget):
    with pytest.raises(UserError, match=r"^budget=.* is not valid") as error:
        parameters_of(budget, {"q": (8, 8)}, layers=1)
    assert "\n" not in str(error.value)


def test_a_tie_takes_the_smaller_rank():
    shapes = {"q": (8, 8)}  # one rank costs 16
    assert rank_for_budget(40, "q", shapes, layers=1).rank == 2
    assert rank_for_budget(41, "q", shapes, layers=1).rank == 3


@given(
    st.lists(st.tuples(st.integers(8, 64), st.integers(8, 64)), min_size=4, max_size=4),
    st.sampled_from(["q", "kv", "qkvo"]),
    st.integers(1, 6),
    st.integers(1, 8),
    st.integers(-400, 400),
)
def test_no_other_rank_is_nearer(dimensions, targets, layers, rank, offset):
    shapes = dict(zip("qkvo", dimensions, strict=True))
    each = parameters_per_rank(targets, shapes, layers)
    budget = max(each, min(each * 8, rank * each + offset))
    found = rank_for_budget(budget, targets, shapes, layers)
    assert found.parameters == sum(
        layers * found.rank * (shapes[letter][0] + shapes[letter][1]) for letter in targets
    )
    assert abs(found.parameters - budget) == min(abs(each * r - budget) for r in range(1, 9))


@pytest.mark.parametrize(
    ("budget", "targets", "message"),
    [
        (8, "q", "too small for targets=q: r=1 costs 16 "),
        (8 * 16 + 9, "q", "it is rank 9, and a full rank of 8 costs 128 "),
        (64, "qv", "no shape is given for 'v'; there are q"),
        (64, "x", "'x' is not a projection"),
    ],
)
def test_what_cannot_be_had(budget, targets, message):
    with pytest.raises(UserError, match=message):
        rank_for_budget(budget, targets, {"q": (8, 8)}, layers=1)


def test_torch_is_not_imported():
    code = "import sys, experiments.budget; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
