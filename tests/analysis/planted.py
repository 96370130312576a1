"""A study with known factors over a known base model: no training, no model is ever built."""

from __future__ import annotations

import hashlib
import json
import zlib
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import lora.saving
from experiments.store import ADAPTER, ADAPTER_BEST, ADAPTER_INIT, DELTA, DELTA_BEST, RunFolder

D, LAYERS = 72, 5
SHAPES = {"q": (D, D), "k": (D, D), "v": (D, D), "up": (4 * D, D)}
STUDY = "planted"


def generator(*words) -> torch.Generator:
    return torch.Generator().manual_seed(zlib.crc32(repr(words).encode()))


def write_base(folder: Path, name: str = "W") -> dict[tuple[int, str], torch.Tensor]:
    """A GPT-2 checkpoint of random weights with decaying spectra; W by (layer, letter), (d_out, d_in).

    Another name gives other weights.
    """
    folder.mkdir(parents=True)
    weights, tensors = {}, {}
    for layer in range(LAYERS):
        for letter, (d_out, d_in) in SHAPES.items():
            draw = torch.randn(d_out, d_in, generator=generator(name, layer, letter), dtype=torch.float64)
            U, S, Vh = torch.linalg.svd(draw, full_matrices=False)
            weights[layer, letter] = (U * (S * 0.9 ** torch.arange(len(S)))) @ Vh
        fused = torch.cat([weights[layer, letter].T for letter in "qkv"], dim=1)
        tensors[f"transformer.h.{layer}.attn.c_attn.weight"] = fused.float().contiguous()
        tensors[f"transformer.h.{layer}.mlp.c_fc.weight"] = weights[layer, "up"].T.float().contiguous()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = {"model_type": "gpt2", "n_embd": D, "n_layer": LAYERS, "n_head": 4}
    config |= {"architectures": ["GPT2LMHeadModel"]}
    (folder / "config.json").write_text(json.dumps(config))
    return {key: W.float().double() for key, W in weights.items()}


def factors(layer: int, letter: str, rank: int, seed: int) -> lora.saving.Factors:
    """A is noise and one direction that all runs share; in the last layer B is 0."""
    d_out, d_in = SHAPES[letter]
    shared = torch.randn(d_in, generator=generator("shared", layer, letter))
    drawn = generator(layer, letter, rank, seed)
    A = torch.randn(rank, d_in, generator=drawn)
    A += 3 * torch.randn(rank, 1, generator=drawn) * shared
    B = torch.randn(d_out, rank, generator=drawn) * (layer < LAYERS - 1)
    return lora.saving.Factors(A=A, B=B, rank=rank, alpha=8.0, scaling=8.0 / rank)


def delta(layer: int, letter: str, seed: int) -> torch.Tensor:
    return torch.randn(SHAPES[letter], generator=generator("full", layer, letter, seed))


def write_run(
    root: Path,
    base: Path,
    rank: int | None,
    seed: int,
    letters: tuple[str, ...] = ("q", "v"),
    task: str = "sql",
    lr: float = 0.02,
    study: str = STUDY,
) -> RunFolder:
    """A finished LoRA run, or one of full fine-tuning where the rank is None."""
    targets = ("" if all(len(letter) == 1 for letter in letters) else "-").join(letters)
    method = "full" if rank is None else "lora"
    config = {"science_version": 1, "model": {"identity": "files:0123", "max_length": None}}
    config |= {"task": {"name": task, "seed": 0, "identity": "generated:4567"}, "method": method}
    config |= {"targets": targets, "seed": seed, "lr": lr}
    keys = [(layer, letter) for layer in range(LAYERS) for letter in letters]
    name = f"{task}-{targets}-{method}-r{rank}-lr{lr:g}-seed{seed}"
    folder = RunFolder.of(root, study, name, hashlib.sha256(repr((rank, config)).encode()).hexdigest()[:10])
    size = 0
    with folder.lock():
        workspace = folder.begin()
        if rank is None:
            tensors = {f"layers.{layer}.{letter}.dW": delta(layer, letter, seed) for layer, letter in keys}
            for file in (DELTA, DELTA_BEST):
                save_file(tensors, workspace.file(file), metadata={"format": "lora-delta", "version": "1"})
        else:
            config |= {"rank": dict.fromkeys(letters, rank), "alpha": 8.0, "scaling": "alpha/r"}
            pairs = {key: factors(*key, rank, seed) for key in keys}
            other = {key: factors(*key, rank, seed + 1000) for key in keys}
            metadata = {"architecture": "gpt2", "targets": list(letters), "scaling": "alpha/r"}
            metadata |= {"bias": "none", "dropout": 0.0}
            for file, held in ((ADAPTER, pairs), (ADAPTER_BEST, other), (ADAPTER_INIT, other)):
                lora.saving.write(lora.saving.AdapterFile(held, {}, metadata), workspace.file(file))
            size = sum(pair.A.numel() + pair.B.numel() for pair in pairs.values())
        scores = {"step": 10, "dev": {"accuracy": 0.5}, "test": {"accuracy": 0.5}}
        sha256 = hashlib.sha256((base / "model.safetensors").read_bytes()).hexdigest()
        record = {"name": name, "study": study, "config": config, "metric": "accuracy"}
        record |= {"metrics": {"last": scores, "best": scores}, "timing": {"seconds": 1.0}}
        record |= {"parameters": {"adapter": size, "head": 0, "bias": 0, "total": 9, "trainable": size}}
        record |= {"model": {"name": str(base), "revision": None, "sha256": sha256}}
        folder.publish(workspace, record)
    return folder


def write_study(root: Path, base: Path) -> None:
    """Ranks 4, 8 and 64, two seeds each, a third at r = 64, and full fine-tuning."""
    for rank in (4, 8, 64, None):
        for seed in (0, 1):
            write_run(root, base, rank, seed)
    write_run(root, base, 64, 2)


@dataclass(frozen=True)
class Planted:
    """The study on disk, and its base's W by (layer, letter)."""

    root: Path
    base: Path
    weights: dict[tuple[int, str], torch.Tensor]

    def select(self, **options):
        from analysis.reading.study import Study
        from analysis.selection import Selection

        return Selection.of(Study.open(STUDY, self.root), **options)


@pytest.fixture(scope="session")
def planted(tmp_path_factory) -> Planted:
    folder = tmp_path_factory.mktemp("planted")
    weights = write_base(folder / "base")
    write_study(folder / "outputs", folder / "base")
    return Planted(folder / "outputs", folder / "base", weights)


def of_the_hub(folder, commit, name="org/tiny"):
    """The run as it would be if its model were from the hub, of which no sha256 is recorded."""
    record = json.loads(folder.file("run.json").read_text())
    record["model"] = {"name": name, "revision": commit, "sha256": None}
    folder.file("run.json").write_text(json.dumps(record))


@pytest.fixture
def two_rates(planted, tmp_path):
    """LoRA at two learning rates, and full fine-tuning at two others, seeds 0 and 1 each."""
    from analysis.reading.study import Study

    for seed in (0, 1):
        for rate in (0.02, 0.5):
            write_run(tmp_path, planted.base, 8, seed, lr=rate)
        for rate in (1e-3, 1e-5):
            write_run(tmp_path, planted.base, None, seed, lr=rate)
    return Study.open(STUDY, tmp_path)
