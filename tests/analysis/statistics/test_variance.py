"""Variance components of a crossed table, against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from analysis.statistics import components


@given(hnp.arrays(int, st.tuples(st.integers(2, 6), st.integers(2, 12)), elements=st.integers(-1, 1)))
def test_mean_squares(table):
    n, m = table.shape
    rows, columns, mean = table.mean(axis=1), table.mean(axis=0), table.mean()
    rest = table - rows[:, None] - columns + mean
    found = components(table)
    assert found.between_seeds == pytest.approx(m * rows.var(ddof=1), abs=1e-9)
    assert found.between_examples == pytest.approx(n * columns.var(ddof=1), abs=1e-9)
    assert found.residual == pytest.approx(np.sum(rest**2) / ((n - 1) * (m - 1)), abs=1e-9)
    seeds, examples = found.between_seeds - found.residual, found.between_examples - found.residual
    assert found.seed_variance == pytest.approx(max(0.0, seeds / m), abs=1e-12)
    assert found.example_variance == pytest.approx(max(0.0, examples / n), abs=1e-12)


def test_components_are_unbiased():
    """Planted variances of 0.04 (seeds), 0.5 (examples) and 1 (the rest), found on average."""
    generator = np.random.default_rng(1)
    found = []
    for _ in range(400):
        seeds = 0.2 * generator.standard_normal((5, 1))
        examples = np.sqrt(0.5) * generator.standard_normal((1, 200))
        found.append(components(seeds + examples + generator.standard_normal((5, 200))))
    assert np.mean([(f.between_seeds - f.residual) / 200 for f in found]) == pytest.approx(0.04, rel=0.15)
    assert np.mean([f.example_variance for f in found]) == pytest.approx(0.5, rel=0.03)
    assert np.mean([f.residual for f in found]) == pytest.approx(1, rel=0.01)


def test_an_additive_table_leaves_nothing():
    found = components(np.array([[0, 1, 2], [3, 4, 5]]))
    assert found.residual == pytest.approx(0, abs=1e-12)
    assert found.seed_variance == pytest.approx(4.5)
    assert found.example_variance == pytest.approx(1)


def test_one_seed_leaves_its_variance_unknown():
    found = components(np.array([[0, 1, 1]]))
    assert np.isnan(found.seed_variance)
    assert np.isnan(found.residual)
    assert found.between_examples == pytest.approx(1 / 3)
