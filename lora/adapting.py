"""Adapting a Hugging Face model in place, and asking a model what it holds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lora.adapter import (
    INITS,
    RANDOM_INITS,
    AdaptedModule,
    Adapter,
    factors_of_weight,
    initial_factors,
    is_conv1d,
)
from lora.architectures import Architecture, architecture_of
from lora.targets import LETTERS, parse_ranks, parse_targets, scaling_value

Model = TypeVar("Model", bound=nn.Module)

TRAINED = ("both", "A", "B")
"""The factors that are trained; the other one stays as it was drawn."""

BIASES = ("none", "lora_only", "all")
"""The biases trained beside the factors: none, those of the adapted modules, all of the model's."""


@dataclass
class Merged:
    """What stands aside while a model is merged, outside its module tree.

    Attributes:
        modules: the adapted modules by path; their `base` is the module now in the model.
        weights: W0 of each, the very tensor, so that it comes back bit for bit.
    """

    modules: dict[str, AdaptedModule]
    weights: dict[str, Tensor]


@dataclass
class Adaptation:
    """What was done to a model, kept as its attribute `lora_adaptation` (deepcopy and pickle take it along).

    Attributes:
        scaling: the rule, one of `lora.targets.SCALINGS`.
        bias: one of `BIASES`.
        dropout: probability of dropping an input of the factors.
        trained: the base model's parameters that are trained too (task head, biases), by the base's own
            names.
        thawed: the base model's parameters that were trainable before.
        merged: what `lora.merge` put aside; None while the adapters are in place.
    """

    scaling: str
    bias: str
    dropout: float
    trained: tuple[str, ...]
    thawed: tuple[str, ...]
    merged: Merged | None = None


def adapt(
    model: Model,
    targets: str | Iterable[str] = "qv",
    rank: int | Mapping[str, int] = 8,
    alpha: float = 8.0,
    *,
    seed: int = 0,
    scaling: str = "alpha/r",
    init: str = "gaussian",
    dora: bool = False,
    train: str = "both",
    dropout: float = 0.0,
    bias: str = "none",
) -> Model:
    """Freeze `model` and put one pair (A, B) on each target projection of each layer, in place.

    h = W0 x + scaling * B A x (paper, eq. 3), with A random and B zero, so that the outputs do not change
    until the first step. What is trained: the factors, the biases chosen by `bias`, and the task head of a
    classification model (`Architecture.heads`), which is new and not pretrained. The factors are float32
    (float64 if W0 is), on W0's device.

    Args:
        model: a Hugging Face model whose type is in `lora.architectures.ARCHITECTURES`.
        targets: any of q k v o gate up down: "qv", "q,up", ["q", "up"]; of T5 in all its stacks.
        rank: r, for all targets or by letter.
        alpha: numerator of the scale.
        seed: of A; each projection draws from its own generator, made from (seed, layer, letter, rank).
        scaling: "alpha/r", "1/r" or "alpha/sqrt(r)".
        init: "gaussian" or "kaiming", of equal variance; "pissa" or "olora", where A and B are parts of W0 at
            the start (`lora.adapter.factors_of_weight`), and dW = scaling * (B A - B0 A0), of rank 2 r.
        dora: train the norms of the rows of W, too (DoRA); dW is then of full rank.
        train: "both"; "B" leaves A as it is drawn, "A" draws B as A would be of the transposed W and leaves
            it so, with A zero (arXiv 2402.16842). With pissa and olora what is not trained is a part of W0.
        dropout: probability of dropping an input of the factors, in training.
        bias: "none", "lora_only" (biases of the adapted modules) or "all".

    Returns:
        The same model.

    Raises:
        ValueError: an argument is not valid, a rank is above min(d_out, d_in) of its projection, the
            architecture is unknown, or the model is adapted already. The model is then as it was.
    """
    letters = parse_targets(targets)
    ranks = parse_ranks(rank, letters)
    scalings = {letter: scaling_value(scaling, alpha, ranks[letter]) for letter in letters}
    if train not in TRAINED:
        raise ValueError(f"train: {train!r} is unknown; valid are {', '.join(TRAINED)}")
    if init not in INITS:
        raise ValueError(f"init: {init!r} is unknown; valid are {', '.join(INITS)}")
    _check_adaptable(model)
    at = architecture, _ = located(model)
    for letter in letters:
        if letter not in architecture.places:
            raise ValueError(
                f"targets: a {architecture.name} model has no {letter}; it has "
                f"{' '.join(architecture.places)}"
            )
    pairs: dict[tuple[int, str], Adapter] = {}
    for layer, letter in projections(model):
        if letter not in letters:
            continue
        weight = present_projection(model, layer, letter, at)
        d_out, d_in = weight.shape
        if ranks[letter] > min(d_out, d_in):
            raise ValueError(
                f"rank: {ranks[letter]} is too large for W_{letter} of "
                f"{architecture.layer_name(layer, _config(model))}, which is ({d_out}, {d_in}); "
                f"at most {min(d_out, d_in)} is possible"
            )
        scale = scalings[letter]
        start = None
        if init in RANDOM_INITS:
            shape = (d_in, d_out) if train == "A" else (d_out, d_in)
            A, B = initial_factors(shape, ranks[letter], init, seed=seed, layer=layer, letter=letter)
            if train == "A":
                A, B = B.T.contiguous(), A.T.contiguous()
        else:
            start = factors_of_weight(weight, ranks[letter], init, scale)
            A, B = (factor.clone() for factor in start)
        norms = weight.to(torch.promote_types(weight.dtype, torch.float32)).norm(dim=1) if dora else None
        adapter = Adapter(A, B, alpha, scale, start=start, magnitude=norms)
        adapter.lora_A.requires_grad_(train != "B")
        adapter.lora_B.requires_grad_(train != "A")
        pairs[layer, letter] = adapter
    return install(model, pairs, scaling=scaling, dropout=dropout, bias=bias)


