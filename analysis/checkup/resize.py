"""`python -m analysis resize PATH`: a smaller copy of an adapter, in PEFT's format.

Each module's dW is cut to its top k singular directions, the best approximation of that rank, through the
thin factors. The scale stays what it was: alpha is chosen for the new rank. `from_full` takes dW from a fully
fine-tuned model by the same road.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from analysis.errors import AnalysisError
from analysis.geometry.dimensions import energy_rank
from analysis.geometry.svd import ThinSVD, delta_svd
from analysis.geometry.weight_svd import top_directions
from analysis.reading.base_weights import BaseWeights
from analysis.reading.files import open_tensors
from analysis.reading.pairs import (
    NATIVE,
    PLAIN_SETTINGS,
    Adapter,
    Pair,
    check_whole,
    open_adapter,
    uneven_scales,
)
from analysis.result import Cell, Row, Table
from experiments.identity import ADAPTER_CONFIG
from lora.architectures import ARCHITECTURES, Architecture, architecture_of, plain_config
from lora.files import safetensors_bytes, write_atomically
from lora.formats import KOHYA, LORALIB, MLX, PEFT, PLAIN, ROOT

WEIGHTS = "adapter_model.safetensors"


@dataclass(frozen=True)
class Size:
    """How much of each module is kept: one of a rank, a share of its energy, a relative error.

    Raises:
        AnalysisError: not exactly one is given, or it is out of range.
    """

    rank: int | None = None
    energy: float | None = None
    error: float | None = None

    def __post_init__(self) -> None:
        named = [f"{name}={value}" for name, value in vars(self).items() if value is not None]
        fits = (
            len(named) == 1
            and (self.rank is None or self.rank >= 1)
            and (self.energy is None or 0 < self.energy <= 1)
            and (self.error is None or 0 <= self.error < 1)
        )
        if not fits:
            raise AnalysisError(
                f"{', '.join(named) or 'nothing is given'}: give one of a rank from 1, a "
                "share of the energy above 0 and at most 1, a relative error from 0 and below 1"
            )

    def cut(self, values: Tensor) -> int:
        """How many of the singular values (k,), descending, are kept: not one more than it takes."""
        present = int((values > 0).sum())
        if self.rank is not None or not present:
            return min(self.rank or 0, present)
        energy = self.energy if self.energy is not None else 1 - (self.error or 0.0) ** 2
        return min(int(energy_rank(values, energy)), present)


@dataclass(frozen=True)
class Cut:
    """One module of the copy.

    Attributes:
        module: its path.
        before, rank: of the pair that it was cut from, and now.
        energy: ||dW||^2 before.
        lost: the part of it that is gone.
    """

    module: str
    before: int
    rank: int
    energy: float
    lost: float

    @property
    def error(self) -> float:
        """||dW - dW'|| / ||dW||."""
        return math.sqrt(self.lost / self.energy) if self.energy else 0.0


@dataclass(frozen=True)
class Resized:
    """A copy that has been written.

    Attributes:
        folder: where it lies.
        cuts: its modules.
        parameters: of the factors, before and after.
        notes: what a user has to know.
        uneven: the numbers of all modules together depend on scales that are not stated.
    """

    folder: Path
    cuts: Sequence[Cut]
    parameters: tuple[int, int]
    notes: tuple[str, ...] = field(default=())
    uneven: bool = False

    @property
    def error(self) -> float:
        """Relative error of all modules together."""
        energy = sum(cut.energy for cut in self.cuts)
        return math.sqrt(sum(cut.lost for cut in self.cuts) / energy) if energy else 0.0

    def printed(self) -> str:
        rows = tuple(
            Row((cut.module,), (Cell(f"{cut.before} → {cut.rank}"), Cell(f"{cut.error:.3%}")))
            for cut in self.cuts
        )
        table = Table("Every module", ("",), ("rank", "relative error"), (rows,))
        before, after = self.parameters
        mark = "?" if self.uneven else ""
        return "\n".join(
            [
                table.terminal(),
                "",
                f"all together: relative error {self.error:.3%}{mark}, energy kept "
                f"{1 - self.error**2:.3%}{mark}, "
                f"{before:,} → {after:,} parameters ({after / before:.1%})",
                *self.notes,
                str(self.folder),
            ]
        )


