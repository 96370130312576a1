"""Which parameters LoRA trains, and a state dict of just those."""

from __future__ import annotations

from collections.abc import Collection

from torch import Tensor, nn

BIAS_MODES = ("none", "lora_only", "all")


def mark_only_lora_as_trainable(model: nn.Module, bias: str = "none") -> None:
    """Freeze all but the LoRA factors (parameters with "lora_" in their name) and the biases of `bias`.

    The factors are left as they are, as loralib leaves them: one that was frozen stays frozen. A second call
    takes back the biases that the first made trainable.

    Args:
        model: any module; changed in place.
        bias: "none" of the biases are trained, "lora_only" those that stand beside LoRA factors, or "all".

    Raises:
        ValueError: if `bias` is none of these.
    """
    parameters = dict(model.named_parameters(remove_duplicate=False))
    trained = _trained_names(parameters, bias)
    factors = {id(parameter) for name, parameter in parameters.items() if "lora_" in name}
    biases = {id(parameters[name]) for name in trained}
    for parameter in parameters.values():
        if id(parameter) not in factors:
            parameter.requires_grad_(id(parameter) in biases)


def lora_state_dict(model: nn.Module, bias: str = "none") -> dict[str, Tensor]:
    """The part of `model.state_dict()` that LoRA trains: the factors, and the biases that `bias` names.

    Load it with `load_state_dict(..., strict=False)`. The factors are as trained, also from a merged model.

    Raises:
        ValueError: if `bias` is not "none", "lora_only" or "all".
    """
    # Not from the state dict's keys: a buffer may be called "bias" too (GPT-2's causal mask once was).
    names = _trained_names(dict(model.named_parameters(remove_duplicate=False)), bias)
    return {key: value for key, value in model.state_dict().items() if key in names}


def _trained_names(names: Collection[str], bias: str) -> set[str]:
    if bias not in BIAS_MODES:
        raise ValueError(f"bias={bias!r} is not one of {', '.join(map(repr, BIAS_MODES))}")
    factors = {name for name in names if "lora_" in name}
    if bias == "none":
        return factors
    if bias == "all":
        return factors | {name for name in names if "bias" in name.rpartition(".")[2]}
    beside = {name.rpartition("lora_")[0] + "bias" for name in factors}
    return factors | beside.intersection(names)
