"""Another task on a model that is loaded: its adapter is swapped for that task's (paper, section 4.2).

    model = lora.load(base, "one.safetensors")
    lora.switch(model, "other.safetensors")  # other ranks, other projections, merged or not

Of the base nothing is read or copied anew: what a switch costs is the adapter's own size, and of a merged
model one sum W0 + dW for each adapted weight.
"""

import os
from pathlib import Path

from lora.adapting import Model, adaptation, remove
from lora.merging import merge, unmerge
from lora.peft import adapter_of_peft
from lora.saving import AdapterFile, AdapterFileError, check_fits, put, read


def switch(model: Model, adapter: str | os.PathLike[str] | AdapterFile) -> Model:
    """Put another adapter in the place of the one that `model` has, in place.

    The outputs are then those of the base with that adapter alone.  Its projections, ranks, scales, dropout
    and start (PiSSA, OLoRA, DoRA) may be others; a merged model is merged with it, from W0 as it was.

    Args:
        model: adapted.
        adapter: a file of `lora.save`, the folder of a PEFT adapter, or what `lora.read` gives, so that
            several can be kept in memory.

    Returns:
        The same model.

    Raises:
        AdapterFileError: it is no adapter for this model: another architecture, other shapes, values that are
            not finite, or it lacks a task head or a bias that the present one has trained, whose former
            values are not kept.  The model is then as it was.
        ValueError: the model is not adapted; or it is merged, and a merged weight would not be finite: then
            the new adapter is in place and not merged.
    """
    name = "adapter" if isinstance(adapter, AdapterFile) else os.fspath(adapter)
    merged = adaptation(model).merged is not None
    if isinstance(adapter, AdapterFile):
        file = adapter
    else:
        file = adapter_of_peft(model, name) if Path(name).is_dir() else read(name)
    check_fits(model, file, name, ranks=False)
    _check_finite(file, name)
    if merged:
        unmerge(model)
    put(remove(model), file)
    return merge(model) if merged else model


def _check_finite(file: AdapterFile, name: str) -> None:
    held = dict(file.extra)
    for (layer, letter), pair in file.factors.items():
        held |= {f"{leaf} of W_{letter} of layer {layer}": tensor for leaf, tensor in pair.tensors.items()}
    for what, tensor in held.items():
        if not tensor.isfinite().all():
            raise AdapterFileError(f"{name}: {what} holds NaN or infinity; did the training diverge?")