def resize(
    path: str | Path,
    out: str | Path,
    rank: int | None = None,
    energy: float | None = None,
    error: float | None = None,
    base: BaseWeights | str | Path | None = None,
) -> Resized:
    """Write a copy of an adapter with fewer directions, for PEFT; task heads and biases go along.

    Args:
        path: as for `open_adapter`.
        out: the folder to write.
        rank: of every module; or
        energy: the smallest rank of each module that keeps this share of its ||dW||^2; or
        error: the smallest of each whose ||dW - dW'|| / ||dW|| is at most this.
        base: the model that it belongs to, where names and shapes do not tell what is needed.

    Raises:
        AnalysisError: there is no whole adapter, it is DoRA, PEFT has no name for its modules, the size is
            not valid, or `out` cannot be written.
    """
    size = Size(rank, energy, error)
    check_whole(path)
    adapter = open_adapter(path, base)
    init = adapter.settings.get("init_lora_weights")
    if init not in PLAIN_SETTINGS:
        raise AnalysisError(
            f"{adapter.source}: init_lora_weights = {init!r} makes PEFT change W0 by the rank as it loads: a "
            "copy of another rank would stand on another W0; convert it to plain LoRA first (save_pretrained "
            "with path_initial_model_for_weight_conversion)"
        )
    for pair in adapter:
        if pair.dora:
            raise AnalysisError(
                f"{adapter.source}: {pair.module} is DoRA, whose magnitudes belong to the directions of the "
                "whole pair; a cut pair needs others: train them again"
            )
    flat = next((pair.module for pair in adapter if "." not in pair.module), None)
    if adapter.format == KOHYA and flat is not None:
        raise AnalysisError(
            f"{adapter.source}: a file of kohya, whose names ({flat}) do not tell the "
            "modules' paths that PEFT needs; give the base model, which does (--base MODEL, base=)"
        )
    tensors: dict[str, Tensor] = {}
    cuts, scalings = [], {}
    stacked = _stacked(adapter, base) if adapter.format == NATIVE else _modules(adapter)
    before = 0
    for module, A, B, scaling, layout in stacked:
        svd = delta_svd(B, A, scaling)
        before += A.numel() + B.numel()
        cut = _cut(module, svd, size, len(A))
        cuts.append(cut)
        if cut.rank:
            scalings[module] = scaling
            tensors |= _tensors(module, *_factors(svd, cut.rank, scaling), layout)
    extra, saved, left = _extra(adapter)
    notes = [*adapter.notes]
    unknown = [pair.module for pair in adapter if not pair.letters and not pair.shape.kernel]
    if adapter.format in (LORALIB, MLX, PLAIN) and unknown:
        notes.append(
            f"taken for linear modules, as names of {adapter.format} do not tell: {len(unknown)}, such as "
            f"{unknown[0]}; where one is an embedding or a convolution, PEFT does not load its pair"
        )
    if left:
        notes.append(f"left out: {len(left)} other tensors, such as {left[0]}, which are no task head")
    settings = dict(adapter.settings)
    if saved:
        settings["modules_to_save"] = saved
    if not settings:
        places = ARCHITECTURES[adapter.architectures[0]].places if adapter.architectures else {}
        settings["fan_in_fan_out"] = any(place.transposed for place in places.values())
    if not all(pair.stated for pair in adapter):
        notes.append("the copy states the scale that was taken: alpha = r where the file stated none")
    made = _write(Path(out), tensors | extra, settings, cuts, scalings, before, tuple(notes))
    return replace(made, uneven=uneven_scales(adapter))


