"""What a run trains: LoRA's factors, every weight, the biases alone or nothing; and how that is stored."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch

import lora
from experiments.config import RunConfig
from experiments.errors import UserError
from experiments.store import ADAPTER, ADAPTER_BEST, ADAPTER_INIT, DELTA, DELTA_BEST, RunFolder
from lora.architectures import architecture_of
from lora.files import safetensors_bytes, write_atomically

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def prepare(base: PreTrainedModel, config: RunConfig) -> PreTrainedModel:
    """A copy of the base model with what `config.method` trains set trainable, and a fresh task head.

    Raises UserError where rank or targets do not fit the model.
    """
    model = copy.deepcopy(base)
    _draw_heads(model, config.seed)
    if config.method == "full":
        model.requires_grad_(True)
        return model
    if config.method == "none":
        model.requires_grad_(False)
        return model
    if config.method == "bias":
        model.requires_grad_(False)
        heads = set(_head_parameters(model))
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name.endswith("bias") or name in heads)
        return model
    try:
        return lora.adapt(
            model,
            targets=config.targets,
            rank=config.rank,
            alpha=config.alpha,
            seed=config.seed,
            scaling=config.scaling,
            init=config.init,
            dropout=config.dropout,
            bias=config.bias,
        )
    except ValueError as error:
        raise UserError(str(error)) from error


def save_initial(model: PreTrainedModel, config: RunConfig, folder: RunFolder) -> None:
    if config.method == "lora":
        lora.save(model, folder.file(ADAPTER_INIT))


def save_trained(
    model: PreTrainedModel, base: PreTrainedModel, config: RunConfig, folder: RunFolder, best: bool
) -> None:
    """LoRA: the factors.  Full: dW of each target projection, in float32.  Bias: the biases and the head."""
    if config.method == "lora":
        lora.save(model, folder.file(ADAPTER_BEST if best else ADAPTER))
    elif config.method != "none":
        tensors = dict(_deltas(model, base, config) if config.method == "full" else _trained(model))
        metadata = {"format": "lora-delta" if config.method == "full" else "lora-bias", "version": "1"}
        file = folder.file(DELTA_BEST if best else DELTA)
        write_atomically(file, safetensors_bytes(tensors, metadata))  # the same bytes for the same run


def snapshot(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """Copies of all that is trained, on the CPU."""
    return {name: tensor.detach().cpu().clone() for name, tensor in _trainable(model)}


def restore(model: PreTrainedModel, state: dict[str, torch.Tensor]) -> None:
    with torch.no_grad():
        for name, parameter in _trainable(model):
            parameter.copy_(state[name])


def _trainable(model: PreTrainedModel) -> Iterator[tuple[str, torch.nn.Parameter]]:
    return ((name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad)


def _trained(model: PreTrainedModel) -> Iterator[tuple[str, torch.Tensor]]:
    return ((name, p.detach().cpu().float().contiguous()) for name, p in _trainable(model))


def _deltas(
    model: PreTrainedModel, base: PreTrainedModel, config: RunConfig
) -> Iterator[tuple[str, torch.Tensor]]:
    for layer in range(model.config.num_hidden_layers):
        for letter in config.targets:
            trained = lora.projection(model, layer, letter).detach().cpu().float()
            original = lora.projection(base, layer, letter).detach().cpu().float()
            yield f"layers.{layer}.{letter}.dW", (trained - original).contiguous()


def _draw_heads(model: PreTrainedModel, seed: int) -> None:
    """Give the task head, which is new, initial weights that depend on the run's seed alone."""
    names = architecture_of(model.config).heads
    state = torch.random.get_rng_state()
    torch.manual_seed(seed)
    for name, module in model.named_modules():
        if name.split(".")[0] in names:
            model._init_weights(module)
    torch.random.set_rng_state(state)


def _head_parameters(model: PreTrainedModel) -> Iterator[str]:
    names = architecture_of(model.config).heads
    return (name for name, _ in model.named_parameters() if name.split(".")[0] in names)


def counts(model: PreTrainedModel, config: RunConfig) -> dict[str, int]:
    """Parameters by what they are: the adapter, the task head, biases; trainable and total."""
    if config.method == "lora":
        return lora.parameter_counts(model)
    heads = set(_head_parameters(model))
    trainable = dict(_trainable(model))
    return {
        "adapter": 0,
        "head": sum(p.numel() for name, p in trainable.items() if name in heads),
        "bias": sum(
            p.numel() for name, p in trainable.items() if name.endswith("bias") and name not in heads
        ),
        "trainable": sum(p.numel() for p in trainable.values()),
        "total": sum(p.numel() for p in model.parameters()),
    }