def install(
    model: Model,
    pairs: Mapping[tuple[int, str], Adapter],
    *,
    scaling: str,
    dropout: float = 0.0,
    bias: str = "none",
) -> Model:
    """Freeze `model` and put ready adapters beside its projections, in place.

    Args:
        pairs: the adapters, by (layer from 0, letter).
        scaling: the rule that their scale was made by.
        dropout, bias: as in `adapt`.

    Raises:
        ValueError: as `adapt`.
    """
    _check_adaptable(model)
    if not isinstance(dropout, int | float) or not 0 <= dropout < 1:
        raise ValueError(f"dropout: {dropout!r} is not valid; it is a probability, from 0 to below 1")
    if bias not in BIASES:
        raise ValueError(f"bias: {bias!r} is unknown; valid are {', '.join(BIASES)}")
    at = architecture, prefix = located(model)
    held: dict[tuple[int, str], dict[str, Adapter]] = defaultdict(dict)
    for (layer, letter), adapter in pairs.items():
        weight = present_projection(model, layer, letter, at)
        adapter.to(weight.device, torch.promote_types(weight.dtype, torch.float32))
        held[layer, architecture.module(prefix, layer, letter, _config(model))][letter] = adapter
    places: dict[tuple[nn.Module, str], str] = {}
    for _, path in held:
        owner, _, leaf = path.rpartition(".")
        first = places.setdefault((model.get_submodule(owner), leaf), path)
        if first != path:
            raise ValueError(
                f"adapt: {first} and {path} are one module, which cannot have two adapters; "
                "make one of the layers a copy first (copy.deepcopy)"
            )

    thawed = tuple(name for name, parameter in base_parameters(model) if parameter.requires_grad)
    trained = tuple(_trained_names(model, bias, {path for _, path in held}))
    for name, parameter in base_parameters(model):
        parameter.requires_grad_(name in trained)
    for (layer, path), adapters_here in held.items():
        rows = {letter: architecture.places[letter].rows(_config(model)) for letter in adapters_here}
        base = model.get_submodule(path)
        model.set_submodule(path, AdaptedModule(base, adapters_here, rows, layer=layer, dropout=dropout))
    model.lora_adaptation = Adaptation(scaling, bias, float(dropout), trained, thawed)  # type: ignore[assignment]
    return model


