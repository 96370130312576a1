"""Factors and updates from wherever they are: this project's files, a PEFT folder, or arrays in memory.

All are read-only mappings (layer from 0, letter) -> what is stored there. Opening one reads names and shapes;
a projection is read when it is asked for and not kept, so that a file may be larger than memory.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.errors import AnalysisError
from analysis.reading.base_weights import BaseWeights
from analysis.reading.checkpoint import ADAPTER_CONFIG, Checkpoint
from analysis.reading.files import is_file, is_folder, open_safetensors, unreadable
from analysis.reading.projections import Key, Projections
from lora.architectures import Architecture, architecture_of
from lora.files import FORMAT, VERSION
from lora.targets import LETTERS

if TYPE_CHECKING:
    from torch import Tensor

    from lora.saving import Factors

DELTA_FORMAT = "lora-delta"
_KEY = re.compile(rf"layers\.(\d+)\.({'|'.join(LETTERS)})")


class AdapterFactors(Projections["Factors"]):
    """An adapter: (layer, letter) -> `lora.Factors`, with dW = scaling * B A.

    Attributes:
        architecture: the model type that it is of, or None where only arrays were given.
        ranks: r of each projection.
        left_out: modules of a PEFT adapter that hold none of q k v o gate up down (a task head).
    """

    def __init__(
        self,
        source: str,
        shapes: Mapping[Key, tuple[int, int]],
        ranks: Mapping[Key, int],
        read: Callable[[Key], Factors],
        architecture: str | None = None,
        left_out: Sequence[str] = (),
    ) -> None:
        super().__init__(source, shapes, read)
        self.ranks = {key: ranks[key] for key in self}
        self.architecture = architecture
        self.left_out = tuple(left_out)


def read_adapter(
    source: str | Path | Mapping[Any, Any], base: BaseWeights | str | Path | None = None
) -> AdapterFactors:
    """An adapter from elsewhere or from a run, one projection at a time.

    Args:
        source: a file of `lora.save`; the folder of a PEFT LoRA adapter; or a dictionary with keys
            (layer, letter) or "layers.{layer}.{letter}" and values (A, B) or (A, B, scaling), where A (r,
            d_in) and B (d_out, r) are tensors, arrays or lists, and scaling is 1 if not given. They stay as
            they are until asked for, in float64 then.
        base: the model that it belongs to. A PEFT adapter needs it, for its architecture; if not given, that
            is the adapter's own base_model_name_or_path, of which config.json alone is read. With a
            `BaseWeights` every shape is compared with its W.

    Raises:
        AnalysisError: what is given is not a whole adapter, not of the base, or uses a feature of PEFT that
            is not plain LoRA.
    """
    if isinstance(source, Mapping):
        adapter = _from_arrays(source, base)
    elif is_folder(Path(source)):
        adapter = _from_peft(Path(source), base)
    else:
        adapter = _from_file(Path(source))
    if isinstance(base, BaseWeights):
        _check_base(adapter, base)
    return adapter


def read_deltas(path: str | Path) -> Projections[Tensor]:
    """dW of full fine-tuning or DoRA, (d_out, d_in) in float32 as it was stored, one projection at a time.

    Raises:
        AnalysisError: the file is missing, truncated, or not one of full fine-tuning.
    """
    path = Path(path)
    with open_safetensors(path, framework="np") as opened:
        found = (opened.metadata() or {}).get("format")
        if found != DELTA_FORMAT:
            raise AnalysisError(
                f"{path}: a safetensors file of format {found!r}, not {DELTA_FORMAT!r}; only runs with "
                "method=full or dora=true have dW of whole weights"
            )
        sizes = {key: tuple(opened.get_slice(key).get_shape()) for key in opened.keys()}  # noqa: SIM118
    shapes = {}
    for name, size in sizes.items():
        match = re.fullmatch(rf"{_KEY.pattern}\.dW", name)
        if match is None or len(size) != 2:
            raise AnalysisError(f"{path}: holds {name} of shape {size}; dW of projections are expected")
        shapes[int(match[1]), match[2]] = size

    def read(key: Key) -> Tensor:
        with open_safetensors(path) as opened:
            return opened.get_tensor(f"layers.{key[0]}.{key[1]}.dW")

    return Projections(str(path), shapes, read)


@dataclass(frozen=True)
class AdapterHeader:
    """What a file of `lora.save` says of itself, read without torch's tensors.

    Attributes:
        architecture: model type.
        scaling_rule: as in run.py's `scaling`.
        shapes: (d_out, d_in) by projection.
        numbers: rank, alpha and scaling by projection.
        size: number of entries of all that was trained: A and B, and DoRA's magnitudes.
        started: the projections that have A0 and B0 too, where dW = scaling * (B A - B0 A0).
        scaled: those with magnitudes (DoRA).
    """

    architecture: str
    scaling_rule: str
    shapes: dict[Key, tuple[int, int]]
    numbers: dict[Key, tuple[int, float, float]]
    size: int
    started: frozenset[Key]
    scaled: frozenset[Key]


def read_header(path: Path) -> AdapterHeader:
    """The header of a file of `lora.save`, checked: each projection has its A and B, of its rank.

    Raises:
        AnalysisError: the file is missing, truncated, or not whole.
    """
    with open_safetensors(path, framework="np") as opened:
        metadata = opened.metadata() or {}
        sizes = {key: tuple(opened.get_slice(key).get_shape()) for key in opened.keys()}  # noqa: SIM118
    if (metadata.get("format"), metadata.get("version")) != (FORMAT, VERSION):
        from_peft = any(".lora_A" in key for key in sizes)
        hint = "give the folder of a PEFT adapter, not its file" if from_peft else "give a file of lora.save"
        raise AnalysisError(f"{path}: not an adapter file of version {VERSION}; {hint}")
    shapes, numbers, size = {}, {}, 0
    started, scaled = set(), set()
    try:
        told = json.loads(metadata["adapter"])
        for name, values in told["projections"].items():
            layer, _, letter = name.partition(".")
            (rank, d_in), (d_out, columns) = sizes[f"layers.{name}.A"], sizes[f"layers.{name}.B"]
            if letter not in LETTERS or not rank == columns == values["rank"]:
                raise ValueError(f"{name} has rank {values['rank']}, A {(rank, d_in)}, B {(d_out, columns)}")
            key = int(layer), letter
            shapes[key] = (d_out, d_in)
            numbers[key] = (rank, float(values["alpha"]), float(values["scaling"]))
            size += rank * (d_out + d_in)
            if f"layers.{name}.A0" in sizes:
                started.add(key)
                if (sizes[f"layers.{name}.A0"], sizes[f"layers.{name}.B0"]) != ((rank, d_in), (d_out, rank)):
                    raise ValueError(f"{name} has A0 or B0 of another shape than A and B")
            if f"layers.{name}.m" in sizes:
                scaled.add(key)
                size += d_out
        return AdapterHeader(
            told["architecture"],
            told["scaling"],
            shapes,
            numbers,
            size,
            frozenset(started),
            frozenset(scaled),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise AnalysisError(f"{path}: the metadata and the tensors disagree ({error})") from None


def _from_file(path: Path) -> AdapterFactors:
    header = read_header(path)
    ranks = {key: rank * (2 if key in header.started else 1) for key, (rank, _, _) in header.numbers.items()}

    def read(key: Key) -> Factors:
        """dW as it is: with (A0, -B0) beside (A, B) where they were not zero at the start."""
        import torch

        from lora.saving import Factors

        name = f"layers.{key[0]}.{key[1]}"
        if key in header.scaled:
            raise AnalysisError(
                f"{path}: a run of DoRA, whose dW is of full rank and no product of A and B; its dW is in "
                "delta.safetensors (analysis.read_deltas)"
            )
        with open_safetensors(path) as opened:
            A, B = opened.get_tensor(f"{name}.A"), opened.get_tensor(f"{name}.B")
            if key in header.started:
                A = torch.cat([A, opened.get_tensor(f"{name}.A0")])
                B = torch.cat([B, -opened.get_tensor(f"{name}.B0")], dim=1)
        _, alpha, scaling = header.numbers[key]
        return Factors(A, B, ranks[key], alpha, scaling)

    return AdapterFactors(str(path), header.shapes, ranks, read, header.architecture)


def _from_peft(folder: Path, base: BaseWeights | str | Path | None) -> AdapterFactors:
    from lora.peft import read_peft

    if not is_file(folder / ADAPTER_CONFIG):
        raise AnalysisError(
            f"{folder}: a folder without {ADAPTER_CONFIG}, so no PEFT adapter; of a run, give the file "
            "adapter.safetensors in it"
        )
    try:
        file = read_peft(folder)
    except ValueError as error:
        raise AnalysisError(str(error)) from None
    except OSError as error:
        raise AnalysisError(f"{folder} {unreadable(error)}") from None
    architecture, config = _architecture(folder, file.settings, base)
    places: dict[Key, tuple[str, dict[str, Any]]] = {}
    shapes, ranks, left_out = {}, {}, []
    for module, (d_out, d_in) in file.shapes.items():
        held = architecture.held(module, config)
        if held is None:
            left_out.append(module)
            continue
        layer, rows = held
        _check_width(folder, module, (d_out, d_in), rows, config)
        for letter, rank in file.letter_ranks(module, rows).items():
            own = rows[letter]
            places[layer, letter] = (module, rows)
            shapes[layer, letter] = (len(range(d_out)[own]) if isinstance(own, slice) else len(own), d_in)
            ranks[layer, letter] = rank
    if not places:
        raise AnalysisError(
            f"{folder}: adapts no projection of a {architecture.name} model; its modules are such as "
            f"{left_out[0]}"
        )

    def read(key: Key) -> Factors:
        module, rows = places[key]
        return file.factors(module, rows)[key[1]]

    return AdapterFactors(str(folder), shapes, ranks, read, architecture.name, left_out)


def _architecture(
    folder: Path, settings: Mapping[str, Any], base: BaseWeights | str | Path | None
) -> tuple[Architecture, Any]:
    """The table's entry for the adapter's base model, and that model's config."""
    if isinstance(base, BaseWeights):
        return base.architecture, base.checkpoint.config
    source = base or settings.get("base_model_name_or_path")
    if not source:
        raise AnalysisError(f"{folder}: does not name its base model; give base=<folder or hub id>")
    try:
        config = Checkpoint.find(source, None if base else settings.get("revision")).config
        return architecture_of(config), config
    except ValueError as error:
        hint = "" if base else f"; {folder} names it as its base model, base=<folder or hub id> gives another"
        raise AnalysisError(f"{error}{hint}") from None


