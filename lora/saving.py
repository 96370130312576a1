"""The native adapter file: one safetensors file with the factors as trained, neither fused nor scaled.

    layers.{i}.{letter}.A     (r, d_in)   float32       layers counted from 0, letters q k v o gate up down
    layers.{i}.{letter}.B     (d_out, r)  float32
    layers.{i}.{letter}.A0    (r, d_in)   float32       A and B at the start, where dW is of B A - B0 A0
    layers.{i}.{letter}.B0    (d_out, r)  float32
    layers.{i}.{letter}.m     (d_out,)    float32       DoRA's magnitudes, where it has been trained with them
    extra.{parameter name}                as trained    task head and biases, by the base model's names
                                                        (a tied one by each of them)

and in its metadata `format`, `version` and `adapter`, a JSON object: architecture, targets, scaling (the
rule), bias, dropout, and for each projection "{i}.{letter}" its rank, alpha and scaling (the factor).
Nothing is unpickled.
"""

import copy
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import safetensors
import torch
from jaxtyping import Float
from torch import Tensor, nn

from lora.adapter import Adapter
from lora.adapting import (
    Model,
    adaptation,
    adapters,
    base_parameters,
    head_names,
    install,
    located,
    model_architecture,
    present_projection,
    tied_names,
    wrapped,
)
from lora.files import FORMAT, VERSION, safetensors_bytes, write_atomically
from lora.targets import LETTERS


class AdapterFileError(ValueError):
    """A file that is not a whole adapter, or not one for this model."""


@dataclass(frozen=True)
class Factors:
    """One projection's pair: dW = scaling * B A.

    `stored` is the dtype that A had before it was upcast, to whose rounding it is exact; None where it has
    not been.  `start` is (A0, B0) where dW = scaling * (B A - B0 A0), and `magnitude` (d_out,) DoRA's.
    """

    A: Float[Tensor, "r d_in"]
    B: Float[Tensor, "d_out r"]
    rank: int
    alpha: float
    scaling: float
    stored: torch.dtype | None = None
    start: tuple[Tensor, Tensor] | None = None
    magnitude: Tensor | None = None

    @property
    def tensors(self) -> dict[str, Tensor]:
        """By the names that they have in a file."""
        held = {"A": self.A, "B": self.B}
        if self.start is not None:
            held |= {"A0": self.start[0], "B0": self.start[1]}
        return held | ({} if self.magnitude is None else {"m": self.magnitude})


@dataclass(frozen=True)
class AdapterFile:
    """What an adapter file holds, on the CPU.

    Attributes:
        factors: by (layer from 0, letter), in order.
        extra: the other trained tensors, by parameter name.
        metadata: architecture, targets, scaling (the rule), bias, dropout.
    """

    factors: dict[tuple[int, str], Factors]
    extra: dict[str, Tensor]
    metadata: dict[str, Any]


def save(model: nn.Module, path: str | os.PathLike[str]) -> None:
    """Write the model's adapter, and whatever else is trained, to `path`, atomically.

    A merged model's factors are written as they are, so the file is the same.

    Raises:
        ValueError: the model is not adapted.
    """
    write(snapshot(model), path)


def load(model: Model, path: str | os.PathLike[str]) -> Model:
    """Give `model` the adapter in `path`, in place.

    A bare model is adapted as the file says; an adapted one must have the file's projections, ranks and
    shapes, and takes over its values (the scale among them).

    Raises:
        AdapterFileError: the file is not an adapter, or not one for this model; the model is then as it was.
        ValueError: the model is merged.
    """
    return restore(model, read(path), name=os.fspath(path))


def snapshot(model: nn.Module) -> AdapterFile:
    """What `save` would write, as copies: to keep the best step in memory.

    Raises:
        ValueError: the model is not adapted.
    """
    state = adaptation(model)
    factors = {
        key: Factors(
            A=_copy(adapter.lora_A.float()),
            B=_copy(adapter.lora_B.float()),
            rank=adapter.rank,
            alpha=adapter.alpha,
            scaling=adapter.scaling,
            start=_start(adapter),
            magnitude=None if adapter.magnitude is None else _copy(adapter.magnitude.float()),
        )
        for key, adapter in adapters(model).items()
    }
    trained = {
        parameter
        for name, parameter in base_parameters(model)
        if name in state.trained or parameter.requires_grad
    }
    extra = {
        name: _copy(parameter)
        for name, parameter in base_parameters(model, every_name=True)
        if parameter in trained
    }
    metadata = {
        "architecture": model_architecture(model).name,
        "targets": [letter for letter in LETTERS if any(letter == found for _, found in factors)],
        "scaling": state.scaling,
        "bias": state.bias,
        "dropout": state.dropout,
    }
    return AdapterFile(factors, extra, metadata)


def _start(adapter: Adapter) -> tuple[Tensor, Tensor] | None:
    if adapter.start_A is None or adapter.start_B is None:
        return None
    return _copy(adapter.start_A.float()), _copy(adapter.start_B.float())


