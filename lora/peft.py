"""Adapters in the format of Hugging Face PEFT: `adapter_config.json` beside `adapter_model.safetensors`.

PEFT adapts whole modules, one pair (A, B) each, and this package projections: they differ where several
projections are fused in one module.

- Export stacks the letters of a module into one pair of the summed rank: for GPT-2's c_attn with q and v,
  A' = [A_q; A_v] and B' is zero but for B_q in q's rows and first columns, B_v in v's rows and last columns.
  PEFT has one scale a module: lora_alpha' = scaling * r'; where letters differ in it, it is folded into B'.
- Import cuts B by rows. Where each column of B serves one letter only, as after an export, every letter
  takes its own rows of A; else (trained as one pair, where all letters share A) each takes a copy of A: the
  same function, with more parameters. A letter without a nonzero row in B is left out.
"""

import json
import math
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lora.adapter import AdaptedModule
from lora.adapting import (
    Model,
    adaptation,
    base_parameters,
    located,
    model_architecture,
    projections,
    wrapped,
)
from lora.files import open_tensors, safetensors_bytes, write_atomically
from lora.formats import PEFT, ROOT, NamedPair, PairShape, named_pairs, pair_shape, peft_scaling
from lora.saving import AdapterFile, AdapterFileError, Factors, restore, snapshot
from lora.targets import LETTERS

CONFIG = "adapter_config.json"
WEIGHTS, PICKLED = "adapter_model.safetensors", "adapter_model.bin"

_TASK_TYPES = {
    "LMHeadModel": "CAUSAL_LM",
    "ForCausalLM": "CAUSAL_LM",
    "ForSequenceClassification": "SEQ_CLS",
    "ForTokenClassification": "TOKEN_CLS",
    "ForQuestionAnswering": "QUESTION_ANS",
}

_HEADS = {
    "SEQ_CLS": ("classifier", "score"),
    "TOKEN_CLS": ("classifier", "score"),
    "QUESTION_ANS": ("qa_outputs",),
}
"""The modules that PEFT saves with an adapter of these tasks, listed or not."""

# Settings that do not change what the tensors mean, or that the tensors themselves tell.
# fmt: off
_HARMLESS = {
    "peft_type", "task_type", "auto_mapping", "peft_version", "runtime_config", "inference_mode", "revision",
    "base_model_name_or_path", "fan_in_fan_out", "megatron_core", "ensure_weight_tying", "qalora_group_size",
    "target_modules", "exclude_modules", "modules_to_save", "layers_to_transform", "layers_pattern",
    "r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora", "lora_dropout", "bias",
    "init_lora_weights", "loftq_config", "eva_config", "corda_config", "lora_ga_config",
}
# fmt: on
_PLAIN_INITS = (None, True, False, "gaussian", "eva", "orthogonal")


def export_peft(model: nn.Module, folder: str | os.PathLike[str], base_model_name_or_path: str = "") -> None:
    """Write the model's adapter to `folder` so that `peft.PeftModel.from_pretrained(base, folder)` loads it.

    A task head goes along as `modules_to_save`, trained biases by the bias mode. A merged model is written as
    if it were not.

    Raises:
        ValueError: the model is not adapted, or another tensor is trained, for which PEFT has no place.
    """
    folder = Path(folder)
    state = adaptation(model)
    architecture, _ = located(model)
    modules = wrapped(model)
    tensors: dict[str, Tensor] = {}
    sizes: dict[str, tuple[int, float]] = {}
    for path, module in modules.items():
        if any(adapter.magnitude is not None for _, adapter in module.items()):
            raise ValueError(
                "export_peft: DoRA's magnitudes are not exported; lora.merge(model) and save the model itself"
            )
        A, B, alpha = _fused(module)
        tensors[f"{ROOT}{path}.lora_A.weight"] = A
        tensors[f"{ROOT}{path}.lora_B.weight"] = B
        sizes[path] = (len(A), alpha)
    heads = set()
    for name, tensor in snapshot(model).extra.items():
        owner, _, leaf = name.rpartition(".")
        head = name.split(".")[0]
        if head in architecture.heads:
            heads.add(head)
            tensors[ROOT + name] = tensor
        elif leaf == "bias" and state.bias != "none":
            tensors[f"{ROOT}{owner}.base_layer.bias" if owner in modules else ROOT + name] = tensor
        else:
            raise ValueError(
                f"export_peft: {name} is trained too, and a PEFT adapter has no place for it; freeze it"
            )
    patterns = _patterns(sizes, _places(model))
    (rank, alpha), _ = Counter(patterns.values()).most_common(1)[0]
    config = {
        "alpha_pattern": {pattern: a for pattern, (_, a) in patterns.items() if a != alpha},
        "base_model_name_or_path": base_model_name_or_path or getattr(model, "name_or_path", ""),
        "bias": state.bias,
        "fan_in_fan_out": any(place.transposed for place in architecture.places.values()),
        "inference_mode": True,
        "init_lora_weights": True,
        "lora_alpha": alpha,
        "lora_dropout": state.dropout,
        "modules_to_save": sorted(heads) or None,
        "peft_type": "LORA",
        "r": rank,
        "rank_pattern": {pattern: r for pattern, (r, _) in patterns.items() if r != rank},
        "revision": None,
        "target_modules": "|".join(patterns),
        "task_type": _task_type(model),
        "use_dora": False,
        "use_rslora": False,
    }
    write_atomically(folder / WEIGHTS, safetensors_bytes(tensors, {"format": "pt"}))
    write_atomically(folder / CONFIG, (json.dumps(config, indent=2, sort_keys=True) + "\n").encode())