def _check_width(
    folder: Path, module: str, shape: tuple[int, int], letters: Mapping[str, Any], config: Any
) -> None:
    """q, k, v and up read the residual stream, o and down write it: that width is the model's."""
    written = not {"o", "down"}.isdisjoint(letters)
    width = shape[0] if written else shape[1]
    if width != config.hidden_size:
        raise AnalysisError(
            f"{folder}: {module} is {shape}, of a model of width {width}; the base model has width "
            f"{config.hidden_size}"
        )


def _from_arrays(arrays: Mapping[Any, Any], base: BaseWeights | str | Path | None = None) -> AdapterFactors:
    from analysis.geometry.arrays import matrix, weight

    source = "the dictionary"
    given: dict[Key, tuple[str, Any, Any, float]] = {}
    shapes, ranks = {}, {}
    for key, value in arrays.items():
        place = _key(key)
        name = f"layers.{place[0]}.{place[1]}"
        if place in given:
            raise AnalysisError(f"{source}: {name} is given twice")
        if isinstance(value, str) or not isinstance(value, Sequence) or len(value) not in (2, 3):
            raise AnalysisError(
                f"{source}: {name} is a {type(value).__name__}; give (A, B) or (A, B, scaling)"
            )
        A, B, scaling = (*value, 1.0)[:3]
        first, second = _size(A), _size(B)
        if len(first) != 2 or len(second) != 2 or first[0] != second[1]:
            raise AnalysisError(
                f"{source}: {name} has A {first} and B {second}; give (r, d_in) and (d_out, r)"
            )
        if first[0] > min(second[0], first[1]) and not isinstance(base, BaseWeights):
            raise AnalysisError(
                f"{source}: {name} has A {first} and B {second}, of a rank above the smaller dimension of "
                "dW: they are (B, A) swapped; give (A, B), or the base weights if they are as they should be"
            )
        given[place] = (name, A, B, float(scaling))
        shapes[place] = (second[0], first[1])
        ranks[place] = first[0]
    if not given:
        raise AnalysisError(f"{source} of factors is empty; give {{(layer, letter): (A, B)}}")

    def read(key: Key) -> Factors:
        from lora.saving import Factors

        name, A, B, scaling = given[key]
        rank = ranks[key]
        stored = weight(A, f"A of {name}").dtype
        A, B = matrix(A, f"A of {name}"), matrix(B, f"B of {name}")
        return Factors(A, B, rank, scaling * rank, scaling, stored)

    return AdapterFactors(source, shapes, ranks, read)


