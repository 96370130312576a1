"""The interval of a cell's mean holds the truth as often as it says, with a handful of seeds."""

from __future__ import annotations

import time

import numpy as np
import pytest

from analysis.statistics import Outcomes, mean_score
from analysis.statistics.bootstrap import draws, interval, tail

EXAMPLES, RESAMPLES = 200, 1000


def coverage(simulate, seeds, seed_sd, count, make=None):
    generator = np.random.default_rng(20)
    hits = 0
    for trial in range(count):
        cell = simulate(generator, seeds, EXAMPLES, 0.7, seed_sd=seed_sd)
        if make is None:
            found = mean_score(cell, resamples=RESAMPLES, generator_seed=trial)
            low, high = found.low, found.high
        else:
            low, high = make(cell, generator)
        hits += low <= 0.7 <= high
    return hits / count


@pytest.mark.parametrize(
    ("seeds", "seed_sd", "most"),
    [
        (1, 0.0, 0.97),  # examples alone
        (2, 0.5, 0.99),
        (3, 0.0, 1.0),  # seeds do not differ: wider than need be
        (3, 0.1, 1.0),
        (3, 0.5, 0.98),
        (5, 0.0, 0.99),
        (5, 0.1, 0.99),
        (5, 0.5, 0.98),  # seeds are nearly all of the spread
    ],
)
def test_coverage(simulate, binomial_limits, seeds, seed_sd, most):
    count = 500
    found = coverage(simulate, seeds, seed_sd, count)
    least, _ = binomial_limits(0.95, count)
    _, upper = binomial_limits(most, count)
    assert least <= found <= upper


def test_the_textbook_bootstrap_would_fail(simulate):
    """The simulation tells a good interval from a bad one: seeds and examples drawn with replacement."""

    def textbook(cell, generator):
        seeds, examples = cell.shape
        rows = generator.multinomial(seeds, np.full(seeds, 1 / seeds), size=300)
        columns = generator.multinomial(examples, np.full(examples, 1 / examples), size=300)
        sample = np.einsum("rs,rs->r", rows, columns @ cell.T) / cell.size
        return np.quantile(sample, [0.025, 0.975])

    assert coverage(simulate, 3, 0.5, 200, textbook) < 0.85


def test_result_says_what_it_holds(simulate):
    cell = simulate(np.random.default_rng(0), 3, 400, 0.7, seed_sd=0.2)
    found = mean_score(Outcomes(cell, seeds=(4, 0, 9)))
    assert (found.seeds, found.examples, found.level) == (3, 400, 0.95)
    assert found.sources == ("seeds", "examples")
    assert found.mean == pytest.approx(cell.mean())
    assert found.seed_sd == pytest.approx(np.std(cell.mean(axis=1), ddof=1))
    assert found.low < found.mean < found.high
    alone = mean_score(cell[0])
    assert alone.sources == ("examples",)
    assert np.isnan(alone.seed_sd)


def test_one_seed_is_the_agresti_coull_interval():
    """Where nothing but examples varies, resampling them with two imaginary ones a side has a closed form."""
    correct = np.arange(1000) < 740
    share = (740 + 2) / 1004
    half = 1.96 * np.sqrt(share * (1 - share) / 1004)
    found = mean_score(correct, resamples=100_000)
    assert (found.low, found.high) == pytest.approx((share - half, share + half), abs=1.5e-3)


def test_variance_is_that_of_the_components():
    """With many seeds the draws have the unbiased variance (MS_seeds + MS_examples - MS_rest) / (n m)."""
    generator = np.random.default_rng(3)
    seeds, examples = 40, 300
    effects = generator.standard_normal((seeds, 1)) + generator.standard_normal((1, examples))
    table = np.round(10 * (effects + generator.standard_normal((seeds, examples)))).astype(int)
    rows, columns, mean = table.mean(axis=1), table.mean(axis=0), table.mean()
    rest = table - rows[:, None] - columns + mean
    squares = [
        examples * rows.var(ddof=1),
        seeds * columns.var(ddof=1),
        np.sum(rest**2) / ((seeds - 1) * (examples - 1)),
    ]
    expected = (squares[0] + squares[1] - squares[2]) / table.size
    sample = draws(table, np.array([], dtype=int), 50_000, generator)
    # A variance with 39 degrees of freedom has mean 39/37 of its estimate.
    seeds_part = (squares[0] - squares[2]) / table.size
    assert sample.var() == pytest.approx(expected + seeds_part * 2 / 37, rel=0.05)
    assert sample.mean() == pytest.approx(mean, abs=4 * np.sqrt(expected / 50_000))


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("right", [True, False])
def test_answers_that_are_all_alike_leave_some_doubt(seeds, right):
    found = mean_score(np.full((seeds, 300), right))
    assert found.mean == right
    assert found.low <= found.mean <= found.high
    assert 0.003 < found.high - found.low < 0.03  # the exact 95% limit of 300 in 300 is 0.012 away


