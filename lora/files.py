"""Files of tensors: read as tensors alone; whole or not at all, with equal bytes when written twice."""

from __future__ import annotations

import functools
import json
import os
import re
import secrets
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

FORMAT, VERSION = "lora-adapter", "1"
"""What the metadata of an adapter file (`lora.save`) say that it is."""


def safetensors_bytes(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """A safetensors file of contiguous CPU tensors, its metadata sorted.

    The library writes metadata in an order that changes from call to call, and two equal runs should leave
    equal files.
    """
    import safetensors.torch

    data = safetensors.torch.save(dict(tensors), metadata=dict(metadata))
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    header["__metadata__"] = dict(sorted(metadata.items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors start at a multiple of 8 bytes
    return len(text).to_bytes(8, "little") + text + data[end:]


def write_atomically(path: str | os.PathLike[str], data: bytes) -> None:
    """Replace `path` by a file of `data`; its folder is made if it is not there."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


PICKLES = (".bin", ".pt", ".pth", ".ckpt")


def open_tensors(path: str | os.PathLike[str], framework: str = "pt") -> Any:
    """An open file of tensors by name, with the interface of safetensors; nothing in it is ever run.

    Args:
        path: a safetensors file; or, with an ending of `PICKLES`, what torch.save wrote.
        framework: "np" imports no torch for a safetensors file, whose header is then all that is read.

    Raises:
        ValueError: it is missing, truncated, of another kind, or holds more than tensors by name.
    """
    import safetensors

    path = Path(path)
    try:
        stat = path.stat()
        if path.is_dir():
            raise ValueError(f"{path}: is a folder; a file of tensors is expected")
        if path.suffix in PICKLES:
            return _Pickle(_unpickled(path, stat.st_mtime_ns, stat.st_size))
        return safetensors.safe_open(path, framework=framework)
    except FileNotFoundError:
        if path.exists():  # safetensors says so of any file that it cannot open
            raise ValueError(f"{path} cannot be read: {_refusal(path)}") from None
        raise ValueError(f"{path}: no such file") from None
    except PermissionError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    except (safetensors.SafetensorError, OSError) as error:
        raise ValueError(f"{path}: not a safetensors file, or not a whole one ({error})") from None


def _refusal(path: Path) -> str:
    """Why the system does not open a file that is there."""
    try:
        path.open("rb").close()
    except OSError as error:
        return error.strerror or str(error)
    return "it was there a moment later; try again"


class _Pickle:
    """What torch.save wrote, under the interface of an open safetensors file."""

    def __init__(self, tensors: Mapping[str, Tensor]):
        self._tensors = tensors

    def __enter__(self) -> _Pickle:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def keys(self) -> list[str]:
        return [*self._tensors]

    def metadata(self) -> dict[str, str]:
        return {}

    def get_tensor(self, name: str) -> Tensor:
        return self._tensors[name]

    def get_slice(self, name: str) -> _PickledSlice:
        return _PickledSlice(self._tensors[name])


@dataclass(frozen=True)
class _PickledSlice:
    """A tensor as safetensors' slices are asked for theirs."""

    tensor: Tensor

    def get_shape(self) -> list[int]:
        return [*self.tensor.shape]

    def __getitem__(self, rows: Any) -> Tensor:
        return self.tensor[rows]


@functools.lru_cache(maxsize=2)
def _unpickled(path: Path, modified: int, size: int) -> dict[str, Tensor]:
    """The tensors by name, mapped where the file is of torch's zip format, read where it is an older one.

    A training framework's file has them beside its step and its optimizer's state, under one of three names.
    """
    import torch

    try:
        with path.open("rb") as file:
            mapped = file.read(2) == b"PK"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's of what it then refuses
            tensors = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except PermissionError:
        raise
    except Exception as error:  # of torch, pickle and zipfile: a dozen unrelated kinds
        asked = re.search(r"GLOBAL (\S+)", str(error))
        kind = "a zip archive" if mapped else "a pickle"
        reason = f"it asks for {asked[1]}" if asked else f"torch cannot read it as {kind}"
        if not size:
            reason = "it is empty"
        raise ValueError(
            f"{path}: not a file of tensors alone, or not a whole one ({reason}); save the model as "
            "safetensors, with save_pretrained"
        ) from None
    if isinstance(tensors, dict):
        inner = (tensors.get(name) for name in ("state_dict", "model", "model_state_dict"))
        tensors = next((held for held in inner if isinstance(held, dict)), tensors)
    if not isinstance(tensors, dict) or not any(isinstance(held, torch.Tensor) for held in tensors.values()):
        raise ValueError(
            f"{path}: holds no tensors by name; give a state dict or what save_pretrained writes"
        )
    for name, held in tensors.items():
        if not isinstance(name, str) or not isinstance(held, torch.Tensor):
            raise ValueError(
                f"{path}: holds {name!r} of type {type(held).__name__} beside its tensors; save the state "
                "dict alone"
            )
    for name, tensor in tensors.items():
        if tensor.layout is not torch.strided or tensor.is_meta:
            kind = "without its numbers (device meta)" if tensor.is_meta else f"of layout {tensor.layout}"
            raise ValueError(f"{path}: {name} is a tensor {kind}; save dense tensors of the CPU")
    return {name: tensor.detach() for name, tensor in tensors.items()}  # parameters as plain tensors
