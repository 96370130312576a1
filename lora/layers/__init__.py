"""LoRA versions of torch's layers, drop-in for loralib's: same names, arguments and parameters.

Each is a subclass of the torch layer it stands for, so a checkpoint of the base model loads by its own keys
(`strict=False`), and an adapter after it.
"""

from lora.layers.conv import Conv1d, Conv2d, Conv3d
from lora.layers.embedding import Embedding
from lora.layers.linear import Linear
from lora.layers.lowrank import LoRALayer
from lora.layers.merged_linear import MergedLinear

__all__ = ["Conv1d", "Conv2d", "Conv3d", "Embedding", "Linear", "LoRALayer", "MergedLinear"]