def _key(key: Any) -> Key:
    if isinstance(key, str) and (match := _KEY.fullmatch(key)):
        return int(match[1]), match[2]
    if (
        isinstance(key, tuple)
        and len(key) == 2
        and isinstance(key[0], int)
        and key[0] >= 0
        and key[1] in LETTERS
    ):
        return key
    raise AnalysisError(
        f'{key!r} names no projection; give (layer from 0, letter) or "layers.{{layer}}.{{letter}}" with one '
        f"of {' '.join(LETTERS)}"
    )


def _size(array: Any) -> tuple[int, ...]:
    import numpy as np

    try:
        return tuple(np.shape(array))
    except ValueError:  # rows of different lengths
        return ()


def _check_base(adapter: AdapterFactors, base: BaseWeights) -> None:
    if adapter.architecture not in (None, base.architecture.name):
        raise AnalysisError(
            f"{adapter.source}: an adapter of a {adapter.architecture} model; {base.checkpoint.source} is a "
            f"{base.architecture.name} model"
        )
    for layer, letter in adapter:
        given, expected = adapter.shape(layer, letter), base.shape(layer, letter)
        if given != expected:
            raise AnalysisError(
                f"{adapter.source}: dW_{letter} of layer {layer} is {given}; W of {base.checkpoint.source} "
                f"is {expected}"
            )