def remove(model: Model) -> Model:
    """Put the original modules back, without adapters, and make trainable what was trainable before.

    W0 is untouched. A task head and biases that were trained keep their trained values.

    Raises:
        ValueError: the model is not adapted, or it is merged.
    """
    state = adaptation(model)
    if state.merged is not None:
        raise ValueError("remove: the model is merged; call lora.unmerge(model) first")
    for path, module in wrapped(model).items():
        model.set_submodule(path, module.base)
    for name, parameter in base_parameters(model):
        parameter.requires_grad_(name in state.thawed)
    del model.lora_adaptation
    return model


def adapters(model: nn.Module) -> dict[tuple[int, str], Adapter]:
    """The model's adapters by (layer from 0, letter), each layer's in the order q k v o gate up down.

    Empty for a bare model. A merged model's are those that were put aside.
    """
    found = {(m.layer, letter): adapter for m in wrapped(model).values() for letter, adapter in m.items()}
    return {key: found[key] for key in sorted(found, key=lambda key: (key[0], LETTERS.index(key[1])))}


def projection(model: nn.Module, layer: int, letter: str) -> Float[Tensor, "d_out d_in"]:
    """The frozen W0 of one projection, output rows first, cut out of a fused weight.

    A view of the model's parameter where the rows lie together (do not write to it), else a copy; without
    gradient.

    Args:
        model: adapted or not.
        layer: from 0; T5's decoder counts on from its encoder, and its cross attentions from the decoder.
        letter: one of q k v o gate up down.

    Raises:
        ValueError: no such layer or letter, an unknown architecture, or the model is merged: its weight is
            W0 + dW then.
    """
    state = getattr(model, "lora_adaptation", None)
    if state is not None and state.merged is not None:
        raise ValueError("projection: the model is merged (its weight is W0 + dW); unmerge it first")
    return present_projection(model, layer, letter)


def present_projection(
    model: nn.Module, layer: int, letter: str, at: tuple[Architecture, str] | None = None
) -> Float[Tensor, "d_out d_in"]:
    """As `projection`, of a merged model too, where it is W0 + dW.

    Args:
        at: `located(model)`, which looks through the whole model, for who asks many times.
    """
    architecture, prefix = at or located(model)
    path = architecture.module(prefix, layer, letter, _config(model))
    place = architecture.places[letter]
    module = model.get_submodule(path)
    if isinstance(module, AdaptedModule):
        module = module.base
    if not (is_conv1d(module) if place.transposed else isinstance(module, nn.Linear)):
        expected = "transformers.pytorch_utils.Conv1D" if place.transposed else "torch.nn.Linear"
        found = f"{type(module).__module__}.{type(module).__qualname__}"
        raise ValueError(
            f"{path} is a {found}, not a {expected}: another library has adapted "
            "or quantised it; give the plain model (PEFT's model.unload() or model.merge_and_unload())"
        )
    weight = module.weight
    assert isinstance(weight, Tensor)
    if not weight.is_floating_point():
        raise ValueError(f"{path}.weight is {weight.dtype}, quantised; load the model in bfloat16 instead")
    return place.take(weight.detach(), _config(model))


def parameter_counts(model: nn.Module) -> dict[str, int]:
    """Numbers of parameters, the task head apart from the adapters (the paper's figures leave it out).

    Returns:
        adapter: the factors. head: the task head. bias: trained biases outside the head. total: all, factors
        included. trainable: those that an optimizer would be given (of a merged model: after `unmerge`).
    """
    factors = [p for adapter in adapters(model).values() for p in adapter.parameters()]
    base = dict(base_parameters(model))
    heads = set(head_names(model))
    biases = [p for name, p in base.items() if _is_bias(name) and name not in heads]
    everything = [*factors, *base.values()]
    return {
        "adapter": sum(p.numel() for p in factors),
        "head": sum(base[name].numel() for name in heads),
        "bias": sum(p.numel() for p in biases if p.requires_grad),
        "total": sum(p.numel() for p in everything),
        "trainable": sum(p.numel() for p in everything if p.requires_grad),
    }