def write(file: AdapterFile, path: str | os.PathLike[str]) -> None:
    """Write an adapter file, atomically."""
    tensors = {f"extra.{name}": tensor for name, tensor in file.extra.items()}
    projections = {}
    for (layer, letter), pair in file.factors.items():
        tensors |= {f"layers.{layer}.{letter}.{name}": tensor for name, tensor in pair.tensors.items()}
        projections[f"{layer}.{letter}"] = {"rank": pair.rank, "alpha": pair.alpha, "scaling": pair.scaling}
    adapter = json.dumps({**file.metadata, "projections": projections})
    metadata = {"format": FORMAT, "version": VERSION, "adapter": adapter}
    write_atomically(path, safetensors_bytes(tensors, metadata))


def read(path: str | os.PathLike[str]) -> AdapterFile:
    """Read an adapter file, without any model.

    Raises:
        AdapterFileError: it is missing, truncated, no safetensors file, or no adapter of this format.
    """
    path = os.fspath(path)
    if not os.path.isfile(path):
        raise AdapterFileError(f"{path}: no such file")
    try:
        with safetensors.safe_open(path, framework="pt") as opened:
            metadata = opened.metadata() or {}
            tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118 (not a dict)
    except (safetensors.SafetensorError, OSError) as error:
        raise AdapterFileError(f"{path}: not a safetensors file, or not a whole one ({error})") from None
    if metadata.get("format") != FORMAT:
        from_peft = any(".lora_A" in key for key in tensors)
        hint = "; lora.import_peft reads the folder of a PEFT adapter" if from_peft else ""
        raise AdapterFileError(f"{path}: a safetensors file, but not one written by lora.save{hint}")
    if metadata.get("version") != VERSION:
        raise AdapterFileError(
            f"{path}: adapter format version {metadata.get('version')!r}; this code reads version {VERSION!r}"
        )
    try:
        return _parse(metadata["adapter"], tensors)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise AdapterFileError(
            f"{path}: the metadata and the tensors of this adapter disagree ({error})"
        ) from None


def restore(model: Model, file: AdapterFile, *, name: str = "adapter", partial: bool = False) -> Model:
    """Give `model` the values of `file`, as `load` does.

    Args:
        name: stands in errors for where the values come from.
        partial: a task head or biases that are trained in this model and not in `file` stay as they are, and
            a parameter that is tied in this model and not in `file` is untied, with all that
            `config.tie_word_embeddings` ties; else either is an error.
    """
    state = getattr(model, "lora_adaptation", None)
    if state is not None and state.merged is not None:
        raise ValueError(f"{name}: the model is merged; call lora.unmerge(model) first, or lora.switch")
    check_fits(model, file, name, partial)
    return put(model, file)


def put(model: Model, file: AdapterFile) -> Model:
    """As `restore`, of what fits."""
    if getattr(model, "lora_adaptation", None) is None:
        pairs = {
            key: Adapter(
                f.A.clone(), f.B.clone(), f.alpha, f.scaling, start=f.start, magnitude=_cloned(f.magnitude)
            )
            for key, f in file.factors.items()
        }
        told = file.metadata
        install(model, pairs, scaling=told["scaling"], bias=told["bias"], dropout=told["dropout"])
    state = adaptation(model)
    if tied := _tied_here_alone(model, file.extra):
        _untie(model, [extra for names in tied for extra in names if extra in file.extra])
    found = adapters(model)
    parameters = dict(base_parameters(model, every_name=True))
    with torch.no_grad():
        for key, pair in file.factors.items():
            found[key].take(pair.A, pair.B, pair.start, pair.magnitude)
            found[key].alpha, found[key].scaling = pair.alpha, pair.scaling
        for extra, tensor in file.extra.items():
            parameters[extra].copy_(tensor)
            parameters[extra].requires_grad_(True)
    state.scaling = file.metadata["scaling"]
    first_names = [extra for extra, _ in base_parameters(model) if extra in file.extra]
    state.trained = tuple(dict.fromkeys((*state.trained, *first_names)))
    return model


def _tied_here_alone(model: nn.Module, extra: Mapping[str, Tensor]) -> list[list[str]]:
    """The names of each parameter that is tied in the model and of which `extra` has not one value."""
    found = []
    for names in tied_names(model):
        values = [extra[name] for name in names if name in extra]
        equal = all(torch.equal(value, values[0]) for value in values)
        if values and not (equal and len(values) == len(names)):
            found.append(names)
    return found