def import_peft(model: Model, folder: str | os.PathLike[str]) -> Model:
    """Give `model` the PEFT adapter in `folder`, in place; its outputs are those that PEFT gives.

    LoRA in its plain form: any ranks, alphas and patterns, rsLoRA's scale, a choice of layers, trained biases
    and `modules_to_save`. A module of the latter whose weight is tied in `model` (an embedding to the output
    layer) has a weight of its own in PEFT: it is untied here too, and `config.tie_word_embeddings` unset.

    Raises:
        AdapterFileError: the folder holds no whole PEFT LoRA adapter, it uses a feature that is not supported
            (named), it adapts a module that holds no projection, it lacks a module that it says to hold, or
            it does not fit the model.
        ValueError: the model is merged, or its architecture unknown.
    """
    return restore(model, adapter_of_peft(model, folder), name=os.fspath(folder), partial=True)


def adapter_of_peft(model: nn.Module, folder: str | os.PathLike[str]) -> AdapterFile:
    """The PEFT adapter in `folder` as this package keeps adapters of `model`, which stays as it is.

    Raises:
        AdapterFileError, ValueError: as `import_peft`.
    """
    file = read_peft(folder)
    config, places = file.settings, _places(model)
    factors: dict[tuple[int, str], Factors] = {}
    for path, given in file.shapes.items():
        if path not in places:
            raise AdapterFileError(
                f"{file.folder}: adapts {path}, which holds none of q k v o gate up down in this model"
            )
        place = places[path]
        if given != place.shape:
            raise AdapterFileError(
                f"{file.folder}: {path} is {given} in the file and {place.shape} in this model"
            )
        pairs = file.factors(path, place.rows)
        factors.update({(place.layer, letter): pair for letter, pair in pairs.items()})
    metadata = {
        "architecture": model_architecture(model).name,
        "targets": [letter for letter in LETTERS if any(letter == found for _, found in factors)],
        "scaling": "alpha/sqrt(r)" if config["use_rslora"] else "alpha/r",
        "bias": config["bias"],
        "dropout": config["lora_dropout"],
    }
    extra = file.extra()
    for name, _ in base_parameters(model, every_name=True):
        if name not in extra and (module := _module_to_save(name, config)):
            raise AdapterFileError(
                f"{file.folder}: {CONFIG} says that {module} was trained and saved, and {WEIGHTS} has no "
                f"{name}; save the adapter again with PEFT's save_pretrained"
            )
    return AdapterFile(factors, extra, metadata)


@dataclass(frozen=True)
class PeftFile:
    """A PEFT LoRA adapter on disk, read without a model and one module at a time.

    Attributes:
        folder: where it lies.
        settings: adapter_config.json, with PEFT's defaults for what it leaves out.
        shapes: (d_out, d_in) of each adapted module, by its path in the base model.
        ranks: r of each adapted module.
        path: the file of tensors.
    """

    folder: Path
    settings: dict[str, Any]
    shapes: dict[str, tuple[int, int]]
    ranks: dict[str, int]
    path: Path
    _pairs: dict[str, NamedPair]
    _extra: dict[str, str]  # parameter name -> key in the file

    def factors(self, module: str, rows: Mapping[str, Any]) -> dict[str, Factors]:
        """The pair of each letter that the module's dW acts on (of all where B is zero), in float32.

        Args:
            rows: for each letter that the module holds, which of its outputs are that letter's.
        """
        with open_tensors(self.path) as opened:
            A, B = (opened.get_tensor(self._pairs[module].keys[factor]) for factor in "AB")
        scaling = peft_scaling(self.settings, module, rank=len(A))
        return letter_factors(A, B, scaling, rows, self.settings["use_rslora"])

    def extra(self) -> dict[str, Tensor]:
        """The other trained tensors (task head, biases), by the base model's parameter names."""
        with open_tensors(self.path) as opened:
            return {name: opened.get_tensor(key) for name, key in self._extra.items()}


