"""loralib's interface (0.1.2): `import lora.loralib as lora` in place of `import loralib as lora`.

The names of its modules `layers` and `utils` are in the modules of these names, and all of them here.
"""

from lora.loralib import layers, utils
from lora.loralib.layers import Conv1d, Conv2d, Conv3d, ConvLoRA, Embedding, Linear, LoRALayer, MergedLinear
from lora.loralib.utils import lora_state_dict, mark_only_lora_as_trainable

__all__ = [
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvLoRA",
    "Embedding",
    "Linear",
    "LoRALayer",
    "MergedLinear",
    "layers",
    "lora_state_dict",
    "mark_only_lora_as_trainable",
    "utils",
]