def _untie(model: nn.Module, apart: Iterable[str]) -> None:
    """Give each name of `apart` a parameter of its own, and all that `config.tie_word_embeddings` ties.

    The setting is unset, else transformers would tie the weights again whenever it saves, loads or resizes.
    """
    state, modules = adaptation(model), wrapped(model)
    parameters = dict(base_parameters(model, every_name=True))
    apart = {*apart, *getattr(model, "all_tied_weights_keys", {})} & parameters.keys()
    thawed = [name for names in tied_names(model) if names[0] in state.thawed for name in names]
    state.thawed = tuple(dict.fromkeys((*state.thawed, *thawed)))
    for name in apart:
        owner, _, leaf = name.rpartition(".")
        module = modules[owner].base if owner in modules else model.get_submodule(owner)
        shared = parameters[name]
        setattr(module, leaf, nn.Parameter(shared.detach().clone(), requires_grad=shared.requires_grad))
    config: Any = getattr(model, "config", None)
    if getattr(config, "tie_word_embeddings", False):
        config = copy.deepcopy(config)  # other models may have the same one
        config.tie_word_embeddings = False
        model.config = config


def _cloned(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.clone()


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", copy=True).contiguous()


def _parse(adapter: str, tensors: Mapping[str, Tensor]) -> AdapterFile:
    metadata = json.loads(adapter)
    projections = metadata.pop("projections")
    factors: dict[tuple[int, str], Factors] = {}
    for key, numbers in projections.items():
        layer, _, letter = key.partition(".")
        A, B = tensors[f"layers.{key}.A"], tensors[f"layers.{key}.B"]
        rank = numbers["rank"]
        if letter not in LETTERS or A.ndim != 2 or B.ndim != 2 or not A.shape[0] == B.shape[1] == rank:
            raise ValueError(f"{key}: rank {rank}, A {tuple(A.shape)}, B {tuple(B.shape)}")
        started = f"layers.{key}.A0" in tensors
        start = (tensors[f"layers.{key}.A0"], tensors[f"layers.{key}.B0"]) if started else None
        magnitude = tensors.get(f"layers.{key}.m")
        if (start and (start[0].shape, start[1].shape) != (A.shape, B.shape)) or (
            magnitude is not None and magnitude.shape != B.shape[:1]
        ):
            raise ValueError(f"{key}: A0, B0 or m is of another shape than A and B")
        factors[int(layer), letter] = Factors(
            A, B, rank, float(numbers["alpha"]), float(numbers["scaling"]), start=start, magnitude=magnitude
        )
    extra = {
        key.removeprefix("extra."): tensor for key, tensor in tensors.items() if key.startswith("extra.")
    }
    if len(tensors) != sum(len(pair.tensors) for pair in factors.values()) + len(extra):
        raise ValueError("there are tensors that no projection names")
    missing = {"architecture", "targets", "scaling", "bias", "dropout"} - metadata.keys()
    if missing:
        raise ValueError(f"no {sorted(missing)[0]} is given")
    order = sorted(factors, key=lambda key: (key[0], LETTERS.index(key[1])))
    return AdapterFile({key: factors[key] for key in order}, extra, metadata)


def check_fits(
    model: nn.Module, file: AdapterFile, name: str, partial: bool = False, ranks: bool = True
) -> None:
    """Raise AdapterFileError where `restore` could not give the values of `file` to `model`.

    Args:
        name, partial: as of `restore`.
        ranks: an adapted model must have the file's projections and ranks.
    """
    at = located(model)
    trained_on, architecture = file.metadata["architecture"], at[0].name
    if trained_on != architecture:
        raise AdapterFileError(f"{name}: an adapter of a {trained_on} model; this is a {architecture} model")
    for (layer, letter), pair in file.factors.items():
        try:
            expected = tuple(present_projection(model, layer, letter, at).shape)
        except ValueError as error:
            raise AdapterFileError(f"{name}: {error}") from None
        given = (pair.B.shape[0], pair.A.shape[1])
        if given != expected:
            raise AdapterFileError(
                f"{name}: W_{letter} of layer {layer} is {given} in the file and {expected} in this model"
            )
    state = getattr(model, "lora_adaptation", None)
    if state is not None and ranks:
        found = {key: adapter.rank for key, adapter in adapters(model).items()}
        held = {key: pair.rank for key, pair in file.factors.items()}
        for layer, letter in sorted(found.keys() | held.keys()):
            here, there = found.get((layer, letter)), held.get((layer, letter))
            if here != there:
                raise AdapterFileError(
                    f"{name}: W_{letter} of layer {layer} has rank {there or 'none'} in the file, "
                    f"{here or 'none'} in this model; lora.switch takes the file's in its place"
                )
    shapes = {parameter: tuple(value.shape) for parameter, value in base_parameters(model, every_name=True)}
    for extra, tensor in file.extra.items():
        if shapes.get(extra) != tuple(tensor.shape):
            ours = f"it as {shapes[extra]}" if extra in shapes else "no such parameter"
            raise AdapterFileError(f"{name}: {extra} is {tuple(tensor.shape)}; this model has {ours}")
    if not partial and (tied := _tied_here_alone(model, file.extra)):
        raise AdapterFileError(
            f"{name}: {' and '.join(tied[0])} are one parameter in this model and not in the file; "
            "give each a copy first (torch.nn.Parameter(weight.detach().clone()))"
        )
    for trained in head_names(model) if state is None else state.trained:
        if trained not in file.extra and not partial:
            raise AdapterFileError(f"{name}: holds no {trained}, which is trained in this model")
