"""Claims about accuracy, from cells in memory."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from analysis.claims.accuracy import rank_1_falls_short_for_q, rank_1_suffices_for_qv
from analysis.statistics import Outcomes, compare
from experiments.metrics import metric

MARGIN = 0.01


class Answers:
    """Two seeds at r = 1, which get `few` of 1,000 examples right, and at r = 8, which get `many`."""

    margin = MARGIN
    metric = metric("accuracy")

    def __init__(self, few, many):
        self.found = [Outcomes(np.tile(np.arange(1000) < right, (2, 1)), (0, 1)) for right in (few, many)]

    def cells(self, *places):
        return [SimpleNamespace(outcomes=outcomes) for outcomes in self.found]

    def described(self, *places):
        return ""

    def paper(self, *places):
        return ""


@pytest.mark.parametrize("short", [14, 20, 22, 24, 30])
def test_it_is_contradicted_where_the_95_percent_interval_lies_beyond_the_margin(short):
    answers = Answers(700 - short, 700)
    (part,) = rank_1_suffices_for_qv(answers).parts
    assert (part.p_against < 0.05) == (compare(*answers.found).high < -MARGIN)
    assert part.p_for > 0.5
    assert part.distance == pytest.approx(MARGIN - short / 1000)


def test_a_small_rank_that_is_better_is_as_good():
    """Non-inferiority: what is better by any amount does not count against it."""
    for few in (698, 720, 800):
        (part,) = rank_1_suffices_for_qv(Answers(few, 700)).parts
        assert part.p_against == 1
        assert part.p_for < 0.05
        assert (part.wanted, part.margin) == ("> -1", 1)


@pytest.mark.parametrize(
    ("task", "told"),
    [
        ("sql", "The paper says so of WikiSQL."),
        ("nli", "The paper says so of WikiSQL; its MultiNLI, 90.7 and 90.7, says otherwise."),
        ("my-task", "The paper says so of WikiSQL."),
    ],
)
def test_that_w_q_needs_a_larger_rank_is_said_of_wikisql(task, told):
    answers = Answers(600, 700)
    answers.selection = SimpleNamespace(task=task)
    found = rank_1_falls_short_for_q(answers)
    assert found.note.strip() == told
    assert (found.parts[0].wanted, found.parts[0].p_for < 0.05) == ("< -1", True)