def test_the_same_numbers_give_the_same_interval(simulate):
    cell = simulate(np.random.default_rng(0), 5, 1000, 0.7, seed_sd=0.2)
    assert mean_score(cell) == mean_score(cell.copy())


def test_order_of_seeds_does_not_matter(simulate):
    cell = simulate(np.random.default_rng(0), 5, 300, 0.7, seed_sd=0.2)
    there, back = mean_score(cell), mean_score(cell[::-1])
    assert (there.low, there.high) == pytest.approx((back.low, back.high), abs=1e-12)


def test_ten_thousand_resamples_take_well_under_a_second(simulate):
    cell = simulate(np.random.default_rng(0), 5, 1000, 0.7, seed_sd=0.2)
    start = time.process_time()
    mean_score(cell)
    assert time.process_time() - start < 0.5


def test_interval_and_tail():
    sample = np.arange(1, 1000) / 1000
    assert interval(sample, 0.9) == pytest.approx((0.05, 0.95), abs=1e-3)
    assert tail(sample, 0.1, below=True) == pytest.approx(0.101)
    assert tail(sample, 2.0, below=False) == 1 / 1000


@pytest.mark.parametrize("scale", [1.0, 40.0])
def test_one_seed_of_any_numbers_is_the_normal_interval_of_their_mean(scale):
    """No imaginary answers: mean ± 1.96 s / sqrt(m)."""
    scores = scale * np.random.default_rng(0).exponential(size=2000)
    half = 1.96 * scores.std() / np.sqrt(len(scores))
    found = mean_score(scores, resamples=20_000)
    assert found.mean == pytest.approx(scores.mean())
    assert (found.low, found.high) == pytest.approx((found.mean - half, found.mean + half), abs=0.06 * half)


def ratio(totals):
    return totals[..., 0] / totals[..., 1]


def drawn(generator, seeds, examples, seed_sd):
    """Statistics x and y of a ratio of sums whose true value is 0.7: y is 5 to 15, x 0.7 y and noise."""
    y = np.broadcast_to(generator.uniform(5, 15, examples), (seeds, examples))
    slope = 0.7 + seed_sd * generator.standard_normal((seeds, 1))
    return np.stack([slope * y + generator.standard_normal((seeds, examples)) * 2, y], axis=-1)


def test_one_seed_of_a_ratio_of_sums_is_the_interval_of_the_delta_method():
    statistics = drawn(np.random.default_rng(1), 1, 1500, 0.0)
    x, y = statistics[0].T
    value = x.sum() / y.sum()
    half = 1.96 * np.sqrt(np.sum((x - value * y) ** 2)) / y.sum()
    found = mean_score(Outcomes(statistics, (0,), ratio), resamples=20_000)
    assert found.mean == pytest.approx(value)
    assert (found.low, found.high) == pytest.approx((value - half, value + half), abs=0.06 * half)


@pytest.mark.parametrize(("seeds", "seed_sd", "most"), [(1, 0.0, 0.97), (3, 0.0, 1.0), (3, 0.05, 0.98)])
@pytest.mark.parametrize("kind", ["numbers", "corpus"])
def test_coverage_of_other_scores(binomial_limits, kind, seeds, seed_sd, most):
    generator, count, hits = np.random.default_rng(20), 300, 0
    for trial in range(count):
        statistics = drawn(generator, seeds, EXAMPLES, seed_sd)
        if kind == "corpus":
            cell = Outcomes(statistics, tuple(range(seeds)), ratio)
        else:
            cell = Outcomes(statistics[..., 0] - statistics[..., 1] * 0.7 + 0.7)
            # Seeds' effects are 10 times as large here: y is 10 on average.
        found = mean_score(cell, resamples=500, generator_seed=trial)
        hits += found.low <= 0.7 <= found.high
    least, _ = binomial_limits(0.95, count)
    assert least <= hits / count <= binomial_limits(most, count)[1]


def test_many_examples_are_counted_a_part_at_a_time(monkeypatch):
    from analysis.statistics import bootstrap

    scores = np.random.default_rng(0).exponential(size=(2, 50))
    cells = (Outcomes(scores), Outcomes(np.stack([scores, 1 + scores], axis=-1), (0, 1), ratio))
    whole = [mean_score(cell, resamples=300) for cell in cells]
    monkeypatch.setattr(bootstrap, "MOST_COUNTS", 7 * 50)
    for cell, expected in zip(cells, whole, strict=True):
        found = mean_score(cell, resamples=300)
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
