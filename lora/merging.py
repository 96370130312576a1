"""Folding adapters into the weights, and undoing it exactly (paper, section 4.1: no extra latency)."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from lora.adapter import AdaptedModule
from lora.adapting import Merged, Model, adaptation, tied_names, wrapped


def merge(model: Model) -> Model:
    """Add dW (scaling * B A) to each adapted weight and put the original modules back, in place.

    The merged model has exactly the base's modules, parameter names and cost. The sum is formed in float32
    (float64 if W0 is) and rounded once to W0's dtype. W0 and the adapters are kept on the model, so it holds
    the adapted weights twice until `unmerge`; later changes of the merged weights are lost then.

    Raises:
        ValueError: the model is not adapted, or merged already, or an adapted weight is tied to another
            module's, which would get W0 + dW too, or a merged weight would not be finite; the model is then
            as it was.
    """
    state = adaptation(model)
    if state.merged is not None:
        raise ValueError("merge: the model is merged already; call lora.unmerge(model) first")
    modules = wrapped(model)
    for names in tied_names(model):
        if adapted := [name for name in names if name.removesuffix(".weight") in modules]:
            other = next(name for name in names if name != adapted[0])
            raise ValueError(
                f"merge: {adapted[0]} and {other} are one parameter, and a merge would change both; "
                "give each a copy first (torch.nn.Parameter(weight.detach().clone()))"
            )
    sums = {path: _merged_weight(module, path) for path, module in modules.items()}
    weights = {}
    for path, module in modules.items():
        weights[path] = module.weight.data
        module.weight.data = sums[path]
        model.set_submodule(path, module.base)
    state.merged = Merged(modules, weights)
    return model


def unmerge(model: Model) -> Model:
    """Undo `merge`, in place: W0 is bit for bit what it was, and the adapters are in their places.

    A model that was moved or converted while merged gets W0 on the weights' present device and dtype.

    Raises:
        ValueError: the model is not adapted, or not merged.
    """
    state = adaptation(model)
    if state.merged is None:
        raise ValueError("unmerge: the model is not merged; call lora.merge(model) first")
    for path, module in state.merged.modules.items():
        weight = module.weight
        weight.data = state.merged.weights[path].to(weight.device, weight.dtype)
        module.to(weight.device)
        module.train(module.base.training)
        model.set_submodule(path, module)
    state.merged = None
    return model


@contextmanager
def merged(model: Model) -> Iterator[Model]:
    """`with lora.merged(model): ...` merges for the block, and unmerges after it.

    A model that is merged already stays merged after the block.
    """
    already = adaptation(model).merged is not None
    if not already:
        merge(model)
    try:
        yield model
    finally:
        if not already:
            unmerge(model)


@torch.no_grad()
def _merged_weight(module: AdaptedModule, path: str) -> Tensor:
    stored = module.weight
    total = stored.detach().to(torch.promote_types(stored.dtype, torch.float32), copy=True)
    oriented = total.T if module.transposed else total
    for letter, _ in module.items():
        oriented[module.rows(letter)] += module.update(letter).to(total.dtype)
    total = total.to(stored.dtype)
    if not total.isfinite().all():
        raise ValueError(
            f"merge: W0 + dW of {path} has values that are not finite; did the training diverge?"
        )
    return total