def from_full(
    tuned: str | Path,
    base: str | Path,
    out: str | Path,
    rank: int | None = None,
    energy: float | None = None,
    error: float | None = None,
) -> Resized:
    """An adapter of a fully fine-tuned model's projections: dW = W_tuned - W_base, cut; as `resize`.

    What else the training moved (embeddings, norms, biases, a head) is not in it, and named with its share of
    the squared change.

    Raises:
        AnalysisError: the models differ in architecture or shapes, nothing differs, or as `resize`.
    """
    size = Size(rank, energy, error)
    first, second = BaseWeights.open(base), BaseWeights.open(tuned)
    if first.architecture.name != second.architecture.name:
        raise AnalysisError(
            f"{tuned} is a {second.architecture.name} model and {base} a {first.architecture.name} one"
        )
    tensors: dict[str, Tensor] = {}
    cuts, done = [], set()
    before = 0
    for layer, letter, module in _held_modules(first):
        name, other = first.parameter_of(layer, letter), second.parameter_of(layer, letter)
        done.add(other)
        W, tuned_W = first.parameter(name).double(), second.parameter(other).double()
        if W.shape != tuned_W.shape:
            raise AnalysisError(f"{name} is {tuple(W.shape)} in {base} and {tuple(tuned_W.shape)} in {tuned}")
        dW = tuned_W - W
        svd, whole = _dense_svd(dW.T if first.architecture.places[letter].transposed else dW, size)
        before += W.numel()
        cut = _cut(module, svd, size, min(W.shape), whole)
        cuts.append(cut)
        if cut.rank:
            tensors |= _tensors(module, *_factors(svd, cut.rank, 1.0), None)
    if not tensors:
        raise AnalysisError(f"{tuned} and {base} have the same projections; there is no dW to extract")
    settings = {
        "base_model_name_or_path": str(base),
        "fan_in_fan_out": any(place.transposed for place in first.architecture.places.values()),
    }
    scalings = {cut.module: 1.0 for cut in cuts}
    notes = _left_out(first, second, done, sum(cut.energy for cut in cuts))
    return _write(Path(out), tensors, settings, cuts, scalings, before, tuple(notes))


# ------------------------------------------------------------------------------------------- what is cut


def _modules(adapter: Adapter) -> Iterator[tuple[str, Tensor, Tensor, float, Pair | None]]:
    """Path, A, B, scaling of each module, in float64."""
    for pair in adapter:
        A, B = pair.read()
        yield pair.module, A.double(), B.double(), pair.scaling, pair


def _stacked(
    adapter: Adapter, base: BaseWeights | str | Path | None
) -> Iterator[tuple[str, Tensor, Tensor, float, Pair | None]]:
    """As `_modules`, of this project's file: the letters of a fused module as one pair, scales in B."""
    architecture = ARCHITECTURES[adapter.architectures[0]]
    config = _config(adapter, architecture, base)
    modules: dict[str, list[tuple[str, Pair]]] = {}
    for pair in adapter:
        assert pair.layer is not None
        (letter,) = pair.letters
        path = architecture.module(architecture.prefixes[0], pair.layer, letter, config)
        modules.setdefault(path, []).append((letter, pair))
    for path, letters in modules.items():
        held = architecture.held(path, config)
        assert held is not None
        rows = held[1]
        if len(rows) == 1:
            ((_, pair),) = letters
            A, B = pair.read()
            yield path, A.double(), B.double(), pair.scaling, None
            continue
        d_out = sum(len(range(2**40)[own]) if isinstance(own, slice) else len(own) for own in rows.values())
        read = [(letter, pair, *pair.read()) for letter, pair in letters]
        A = torch.cat([A for _, _, A, _ in read]).double()
        B = A.new_zeros(d_out, len(A))
        start = 0
        for letter, pair, own_A, own_B in read:
            B[rows[letter], start : start + len(own_A)] = pair.scaling * own_B.double()
            start += len(own_A)
        yield path, A, B, 1.0, None


