import warnings

import numpy as np
import pytest
import torch

from analysis.errors import AnalysisError
from analysis.geometry import arrays


@pytest.mark.parametrize(
    "given",
    [
        torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.bfloat16),
        torch.tensor([[1, 2], [3, 4]]),
        np.array([[1, 2], [3, 4]], dtype=np.float16),
        np.array([[1, 2], [3, 4]], dtype=">f8"),
        np.array([[3.0, 4.0], [1.0, 2.0]])[::-1],
        [[1, 2], [3.0, 4]],
    ],
)
def test_every_kind_of_matrix_becomes_the_same_float64_tensor(given):
    assert torch.equal(arrays.matrix(given, "W"), torch.tensor([[1.0, 2], [3, 4]], dtype=torch.float64))


def test_a_parameter_is_read_without_its_gradient():
    assert not arrays.matrix(torch.nn.Parameter(torch.ones(2, 2)), "A").requires_grad


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (torch.ones(3), r"A: has shape \(3,\)"),
        (np.ones((2, 2, 2)), r"A: has shape \(2, 2, 2\)"),
        (torch.ones(0, 4), r"A: has shape \(0, 4\)"),
        ([[1.0, float("nan")]], "A: has entries that are NaN or infinite"),
        (torch.full((1, 2), torch.inf), "A: has entries that are NaN or infinite"),
        ([[1.0], [1.0, 2.0]], "A: a list is no array of real numbers"),
        ([["a"]], "A: a list is no array of real numbers"),
        (torch.ones(2, 2, dtype=torch.complex64), "A: is complex"),
        (None, "A: "),
    ],
)
def test_what_is_no_finite_matrix_is_refused_by_name(given, message):
    with pytest.raises(AnalysisError, match=message):
        arrays.matrix(given, "A")


def test_nan_passes_where_it_is_asked_for():
    assert arrays.matrix([[torch.nan]], "grid", finite=False).isnan().all()
    assert arrays.vector(np.array([1.0, np.nan]), "S").isnan().tolist() == [False, True]


def test_a_weight_is_neither_copied_nor_converted(tmp_path):
    tensor = torch.ones(2, 3, dtype=torch.float32)
    assert arrays.weight(tensor, "W").data_ptr() == tensor.data_ptr()
    np.save(tmp_path / "W.npy", np.ones((2, 3), dtype=np.float32))
    mapped = np.load(tmp_path / "W.npy", mmap_mode="r")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert arrays.weight(mapped, "W").dtype == torch.float32


def test_row_blocks_cover_every_row_once_and_stay_small(monkeypatch):
    monkeypatch.setattr(arrays, "BLOCK_ELEMENTS", 15)
    W = torch.arange(28.0).reshape(7, 4)
    seen = list(arrays.row_blocks(W))
    assert [len(block) for _, block in seen] == [3, 3, 1]
    assert torch.equal(torch.cat([block for _, block in seen]), W.double())
    assert torch.equal(torch.cat([W[rows] for rows, _ in seen]), W)


def test_row_blocks_find_what_is_not_finite(monkeypatch):
    monkeypatch.setattr(arrays, "BLOCK_ELEMENTS", 4)
    W = torch.ones(5, 4)
    W[4, 2] = torch.nan
    with pytest.raises(AnalysisError, match="W: has entries that are NaN"):
        list(arrays.row_blocks(W))


def test_numpy_comes_back_where_numpy_went_in():
    result = torch.ones(2, dtype=torch.float64)
    assert isinstance(arrays.like(np.ones(1), result), np.ndarray)
    assert arrays.like(torch.ones(1), result) is result
