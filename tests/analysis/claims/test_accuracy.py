"""Claims about accuracy, from cells in memory."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from analysis.claims.accuracy import rank_1_suffices_for_qv
from analysis.statistics import Outcomes, equivalence
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


@pytest.mark.parametrize("short", [14, 17, 18, 20, 25])
def test_it_is_contradicted_where_the_90_percent_interval_lies_beyond_the_margin(short):
    """Two one-sided tests of 5 % each: that against the claim is one-sided too."""
    answers = Answers(700 - short, 700)
    (part,) = rank_1_suffices_for_qv(answers).parts
    beyond = equivalence(*answers.found, margin=MARGIN).high < -MARGIN
    assert (part.p_against < 0.05) == beyond
    assert part.p_for > 0.5
    assert part.distance == pytest.approx(MARGIN - short / 1000)


def test_within_the_margin_nothing_speaks_against_it():
    (part,) = rank_1_suffices_for_qv(Answers(696, 700)).parts
    assert part.p_against == 1
    assert part.p_for < 0.05