def _config(adapter: Adapter, architecture: Architecture, base: BaseWeights | str | Path | None) -> Any:
    """The base model's, or for the architectures whose rows follow from the width, one made of shapes."""
    if base is not None:
        weights = base if isinstance(base, BaseWeights) else BaseWeights.open(base)
        return weights.checkpoint.config
    fused = Counter(place.module for place in architecture.places.values()).most_common(1)[0][1] > 1
    if (fused and architecture.name != "gpt2") or len(architecture.stacks) > 1:
        raise AnalysisError(
            f"{adapter.source}: where a {architecture.name} model has its projections depends on its sizes; "
            "give it with --base MODEL (base=)"
        )
    layers = 1 + max(pair.layer or 0 for pair in adapter)
    written = {"o", "down"}
    width = next(p.shape.d_out if written & set(p.letters) else p.shape.d_in for p in adapter)
    return plain_config(
        {
            "model_type": architecture.name,
            "num_hidden_layers": layers,
            "hidden_size": width,
            "num_attention_heads": 1,
            "intermediate_size": 4 * width,
        }
    )


def _held_modules(base: BaseWeights) -> Iterator[tuple[int, str, str]]:
    """A layer and letter of each module that holds projections, and its path in the task model."""
    architecture = architecture_of(base.checkpoint.config)
    seen = set()
    for layer in range(base.layers):
        stack, _ = architecture.located(layer, base.checkpoint.config)
        for letter in stack.places:
            path = architecture.module(architecture.prefixes[0], layer, letter, base.checkpoint.config)
            if path not in seen:
                seen.add(path)
                yield layer, letter, path


def _dense_svd(dW: Tensor, size: Size) -> tuple[ThinSVD, float]:
    """The directions of a dense dW, as many as may be kept, and ||dW||^2."""
    energy = float(dW.square().sum())
    if size.rank is not None and energy:
        U, S, Vh = top_directions(dW, min(size.rank, *dW.shape))
    else:
        U, S, Vh = torch.linalg.svd(dW, full_matrices=False)
    return ThinSVD(U, S, Vh, int((S > 0).sum())), energy


def _cut(module: str, svd: ThinSVD, size: Size, before: int, energy: float | None = None) -> Cut:
    squares = svd.S.square().nan_to_num()
    whole = float(squares.sum()) if energy is None else energy
    k = size.cut(svd.S.nan_to_num()) if svd.rank else 0
    lost = float(squares[k:].sum()) if energy is None else max(0.0, whole - float(squares[:k].sum()))
    return Cut(module, before, k, whole, lost)


def _factors(svd: ThinSVD, k: int, scaling: float) -> tuple[Tensor, Tensor]:
    """A (k, d_in) and B (d_out, k), of equal norm each direction, with scaling * B A the top of dW."""
    root = (svd.S[:k] / abs(scaling)).sqrt()
    return root[:, None] * svd.Vh[:k], math.copysign(1.0, scaling) * svd.U[:, :k] * root


# --------------------------------------------------------------------------------------- what is written


def _tensors(module: str, A: Tensor, B: Tensor, pair: Pair | None) -> dict[str, Tensor]:
    A, B = A.float(), B.float()
    if pair is not None and pair.embedding:
        names = ("lora_embedding_A", "lora_embedding_B")
    else:
        names = ("lora_A.weight", "lora_B.weight")
    if pair is not None and pair.shape.kernel:
        kernel = pair.shape.kernel
        A, B = A.reshape(len(A), -1, *kernel), B.reshape(*B.shape, *(1 for _ in kernel))
    return {f"{ROOT}{module}.{name}": factor.contiguous() for name, factor in zip(names, (A, B), strict=True)}