def read_peft(folder: str | os.PathLike[str]) -> PeftFile:
    """Open the PEFT adapter in `folder`: its settings and the names and shapes of its tensors are read.

    Raises:
        AdapterFileError: the folder holds no whole PEFT LoRA adapter, or it uses a feature that is not
            supported (named).
    """
    folder = Path(folder)
    settings = _read_config(folder / CONFIG)
    path = folder / WEIGHTS
    if not path.is_file() and (folder / PICKLED).is_file():
        path = folder / PICKLED
    shapes, pairs, extra = _read_names(path)
    sizes = {module: (shape.d_out, shape.d_in) for module, shape in shapes.items()}
    ranks = {module: shape.rank for module, shape in shapes.items()}
    try:
        for module, rank in ranks.items():
            peft_scaling(settings, module, rank)
    except ValueError as error:
        raise AdapterFileError(f"{path}: {error}") from None
    return PeftFile(folder, settings, sizes, ranks, path, pairs, extra)


def _fused(module: AdaptedModule) -> tuple[Float[Tensor, "r d_in"], Float[Tensor, "d_out r"], float]:
    """(A', B', lora_alpha') with the module's dW = lora_alpha' / r' * B' A'."""
    scalings = {adapter.scaling for _, adapter in module.items()}
    A, B = module.stacked(scaled=len(scalings) > 1)
    scaling = scalings.pop() if len(scalings) == 1 else 1.0
    alpha = scaling * len(A)
    A, B = (factor.detach().to("cpu", torch.float32, copy=True).contiguous() for factor in (A, B))
    return A, B, int(alpha) if alpha.is_integer() else alpha


def _patterns(sizes: Mapping[str, tuple[int, float]], every: Iterable[str]) -> dict[str, tuple[int, float]]:
    """Regular expressions for full module paths, and the (rank, alpha) of what each matches.

    One for all layers where they agree, else one a layer. Suffixes would not do: BERT's `output.dense` is one
    of `attention.output.dense`.

    Args:
        every: the paths of all modules that hold projections, adapted or not.
    """
    kinds: dict[str, list[str]] = defaultdict(list)
    for path in every:  # the layer's number is the first; T5 has others
        kinds[re.sub(r"\\\.\d+\\\.", r"\\.\\d+\\.", re.escape(path), count=1)].append(path)
    patterns = {}
    for kind, paths in kinds.items():
        found = {sizes.get(path) for path in paths}
        one = found.pop() if len(found) == 1 else None
        if one is not None:
            patterns[kind] = one
        else:
            patterns.update({re.escape(path): sizes[path] for path in paths if path in sizes})
    return patterns


def _task_type(model: nn.Module) -> str | None:
    name = type(model).__name__
    return next((task for ending, task in _TASK_TYPES.items() if name.endswith(ending)), None)


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise AdapterFileError(
            f"{path}: cannot be read ({error.strerror}); a PEFT adapter's folder has it"
        ) from None
    except ValueError as error:
        raise AdapterFileError(f"{path}: not a JSON file, or not a whole one ({error})") from None
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        kind = config.get("peft_type") if isinstance(config, dict) else None
        raise AdapterFileError(f"{path}: a PEFT adapter of type {kind!r}; only 'LORA' can be imported")
    for name, value in config.items():
        if name not in _HARMLESS and value:
            raise AdapterFileError(
                f"{path}: uses {name} = {value!r}, which is not supported; only plain LoRA is"
            )
    if config.get("init_lora_weights") not in _PLAIN_INITS:
        raise AdapterFileError(
            f"{path}: init_lora_weights = {config['init_lora_weights']!r} changes W0; save it with PEFT's "
            "path_initial_model_for_weight_conversion first"
        )
    defaults = {
        "lora_alpha": 8,
        "alpha_pattern": {},
        "use_rslora": False,
        "lora_dropout": 0.0,
        "bias": "none",
    }
    return defaults | {name: value for name, value in config.items() if value is not None}


