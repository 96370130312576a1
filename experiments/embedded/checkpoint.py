"""The committed weights of the embedded model: written once, checked by sha256 at every load."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.identity import file_sha256

if TYPE_CHECKING:
    from transformers import GPT2LMHeadModel, PreTrainedTokenizerFast

FOLDER = Path(__file__).parent / "weights"
WEIGHTS = "model.safetensors"
FILES = (WEIGHTS, "config.json", "tokenizer.json", "tokenizer_config.json")
MANIFEST = "manifest.json"


def write_checkpoint(
    model: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerFast, folder: Path, recipe: dict[str, Any]
) -> str:
    """Write weights (float16), config, tokenizer and a manifest; returns the sha256 of the weights file."""
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    shared = {"lm_head.weight"}  # tied to the token embedding
    tensors = {
        name: tensor.detach().to(torch.float16).contiguous()
        for name, tensor in model.state_dict().items()
        if name not in shared
    }
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    model.config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    digests = {name: file_sha256(folder / name) for name in FILES}
    manifest = {"sha256": digests, "recipe": recipe}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return digests[WEIGHTS]


def read_checkpoint(folder: Path = FOLDER) -> tuple[GPT2LMHeadModel, PreTrainedTokenizerFast]:
    """The model in float32 and its tokenizer.  Raises ValueError when a file is not the manifest's."""
    import torch
    from transformers import GPT2LMHeadModel, PreTrainedTokenizerFast

    verify(folder)
    # Plain matrix products: on a CPU the fused attention kernel takes a fifth longer for a whole step.
    model = GPT2LMHeadModel.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    return model, PreTrainedTokenizerFast.from_pretrained(folder)


def read_recipe(folder: Path = FOLDER) -> dict[str, Any]:
    """How the weights were made: the arguments of scripts/pretrain_embedded.py."""
    recipe: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["recipe"]
    return recipe


def verify(folder: Path = FOLDER) -> str:
    """The sha256 of the weights, after comparing every file with the manifest."""
    expected = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["sha256"]
    for name in FILES:
        found = file_sha256(folder / name)
        if found != expected[name]:
            raise ValueError(
                f"{folder / name} has sha256 {found[:12]}..., the manifest says {expected[name][:12]}...: "
                "the file is damaged; restore it with git or rebuild it with scripts/pretrain_embedded.py"
            )
    return str(expected[WEIGHTS])
