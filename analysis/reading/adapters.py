"""Factors and updates by layer and letter: of whatever `open_adapter` opens, or of arrays in memory.

All are read-only mappings (layer from 0, letter) -> what is stored there. Opening one reads names and shapes;
a projection is read when it is asked for and not kept, so that a file may be larger than memory.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.errors import AnalysisError
from analysis.reading.base_weights import BaseWeights
from analysis.reading.files import open_tensors
from analysis.reading.pairs import Adapter, Pair, open_adapter
from analysis.reading.projections import Key, Projections
from lora.targets import LETTERS

if TYPE_CHECKING:
    from torch import Tensor

    from lora.saving import Factors

DELTA_FORMAT = "lora-delta"
_KEY = re.compile(rf"layers\.(\d+)\.({'|'.join(LETTERS)})")


class AdapterFactors(Projections["Factors"]):
    """An adapter: (layer, letter) -> `lora.Factors`, with dW = scaling * B A.

    Attributes:
        architecture: the model type that it is of; None where only arrays were given, or where it was
            inferred and several have such names.
        ranks: r of each projection.
        left_out: modules that hold none of the letters (a task head, an expert).
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
    """The letters of an adapter, from elsewhere or from a run, one projection at a time.

    Args:
        source: what `open_adapter` opens; or a dictionary with keys (layer, letter) or
            "layers.{layer}.{letter}" and values (A, B) or (A, B, scaling), where A (r, d_in) and B (d_out, r)
            are tensors, arrays or lists, and scaling is 1 if not given. They stay as they are until asked
            for, in float64 then.
        base: the model that it belongs to, as for `open_adapter`. With a `BaseWeights` every shape is
            compared with its W.

    Raises:
        AnalysisError: what is given is not a whole adapter, not of the base, adapts no letter, or is DoRA,
            whose dW is more than a pair.
    """
    if isinstance(source, Mapping):
        adapter = _from_arrays(source, base)
    else:
        adapter = _letters(open_adapter(source, base))
    if isinstance(base, BaseWeights):
        _check_base(adapter, base)
    return adapter


def read_deltas(path: str | Path) -> Projections[Tensor]:
    """dW of full fine-tuning or DoRA, (d_out, d_in) in float32 as it was stored, one projection at a time.

    Raises:
        AnalysisError: the file is missing, truncated, or not one of full fine-tuning.
    """
    path = Path(path)
    with open_tensors(path, framework="np") as opened:
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
        with open_tensors(path) as opened:
            return opened.get_tensor(f"layers.{key[0]}.{key[1]}.dW")

    return Projections(str(path), shapes, read)


def _letters(adapter: Adapter) -> AdapterFactors:
    """The pairs that have letters, by layer and letter."""
    pairs: dict[Key, Pair] = {}
    shapes, ranks, left_out = {}, {}, []
    for pair in adapter:
        if pair.dora:
            raise AnalysisError(
                f"{adapter.source}: {pair.module} is DoRA, whose dW is more than scaling * B A and needs W "
                "(a run of this project keeps it in delta.safetensors: analysis.read_deltas); "
                "`python -m analysis inspect` shows its pair"
            )
        if not pair.letters or pair.layer is None:
            left_out.append(pair.module)
            continue
        one = len(pair.letters) == 1
        by_letter = dict.fromkeys(pair.letters, pair.rank) if one else _ranks(pair)
        for letter, rank in by_letter.items():
            own = pair.letters[letter]
            pairs[pair.layer, letter] = pair
            rows = len(range(pair.shape.d_out)[own]) if isinstance(own, slice) else len(own)
            shapes[pair.layer, letter] = (rows, pair.shape.d_in)
            ranks[pair.layer, letter] = rank
    if not pairs:
        raise AnalysisError(
            f"{adapter.source}: adapts no projection of an architecture that is known; its modules are such "
            f"as {left_out[0]}; give base=<folder or hub id>, or use `python -m analysis inspect`"
        )
    architecture = adapter.architectures[0] if len(adapter.architectures) == 1 else None

    def read(key: Key) -> Factors:
        return pairs[key].factors()[key[1]]

    return AdapterFactors(adapter.source, shapes, ranks, read, architecture, left_out)


def _ranks(pair: Pair) -> dict[str, int]:
    return {letter: factors.rank for letter, factors in pair.factors().items()}


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
