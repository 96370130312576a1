"""Near-equal singular values."""

import pytest
import torch

from analysis.gaps import GAP_THRESHOLD, arbitrary_directions, arbitrary_tops, relative_gaps


def test_a_gap_marks_the_top_that_ends_there_and_the_directions_on_both_sides():
    values = torch.tensor([4.0, 3.0, 3.0 * (1 - GAP_THRESHOLD / 2), 1.0, 1.0])
    assert relative_gaps(values).tolist() == pytest.approx([1 / 4, GAP_THRESHOLD / 2, 0.66499, 0], abs=1e-5)
    assert arbitrary_tops(values).tolist() == [False, True, False, True, False]
    assert arbitrary_directions(values).tolist() == [False, True, True, True, True]
    assert arbitrary_tops(values, threshold=0.3).tolist() == [True, True, False, True, False]


@pytest.mark.parametrize("values", [[2.0, 1.0, 0.0, 0.0], [torch.nan] * 3, [1.0]])
def test_what_is_not_there_is_close_to_nothing(values):
    for marks in (arbitrary_tops, arbitrary_directions):
        assert marks(torch.tensor(values)).tolist() == [False] * len(values)