def adaptation(model: nn.Module) -> Adaptation:
    """What was done to the model.

    Raises:
        ValueError: it is not adapted.
    """
    state = getattr(model, "lora_adaptation", None)
    if state is None:
        raise ValueError(
            f"this {type(model).__name__} is not adapted; call lora.adapt(model) or lora.load(model, path)"
        )
    return state


def wrapped(model: nn.Module) -> dict[str, AdaptedModule]:
    """The adapted modules by path, those of a merged model being the ones put aside."""
    state = getattr(model, "lora_adaptation", None)
    if state is not None and state.merged is not None:
        return dict(state.merged.modules)
    return {path: module for path, module in model.named_modules() if isinstance(module, AdaptedModule)}


def base_parameters(model: nn.Module, *, every_name: bool = False) -> Iterator[tuple[str, nn.Parameter]]:
    """The base model's parameters under the names they have without adapters.

    Args:
        every_name: give a tied parameter under each of its names, not under the first alone.
    """
    owners = dict(model.named_modules(remove_duplicate=not every_name))
    for name, parameter in model.named_parameters(remove_duplicate=not every_name):
        owner, _, leaf = name.rpartition(".")
        if isinstance(owners[owner], Adapter):
            continue
        if owner.endswith(".base") and isinstance(owners[owner.removesuffix(".base")], AdaptedModule):
            owner = owner.removesuffix(".base")
        yield (f"{owner}.{leaf}" if owner else leaf), parameter


def tied_names(model: nn.Module) -> list[list[str]]:
    """The names of each tied parameter of the base model, in order."""
    names: dict[int, list[str]] = defaultdict(list)
    for name, parameter in base_parameters(model, every_name=True):
        names[id(parameter)].append(name)
    return [group for group in names.values() if len(group) > 1]


def model_architecture(model: nn.Module) -> Architecture:
    """The table's entry for this model; a ValueError where there is none."""
    names = (name for name, module in model.named_modules() if getattr(module, "weight", None) is not None)
    return architecture_of(_config(model), names)


def projections(model: nn.Module) -> Iterator[tuple[int, str]]:
    """(layer from 0, letter) of every projection, in order."""
    architecture, config = model_architecture(model), _config(model)
    for layer in range(architecture.layer_count(config)):
        yield from ((layer, letter) for letter in architecture.located(layer, config)[0].places)


def located(model: nn.Module) -> tuple[Architecture, str]:
    """The table's entry for this model and the prefix of its names; a ValueError where there is none."""
    architecture = model_architecture(model)
    return architecture, architecture.prefix(name for name, _ in model.named_modules())


def _config(model: nn.Module) -> Any:
    return getattr(model, "config", None)


def _check_adaptable(model: nn.Module) -> None:
    model_architecture(model)
    if getattr(model, "lora_adaptation", None) is not None:
        raise ValueError("adapt: the model is adapted already; call lora.remove(model) first")


def _trained_names(model: nn.Module, bias: str, paths: set[str]) -> Iterator[str]:
    heads = set(head_names(model))
    for name, _ in base_parameters(model):
        of_adapted_module = name.rpartition(".")[0] in paths
        if name in heads or (
            _is_bias(name) and (bias == "all" or (bias == "lora_only" and of_adapted_module))
        ):
            yield name


def head_names(model: nn.Module) -> Iterator[str]:
    """The parameters of the task head; a causal or masked language model has none."""
    heads = model_architecture(model).heads
    return (name for name, _ in base_parameters(model) if name.split(".")[0] in heads)


def _is_bias(name: str) -> bool:
    return name.split(".")[-1] == "bias"
