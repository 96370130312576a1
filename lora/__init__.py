"""LoRA (Hu et al., arXiv 2106.09685) on torch alone.

    import lora

    lora.adapt(model, targets="qv", rank=8)      # freeze the model, add (A, B) to W_q and W_v of every layer
    ...                                          # train
    lora.save(model, "adapter.safetensors")

Names are resolved on first use, so that `import lora` and `import lora.targets` do not import torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lora.adapter import Adapter
    from lora.adapting import adapt, adapters, parameter_counts, projection, remove
    from lora.loralib.layers import (
        Conv1d,
        Conv2d,
        Conv3d,
        ConvLoRA,
        Embedding,
        Linear,
        LoRALayer,
        MergedLinear,
    )
    from lora.loralib.utils import lora_state_dict, mark_only_lora_as_trainable
    from lora.merging import merge, merged, unmerge
    from lora.peft import PeftFile, export_peft, import_peft, read_peft
    from lora.saving import AdapterFile, AdapterFileError, Factors, load, read, save
    from lora.switching import switch
    from lora.truncation import truncate

__all__ = [
    "Adapter",
    "AdapterFile",
    "AdapterFileError",
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvLoRA",
    "Embedding",
    "Factors",
    "Linear",
    "LoRALayer",
    "MergedLinear",
    "PeftFile",
    "adapt",
    "adapters",
    "export_peft",
    "import_peft",
    "load",
    "lora_state_dict",
    "mark_only_lora_as_trainable",
    "merge",
    "merged",
    "parameter_counts",
    "projection",
    "read",
    "read_peft",
    "remove",
    "save",
    "switch",
    "truncate",
    "unmerge",
]

_HOME = {
    "Adapter": "lora.adapter",
    **dict.fromkeys(("adapt", "adapters", "parameter_counts", "projection", "remove"), "lora.adapting"),
    **dict.fromkeys(("Conv1d", "Conv2d", "Conv3d", "ConvLoRA"), "lora.loralib.layers"),
    **dict.fromkeys(("Embedding", "Linear", "LoRALayer", "MergedLinear"), "lora.loralib.layers"),
    **dict.fromkeys(("lora_state_dict", "mark_only_lora_as_trainable"), "lora.loralib.utils"),
    **dict.fromkeys(("merge", "merged", "unmerge"), "lora.merging"),
    **dict.fromkeys(("PeftFile", "export_peft", "import_peft", "read_peft"), "lora.peft"),
    **dict.fromkeys(("AdapterFile", "AdapterFileError", "Factors", "load", "read", "save"), "lora.saving"),
    "switch": "lora.switching",
    "truncate": "lora.truncation",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'lora' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
