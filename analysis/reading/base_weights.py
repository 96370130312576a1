"""W0, the weights before adaptation, one matrix at a time from a checkpoint's safetensors or .bin files.

No model is built: of a 70B base, one projection needs that projection's memory, and of a sharded checkpoint
on the hub only the shards that hold it are downloaded.  A .bin file is mapped into memory and read as tensors
alone: nothing in it is run.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from analysis.errors import AnalysisError
from analysis.reading.checkpoint import Checkpoint
from analysis.reading.files import open_tensors, read_json
from experiments.identity import (
    ADAPTER_CONFIG,
    INDEX_SUFFIX,
    PICKLED,
    SAFETENSORS,
    content_identity,
    weights_sha256,
)
from lora.architectures import Architecture, architecture_of

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

WEIGHTS = (SAFETENSORS, f"{SAFETENSORS}{INDEX_SUFFIX}", PICKLED, f"{PICKLED}{INDEX_SUFFIX}")
"""Where a checkpoint's weights may be, in the order in which training looks for them."""


@dataclass(frozen=True, eq=False)
class BaseWeights:
    """The projections of a checkpoint.

    Attributes:
        checkpoint: where the files are.
        architecture: the entry of `lora.architectures` for them.
        layers: number of layers.
    """

    checkpoint: Checkpoint
    architecture: Architecture
    layers: int
    _prefix: str = field(repr=False)
    _files: Mapping[str, str] = field(repr=False)  # parameter name -> file name

    @classmethod
    def open(cls, source: str | Path, revision: str | None = None) -> BaseWeights:
        """Read config.json and the names of the weights; no weight is read yet.

        Args:
            source: the folder of a Hugging Face checkpoint, a hub id (local cache first), or "embedded", this
                repository's model.
            revision: the hub's branch, tag or commit; None is main.

        Raises:
            AnalysisError: the checkpoint cannot be found, holds no weights, is of an architecture that
                `lora.architectures` does not know, is quantised, or holds adapted weights: those are not W0.
        """
        checkpoint = Checkpoint.find(source, revision)
        config = checkpoint.config
        try:
            architecture_of(config)
        except ValueError as error:
            raise AnalysisError(f"{source}: {error}") from None
        if (checkpoint.folder / ADAPTER_CONFIG).is_file():
            raise AnalysisError(
                f"{source}: holds {ADAPTER_CONFIG}, an adapter beside the weights, which may be merged into "
                "them; W must be W0: give the base model's own folder or hub id"
            )
        if getattr(config, "quantization_config", None):
            raise AnalysisError(
                f"{source}: the weights are quantised; give the checkpoint they were made from"
            )
        files = _files(checkpoint)
        _check_plain(str(source), files)
        try:
            architecture = architecture_of(config, files)
            layers = architecture.layer_count(config)
            return cls(checkpoint, architecture, layers, architecture.prefix(files), files)
        except (AttributeError, ValueError) as error:
            raise AnalysisError(f"{source}: {error}") from None

    def projection(self, layer: int, letter: str) -> Float[Tensor, "d_out d_in"]:
        """W0 of one projection, output rows first, as a contiguous float32 copy on the CPU.

        Only this matrix is read; of a fused weight, this projection's rows.

        Args:
            layer: from 0.
            letter: one of q k v o gate up down.

        Raises:
            AnalysisError: there is no such projection, its file is damaged, or it is not floating point.
        """
        import torch

        name, rows = self._locate(layer, letter)
        place = self.architecture.places[letter]
        with self._opened(name) as opened:
            if isinstance(rows, slice):
                part = opened.get_slice(name)
                stored = part[:, rows] if place.transposed else part[rows]
                W = stored.T if place.transposed else stored
            else:
                W = place.take(opened.get_tensor(name), self._config)
        if not W.is_floating_point():
            raise AnalysisError(f"{self.checkpoint.source}: {name} is {W.dtype}; W must be floating point")
        return W.to(torch.float32, copy=True, memory_format=torch.contiguous_format)

    def shape(self, layer: int, letter: str) -> tuple[int, int]:
        """(d_out, d_in) of one projection, from the header of its file.

        Raises:
            AnalysisError: there is no such projection, or its file is damaged.
        """
        name, rows = self._locate(layer, letter)
        with self._opened(name) as opened:
            first, second = opened.get_slice(name).get_shape()
        d_out, d_in = (second, first) if self.architecture.places[letter].transposed else (first, second)
        return (len(range(d_out)[rows]) if isinstance(rows, slice) else len(rows)), d_in

    @property
    def names(self) -> tuple[str, ...]:
        """Of all parameters in the files."""
        return tuple(self._files)

    def parameter(self, name: str) -> Tensor:
        """One parameter as it is stored.

        Raises:
            AnalysisError: its file is damaged or missing.
        """
        with self._opened(name) as opened:
            found: Tensor = opened.get_tensor(name)
            return found

    def module_weight(self, module: str) -> Tensor | None:
        """The weight of a module that has no letter, as a float32 copy; None where no one has that name.

        The beginnings of names differ from library to library: one may be the end of the other.

        Raises:
            AnalysisError: its file is damaged or missing, or it is not floating point.
        """
        import torch

        wanted = f"{module}.weight"
        found = [
            name
            for name in self._files
            if name == wanted or name.endswith(f".{wanted}") or wanted.endswith(f".{name}")
        ]
        if len(found) != 1:
            return None
        W = self.parameter(found[0])
        if not W.is_floating_point():
            raise AnalysisError(
                f"{self.checkpoint.source}: {found[0]} is {W.dtype}; W must be floating point"
            )
        return W.to(torch.float32, copy=True)

    def parameter_of(self, layer: int, letter: str) -> str:
        """The name of the parameter that holds a projection.

        Raises:
            AnalysisError: there is no such projection.
        """
        return self._locate(layer, letter)[0]

    def sha256(self) -> str | None:
        """What run.json calls this base by: the sha256 of its weights' file, or one over those of its shards.

        A model from the hub has None: its revision tells.
        """
        if self.checkpoint.revision is not None:
            return None
        return weights_sha256(self.checkpoint.folder.resolve())

    def has_sha256(self, recorded: str) -> bool:
        """Whether run.json calls this base by `recorded`; before, shards had 16 digits over their folder."""
        if self.checkpoint.revision is None and len(recorded) == 16:
            return content_identity(self.checkpoint.folder.resolve()) == recorded
        return self.sha256() == recorded

    @property
    def _config(self) -> SimpleNamespace:
        return self.checkpoint.config

    def _locate(self, layer: int, letter: str) -> tuple[str, Any]:
        """The parameter that holds a projection, and which of its outputs are the projection's."""
        source = self.checkpoint.source
        try:
            name = f"{self.architecture.module(self._prefix, layer, letter, self._config)}.weight"
            rows = self.architecture.places[letter].rows(self._config)
        except (AttributeError, ValueError) as error:
            raise AnalysisError(f"{source}: {error}") from None
        if name not in self._files:
            raise AnalysisError(f"{source}: the checkpoint holds no {name}; it is not whole")
        return name, rows

    def _opened(self, name: str) -> Any:
        """The file that holds a parameter, for `with`."""
        path = self.checkpoint.file(self._files[name])
        if path is None:
            raise AnalysisError(f"{self.checkpoint.source}: {self._files[name]} is missing; it holds {name}")
        return open_tensors(path)


def _files(checkpoint: Checkpoint) -> dict[str, str]:
    """Which file holds each parameter."""
    path = checkpoint.file(*WEIGHTS)
    if path is None:
        raise AnalysisError(
            f"{checkpoint.source}: holds no weights: none of {', '.join(WEIGHTS)} is there; give a whole "
            "checkpoint, as save_pretrained writes it"
        )
    if not path.name.endswith(INDEX_SUFFIX):
        with open_tensors(path, "np") as opened:
            return dict.fromkeys(opened.keys(), path.name)
    files = read_json(path).get("weight_map")
    if not isinstance(files, dict):
        raise AnalysisError(f"{path}: has no weight_map; it is no index of a sharded checkpoint")
    return files


def _check_plain(source: str, names: Iterable[str]) -> None:
    for name in names:
        if re.search(r"(^|\.)(lora_\w+|base_layer)\b", name):
            raise AnalysisError(
                f"{source}: holds {name}, so it was saved from an adapted model; W must be W0: give the base "
                "model's own folder or hub id"
            )