def _extra(adapter: Adapter) -> tuple[dict[str, Tensor], list[str], list[str]]:
    """The other tensors by PEFT's names, the modules to save that no settings name, and what is left out."""
    with open_tensors(adapter.path) as opened:
        found = {key: opened.get_tensor(key) for key in adapter.extra}
    if adapter.format == PEFT:
        return found, [], []
    named = {key.removeprefix("extra."): tensor for key, tensor in found.items()}
    heads = {head for name in adapter.architectures for head in ARCHITECTURES[name].heads}
    saved = sorted({name.split(".")[0] for name in named} & heads)
    left = [name for name in named if name.split(".")[0] not in saved]
    if left and adapter.format == NATIVE:
        raise AnalysisError(
            f"{adapter.source}: {left[0]} was trained too, and a resized copy has no place for it; resize an "
            "adapter without trained biases"
        )
    return {ROOT + name: named[name] for name in named if name not in left}, saved, left


def _write(
    out: Path,
    tensors: Mapping[str, Tensor],
    settings: Mapping[str, Any],
    cuts: Sequence[Cut],
    scalings: Mapping[str, float],
    before: int,
    notes: tuple[str, ...],
) -> Resized:
    kept = {cut.module: cut.rank for cut in cuts if cut.rank}
    if not kept:
        raise AnalysisError("dW = 0 in every module; there is nothing to keep")
    alphas = {module: scalings[module] * rank for module, rank in kept.items()}
    rank, alpha = Counter(kept.values()).most_common(1)[0][0], Counter(alphas.values()).most_common(1)[0][0]
    config = {
        "base_model_name_or_path": "",
        "bias": "none",
        "inference_mode": True,
        "lora_dropout": 0.0,
        "modules_to_save": None,
        "task_type": None,
        **settings,
        "peft_type": "LORA",
        "r": rank,
        "lora_alpha": _number(alpha),
        "rank_pattern": {re.escape(module): r for module, r in kept.items() if r != rank},
        "alpha_pattern": {re.escape(module): _number(a) for module, a in alphas.items() if a != alpha},
        "use_rslora": False,
        "target_modules": [*kept],
        "exclude_modules": None,
        "layers_to_transform": None,
        "layers_pattern": None,
    }
    if any((out / name).exists() for name in (ADAPTER_CONFIG, WEIGHTS, "adapter_model.bin")):
        raise AnalysisError(f"{out}: holds an adapter already; give another folder")
    try:
        write_atomically(out / WEIGHTS, safetensors_bytes(tensors, {"format": "pt"}))
        write_atomically(out / ADAPTER_CONFIG, (json.dumps(config, indent=2, sort_keys=True) + "\n").encode())
    except OSError as error:
        raise AnalysisError(f"{out} cannot be written: {error.strerror or error}") from None
    gone = [cut.module for cut in cuts if not cut.rank]
    left = []
    if gone:
        several = f"{len(gone)} modules with dW = 0 are left out, such as {gone[0]}"
        left = [several if len(gone) > 1 else f"1 module with dW = 0 is left out: {gone[0]}"]
    after = sum(
        tensor.numel() for key, tensor in tensors.items() if re.search(r"\.lora_(embedding_)?[AB]", key)
    )
    return Resized(out, tuple(cuts), (before, after), (*left, *notes))


def _left_out(first: BaseWeights, second: BaseWeights, done: set[str], energy: float) -> Iterator[str]:
    """What else differs between two models, and its share of the squared change."""
    changes = {}
    for name in second.names:
        if name in done:
            continue
        other = name if name in first.names else None
        if other is None:
            changes[name] = math.nan
            continue
        one, two = first.parameter(other).double(), second.parameter(name).double()
        if one.shape != two.shape or not torch.equal(one, two):
            changes[name] = float((two - one).square().sum()) if one.shape == two.shape else math.nan
    if changes:
        known = float(np.nansum([*changes.values()]))
        yield (
            f"not in the adapter: {len(changes)} other tensors that differ, such as {next(iter(changes))}; "
            f"they are {known / (known + energy):.1%} of the squared change that can be compared"
        )


def _number(value: float) -> int | float:
    """As an integer where it is one to rounding: alpha = (alpha / r) * k need not come back exact."""
    return round(value) if abs(value - round(value)) < 1e-9 * abs(value) else value
