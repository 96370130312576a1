import os

import pytest
import safetensors
import torch

from lora.files import safetensors_bytes, write_atomically


def test_equal_content_gives_equal_bytes_that_safetensors_reads(tmp_path):
    tensors = {"b": torch.arange(6.0).view(2, 3), "a": torch.ones(1, dtype=torch.bfloat16)}
    metadata = {str(number): "ü" * number for number in range(9)}
    files = {safetensors_bytes(tensors, metadata) for _ in range(20)}
    assert len(files) == 1
    (tmp_path / "file").write_bytes(files.pop())
    with safetensors.safe_open(tmp_path / "file", framework="pt") as opened:
        assert opened.metadata() == metadata
        assert set(opened.keys()) == set(tensors)
        for key, tensor in tensors.items():
            assert torch.equal(opened.get_tensor(key), tensor)
            assert opened.get_tensor(key).dtype == tensor.dtype


def test_writes_and_replaces(tmp_path):
    path = tmp_path / "new" / "file"
    write_atomically(path, b"one")
    write_atomically(path, b"two")
    assert path.read_bytes() == b"two"
    assert os.listdir(path.parent) == ["file"]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def full(descriptor):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]
