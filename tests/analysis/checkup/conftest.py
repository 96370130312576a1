"""Adapters on disk with planted truths."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file

ROOT = "base_model.model."


@pytest.fixture
def planted(tmp_path):
    """`planted({module: (B, A)}, lora_alpha=8)`: a folder of PEFT; without settings, without its config."""

    def write(pairs, folder="adapter", dtype=torch.float32, **settings):
        path = tmp_path / folder
        path.mkdir()
        tensors = {}
        for module, (B, A) in pairs.items():
            tensors[f"{ROOT}{module}.lora_A.weight"] = A.to(dtype).contiguous()
            tensors[f"{ROOT}{module}.lora_B.weight"] = B.to(dtype).contiguous()
        save_file(tensors, path / "adapter_model.safetensors")
        if settings:
            config = {"peft_type": "LORA", "target_modules": [*pairs], **settings}
            (path / "adapter_config.json").write_text(json.dumps(config))
        return path

    return write