def _read_names(
    path: Path,
) -> tuple[dict[str, PairShape], dict[str, NamedPair], dict[str, str]]:
    """The shape and the keys of each pair by module path; the other tensors' keys by parameter name."""
    try:
        with open_tensors(path) as opened:
            pairs, others = named_pairs(opened.keys())
            shapes = {
                module: pair_shape(pair, *(tuple(opened.get_slice(pair.keys[f]).get_shape()) for f in "AB"))
                for module, pair in pairs.items()
            }
    except ValueError as error:
        text = str(error)
        raise AdapterFileError(text if text.startswith(str(path)) else f"{path}: {text}") from None
    for module, pair in pairs.items():
        unusual = [pair.keys[role] for role in ("magnitude", "bias") if role in pair.keys]
        unusual += [pair.keys["A"]] * (pair.embedding or pair.writer != PEFT or bool(shapes[module].kernel))
        if unusual:
            raise AdapterFileError(
                f"{path}: holds {unusual[0]}, which is not supported; only plain lora_A and lora_B of linear "
                "modules are"
            )
    extra: dict[str, str] = {}
    wrapped: dict[str, str] = {}
    for key in others:
        name = key.removeprefix(ROOT)
        if match := re.fullmatch(r"(.+)\.modules_to_save\.(?:default\.)?(.+)", name):
            wrapped[f"{match[1]}.{match[2]}"] = key
        elif ".original_module." not in name:  # the base model's own, from before the training
            extra[name.replace(".base_layer.", ".")] = key
    # As it is in a live PEFT model; PEFT's own files have the plain name, and some biases under both.
    return shapes, pairs, wrapped | extra


def _module_to_save(parameter: str, config: Mapping[str, Any]) -> str | None:
    """The module around `parameter` that PEFT trains and saves whole, by its rule: the end of the path."""
    names = [*(config.get("modules_to_save") or ()), *_HEADS.get(config.get("task_type") or "", ())]
    parts = parameter.split(".")
    modules = [".".join(parts[:count]) for count in range(1, len(parts))]
    return next((module for module in modules if module.endswith(tuple(names))), None)


@dataclass(frozen=True)
class _Held:
    """What a module holds: the layer it is of, its (d_out, d_in), and the rows of each of its letters."""

    layer: int
    shape: tuple[int, ...]
    rows: dict[str, Any]


def _places(model: nn.Module) -> dict[str, _Held]:
    """The modules that hold projections, by path."""
    architecture, prefix = located(model)
    places: dict[str, _Held] = {}
    for layer, letter in projections(model):
        place, path = architecture.places[letter], architecture.module(prefix, layer, letter, model.config)
        if path not in places:
            stored = cast("Tensor", model.get_submodule(path).weight)
            places[path] = _Held(layer, tuple(stored.T.shape if place.transposed else stored.shape), {})
        places[path].rows[letter] = place.rows(model.config)
    return places


def letter_factors(
    A: Float[Tensor, "r d_in"],
    B: Float[Tensor, "d_out r"],
    scaling: float,
    rows: Mapping[str, Any],
    rslora: bool = False,
) -> dict[str, Factors]:
    """The pair of each letter that a module's dW acts on (of all where B is zero), in float32 or finer.

    Args:
        rows: for each letter that the module holds, which of its outputs are that letter's.
        rslora: scaling is alpha / sqrt(r), not alpha / r.
    """
    stored = A.dtype
    A, B = (factor if factor.dtype == torch.float64 else factor.float() for factor in (A, B))
    factors = {}
    for letter, own in _columns(B, rows).items():
        rank = int(own.sum())
        alpha = scaling * (math.sqrt(rank) if rslora else rank)
        factors[letter] = Factors(A[own], B[rows[letter]][:, own], rank, alpha, scaling, stored)
    return factors


def _columns(B: Tensor, rows: Mapping[str, Any]) -> dict[str, Tensor]:
    """Which columns of a module's B, and rows of its A, belong to each letter that its dW acts on."""
    every = torch.ones(B.shape[1], dtype=torch.bool)
    used = {letter: B[where].ne(0).any(dim=0) for letter, where in rows.items()}
    active = [letter for letter in used if used[letter].any()] or list(used)
    apart = len(used) > 1 and bool(B.any()) and int(torch.stack(list(used.values())).sum(dim=0).max()) <= 1
    return {letter: used[letter] if apart else every for letter in active}
