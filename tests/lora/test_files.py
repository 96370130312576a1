import os

import pytest
import safetensors
import torch

from lora.files import open_tensors, safetensors_bytes, write_atomically


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


@pytest.mark.parametrize("nested", [None, "state_dict", "model"])
@pytest.mark.parametrize("zipped", [True, False])
def test_pickled_tensors_are_read_like_safetensors(tmp_path, nested, zipped):
    tensors = {"a": torch.arange(6.0).view(2, 3)}
    content = tensors if nested is None else {nested: tensors, "step": 3}
    torch.save(content, tmp_path / "file.pt", _use_new_zipfile_serialization=zipped)
    with open_tensors(tmp_path / "file.pt") as opened:
        assert opened.keys() == ["a"]
        assert opened.metadata() == {}
        assert opened.get_slice("a").get_shape() == [2, 3]
        assert torch.equal(opened.get_slice("a")[1:], tensors["a"][1:])
        assert torch.equal(opened.get_tensor("a"), tensors["a"])


def test_pickled_parameters_are_plain_tensors(tmp_path):
    torch.save({"a": torch.nn.Parameter(torch.ones(2))}, tmp_path / "file.pt")
    with open_tensors(tmp_path / "file.pt") as opened:
        assert opened.get_tensor("a").numpy().tolist() == [1, 1]


class Harmful:
    def __reduce__(self):
        return (print, ("this must not be printed",))


def test_what_is_no_file_of_tensors_is_one_line(tmp_path, capsys):
    torch.save({"a": Harmful()}, tmp_path / "harmful.bin")
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save({"a": torch.ones(2, 2).to_sparse()}, tmp_path / "sparse.pt")
    torch.save({"a": torch.ones(2, 2, device="meta")}, tmp_path / "meta.pt")
    torch.save({"a": torch.ones(2), "step": 5}, tmp_path / "mixed.pt")
    (tmp_path / "empty.pt").write_bytes(b"")
    (tmp_path / "noise.bin").write_bytes(bytes(range(1, 256)) * 9)
    (tmp_path / "text.safetensors").write_text("text")
    for name, message in (
        ("harmful.bin", "not a file of tensors alone"),
        ("list.pth", "holds no tensors by name"),
        ("sparse.pt", "a is a tensor of layout torch.sparse_coo"),
        ("meta.pt", "a is a tensor without its numbers"),
        ("text.safetensors", "not a safetensors file, or not a whole one"),
        ("nowhere.bin", "no such file"),
        ("empty.pt", r"not a whole one \(it is empty\); save"),
        ("noise.bin", r"not a whole one \(torch cannot read it as a pickle\); save"),
        ("mixed.pt", "holds 'step' of type int beside its tensors; save the state dict alone"),
        ("", "is a folder"),
    ):
        with pytest.raises(ValueError, match=message) as error:
            open_tensors(tmp_path / name)
        assert "\n" not in str(error.value)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", ["a.safetensors", "a.pt"])
def test_a_file_that_may_not_be_read_is_no_missing_one(tmp_path, name, monkeypatch):
    path = tmp_path / name
    path.write_bytes(b"x")

    def refuse(self, *_args, **_options):
        raise PermissionError(13, "Permission denied", str(self))

    def missing(*_args, **_options):
        raise FileNotFoundError(2, "No such file or directory")  # as safetensors says it

    monkeypatch.setattr(type(path), "open", refuse)
    monkeypatch.setattr("safetensors.safe_open", missing)
    with pytest.raises(ValueError, match=rf"{name} cannot be read: Permission denied$"):
        open_tensors(path)
