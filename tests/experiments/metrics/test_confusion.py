"""Macro F1, F1 and the Matthews correlation against other definitions, and for many totals at once."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.errors import UserError
from experiments.metrics import metric, shown, unit

LABELS = ("a", "b", "c", "d")


def by_hand(golds, predictions):
    """The mean over the labels that occur; precision and recall are 0 where they have no answers."""
    scores = []
    for label in sorted({*golds, *predictions}):
        hits = sum(g == p == label for g, p in zip(golds, predictions, strict=True))
        precision = hits / predictions.count(label) if label in predictions else 0
        recall = hits / golds.count(label) if label in golds else 0
        scores.append(2 * precision * recall / (precision + recall) if hits else 0)
    return sum(scores) / len(scores)


def statistics(golds, predictions):
    scored = metric("macro_f1", LABELS)
    return [scored.score(p, g) for g, p in zip(golds, predictions, strict=True)]


@pytest.mark.parametrize(
    ("golds", "predictions", "value"),
    [
        ("aabb", "aabb", 1),
        ("aabb", "bbaa", 0),
        ("aaab", "aaaa", (6 / 7 + 0) / 2),  # accuracy would be 3/4
        ("ab", "ac", (1 + 0 + 0) / 3),  # c is predicted and no answer; d occurs nowhere
    ],
)
def test_closed_forms(golds, predictions, value):
    assert metric("macro_f1").value(statistics([*golds], [*predictions])) == pytest.approx(value)


def test_random_answers_and_their_resamples():
    generator = np.random.default_rng(0)
    golds, predictions = (generator.choice(LABELS[:3], 40, p=[0.7, 0.2, 0.1]).tolist() for _ in range(2))
    scores = np.array(statistics(golds, predictions))
    assert metric("macro_f1").value(scores) == pytest.approx(by_hand(golds, predictions))
    draws = generator.integers(0, 40, (50, 40))
    together = metric("macro_f1").of_totals(scores[draws].sum(1))
    alone = [by_hand([golds[i] for i in draw], [predictions[i] for i in draw]) for draw in draws]
    assert together == pytest.approx(alone)


# ------------------------------------------------------------------- F1 of one label, Matthews correlation


def pairs(counts):
    """Golds and predictions from {(gold, prediction): how often}."""
    many = [pair for pair, count in counts.items() for _ in range(count)]
    return [gold for gold, _ in many], [prediction for _, prediction in many]


def value(name, golds, predictions, labels=("n", "p")):
    scored = metric(name, labels)
    return metric(name).value([scored.score(p, g) for g, p in zip(golds, predictions, strict=True)])


@pytest.mark.parametrize(
    ("tp", "fp", "fn", "tn"), [(5, 2, 3, 7), (1, 0, 4, 9), (9, 9, 1, 1), (0, 3, 4, 5), (7, 0, 0, 2)]
)
def test_two_labels_against_the_textbook_formulas(tp, fp, fn, tn):
    answers = pairs({("p", "p"): tp, ("n", "p"): fp, ("p", "n"): fn, ("n", "n"): tn})
    assert value("f1", *answers) == pytest.approx(2 * tp / (2 * tp + fp + fn))
    root = np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    assert value("matthews", *answers) == pytest.approx((tp * tn - fp * fn) / root)
    # For two labels it is Pearson's correlation of the two indicators.
    indicators = [[one == "p" for one in side] for side in answers]
    assert value("matthews", *answers) == pytest.approx(np.corrcoef(indicators)[0, 1])


def test_what_is_not_defined_is_zero():
    assert value("f1", "nnn", "nnn") == 0
    assert value("matthews", "npn", "nnn") == 0
    assert value("matthews", "ppp", "npn") == 0
    assert value("matthews", "ppp", "ppp") == 0


def test_f1_is_of_the_second_label():
    assert value("f1", "npp", "nnp") == pytest.approx(2 / 3)
    assert value("f1", "npp", "nnp", labels=("p", "n")) == pytest.approx(2 / 3)
    assert value("f1", "nppp", "nppn") == pytest.approx(4 / 5)
    assert value("f1", "nppp", "nppn", labels=("p", "n")) == pytest.approx(2 / 3)


def test_matthews_of_more_labels_and_of_resamples():
    """Against Gorodkin's definition: the correlation of the one-hot matrices of answers and golds."""
    generator = np.random.default_rng(2)
    golds, predictions = (generator.choice(LABELS[:3], 60, p=[0.5, 0.3, 0.2]) for _ in range(2))
    predictions = np.where(generator.random(60) < 0.6, golds, predictions)
    scores = np.array(
        [metric("matthews", LABELS).score(p, g) for g, p in zip(golds, predictions, strict=True)]
    )

    def defined(rows):
        one, two = ((side[rows][:, None] == np.array(LABELS)).astype(float) for side in (golds, predictions))
        one, two = one - one.mean(0), two - two.mean(0)
        return (one * two).sum() / np.sqrt((one**2).sum() * (two**2).sum())

    draws = generator.integers(0, 60, (20, 60))
    assert metric("matthews").of_totals(scores[draws].sum(1)) == pytest.approx(
        [defined(rows) for rows in draws]
    )


def test_f1_of_three_labels_is_refused():
    metric("f1").require()
    metric("f1", ("no", "yes")).require()
    with pytest.raises(UserError, match=r"f1 is of two labels, .* here are 3: use macro_f1"):
        metric("f1", ("a", "b", "c")).require()


def test_correlations_are_shown_times_100_and_not_in_per_cent():
    assert (shown("matthews", 0.6341), unit("matthews")) == ("63.4", "")
    assert (shown("f1", 0.6341), unit("f1")) == ("63.4", " (%)")
    assert (shown("pearson", -0.125), shown("spearman", 1.0)) == ("-12.5", "100.0")
