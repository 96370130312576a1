"""Studies on disk in which every claim's truth is planted: accuracies, and the directions of adapters.

No model is trained, and none is built.
"""

from __future__ import annotations

import functools
import hashlib
import json
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

import lora.saving
from experiments.store import ADAPTER, ADAPTER_BEST, ADAPTER_INIT, PREDICTIONS, RunFolder, write_jsonl

D, LAYERS, EXAMPLES = 136, 2, 1500  # twice 64 is less than D, so that seeds can be seen to share directions
STUDY = "claims"
SEEDS = (0, 1, 2, 3, 4)
CELLS = {
    "q": (1, 8),
    "k": (8,),
    "v": (8,),
    "o": (8,),
    "qv": (1, 4, 8, 64),
    "qkvo": (1, 2, 8),
}
"""All that the claims need, on a model with square weights."""


@dataclass(frozen=True)
class Truth:
    """What is planted.

    Attributes:
        accuracy: by (targets, rank); 0.7 for the rest.
        top_shared: r = 8 and r = 64 of a seed have the same first direction.
        rest_shared: and the same directions 2 to 8.
        seeds_share: how many directions all seeds have in common at r = 64, by letter.
        along: by rank, from which of W's singular directions dW of W_q lies along how many.
    """

    accuracy: dict[tuple[str, int], float] = field(default_factory=dict)
    top_shared: bool = True
    rest_shared: bool = False
    seeds_share: dict[str, int] = field(default_factory=lambda: {"q": 6, "v": 2})
    along: dict[int, tuple[int, int]] = field(default_factory=dict)


TRUE = Truth(
    accuracy={
        ("q", 1): 0.5,
        ("q", 8): 0.6,
        ("k", 8): 0.6,
        ("v", 8): 0.65,
        ("o", 8): 0.66,
        ("qv", 4): 0.75,
        ("qkvo", 2): 0.75,
    },
    along={4: (54, 4), 64: (8, 50)},
)
"""Every claim holds.  By W's spectrum the lift is 1.2 at r = 4 and 1.4 at r = 64; W's own is 20 and 2.1."""

FALSE = Truth(
    accuracy={("q", 8): 0.75, ("k", 8): 0.6, ("q", 1): 0.75, ("qv", 1): 0.6, ("qkvo", 1): 0.65},
    top_shared=False,
    rest_shared=True,
    seeds_share={"q": 2, "v": 60},
    along={4: (0, 4), 64: (80, 56)},
)
"""No claim holds; dW lies along W's own top directions at r = 4 and along its last at r = 64, so that the
amplification factor rises."""


SOME = Truth(
    accuracy={("qv", 4): 0.75, ("qkvo", 2): 0.75, ("q", 1): 0.68, ("qv", 1): 0.72, ("qkvo", 1): 0.72},
    seeds_share={"q": 4, "v": 60},
    along={4: (0, 4), 64: (80, 56)},
)
OTHERS = Truth(
    accuracy={("qv", 4): 0.65, ("qkvo", 2): 0.65, ("q", 1): 0.7, ("qv", 1): 0.68, ("qkvo", 1): 0.68},
    top_shared=False,
    rest_shared=True,
    seeds_share={"q": 4, "v": 4},
)
"""Three seeds as the one and two as the other contradict each other: nothing is decided."""


def drawn(*words, size) -> torch.Tensor:
    generator = torch.Generator().manual_seed(zlib.crc32(repr(words).encode()))
    return torch.randn(size, generator=generator, dtype=torch.float64)


@functools.cache
def weight(layer: int, letter: str) -> torch.Tensor:
    """Singular values that fall from 5 to almost 0."""
    U, _, Vh = torch.linalg.svd(drawn("W", layer, letter, size=(D, D)))
    return (U * (5 * 0.95 ** torch.arange(D, dtype=torch.float64))) @ Vh


def write_base(folder: Path) -> Path:
    """A GPT-2 checkpoint of these weights."""
    folder.mkdir(parents=True)
    tensors = {}
    for layer in range(LAYERS):
        fused = torch.cat([weight(layer, letter).T for letter in "qkv"], dim=1)
        tensors[f"transformer.h.{layer}.attn.c_attn.weight"] = fused.float().contiguous()
        tensors[f"transformer.h.{layer}.attn.c_proj.weight"] = weight(layer, "o").T.float().contiguous()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = {"model_type": "gpt2", "n_embd": D, "n_layer": LAYERS, "n_head": 4}
    (folder / "config.json").write_text(json.dumps(config | {"architectures": ["GPT2LMHeadModel"]}))
    return folder


def factors(truth: Truth, layer: int, letter: str, rank: int, seed: int) -> lora.saving.Factors:
    """A with the planted directions as its right singular vectors, in order, and B that fits them."""
    place = (layer, letter, seed)
    rows = [drawn("top", *place, size=(1, D))] if truth.top_shared and rank != 4 else []
    columns = [drawn("left", *place, rank, size=(len(rows), D))]
    if letter == "q" and rank in truth.along:
        first, count = truth.along[rank]
        U, _, Vh = torch.linalg.svd(weight(layer, letter))
        rows.append(Vh[first : first + count])
        columns.append(U.T[first : first + count])
    if rank == 64:
        rows.append(drawn("seeds", layer, letter, size=(truth.seeds_share.get(letter, 0), D)))
    if truth.rest_shared:
        rows.append(drawn("rest", *place, size=(7, D)))
    rows.append(drawn("A", *place, rank, size=(rank, D)))
    columns.append(drawn("B", *place, rank, size=(rank, D)))
    V, U = (_orthonormal(torch.cat(parts)[:rank]) for parts in (rows, columns))
    values = torch.linspace(2, 1, rank, dtype=torch.float64)
    A, B = values[:, None] * V, U.T * values
    return lora.saving.Factors(
        A=A.float(), B=B.float().contiguous(), rank=rank, alpha=8.0, scaling=8.0 / rank
    )


def _orthonormal(rows: torch.Tensor) -> torch.Tensor:
    """In this order: the first row keeps its direction."""
    return torch.linalg.qr(rows.T)[0].T


def answers(accuracy: float, targets: str, rank: int, seed: int) -> np.ndarray:
    """Right where an example is easier than the run is good; one in 25 as the run happens to have it."""
    generator = np.random.default_rng(zlib.crc32(repr((targets, rank, seed)).encode()))
    ease = np.random.default_rng(0).permutation(EXAMPLES) / EXAMPLES
    own = generator.random(EXAMPLES)
    return np.where(np.arange(EXAMPLES) % 25 == 0, own, ease) < accuracy


def write_run(
    root: Path,
    base: Path,
    truth: Truth,
    targets: str,
    rank: int,
    seed: int,
    task: str = "sql",
    **settings,
) -> RunFolder:
    """A finished run."""
    correct = answers(truth.accuracy.get((targets, rank), 0.7), targets, rank, seed)
    scores = {"accuracy": float(correct.mean())}
    config = {"science_version": 1, "model": {"identity": "files:0123", "max_length": None}}
    config |= {"task": {"name": task, "seed": 0, "identity": "generated:4567"}, "method": "lora"}
    config |= {"targets": targets, "seed": seed, "lr": 0.02, "rank": dict.fromkeys(targets, rank)}
    config |= {"alpha": 8.0, "scaling": "alpha/r", **settings}
    name = f"{task}-{targets}-r{rank}-seed{seed}"
    folder = RunFolder.of(root, STUDY, name, hashlib.sha256(repr(config).encode()).hexdigest()[:10])
    pairs = {
        (layer, letter): factors(truth, layer, letter, rank, seed)
        for layer in range(LAYERS)
        for letter in targets
    }
    metadata = {"architecture": "gpt2", "targets": list(targets), "scaling": "alpha/r"}
    held = lora.saving.AdapterFile(pairs, {}, metadata | {"bias": "none", "dropout": 0.0})
    size = sum(pair.A.numel() + pair.B.numel() for pair in pairs.values())
    with folder.lock():
        workspace = folder.begin()
        for file in (ADAPTER, ADAPTER_BEST, ADAPTER_INIT):
            lora.saving.write(held, workspace.file(file))
        records = [
            {"checkpoint": "last", "split": split, "id": str(number), "correct": bool(right)}
            for split in ("dev", "test")
            for number, right in enumerate(correct)
        ]
        write_jsonl(workspace.file(PREDICTIONS), records)
        step = {"step": 10, "dev": scores, "test": scores}
        record = {"name": name, "study": STUDY, "config": config, "metric": "accuracy"}
        record |= {"metrics": {"last": step, "best": step}, "timing": {"seconds": 1.0}}
        record |= {"parameters": {"adapter": size, "head": 0, "bias": 0, "total": 9, "trainable": size}}
        sha256 = hashlib.sha256((base / "model.safetensors").read_bytes()).hexdigest()
        record |= {"model": {"name": str(base), "revision": None, "sha256": sha256}}
        folder.publish(workspace, record)
    return folder


def write_study(root: Path, base: Path, truth: Truth, seeds=SEEDS, cells=None, task="sql") -> Path:
    """A run of each cell and seed."""
    for targets, ranks in (CELLS if cells is None else cells).items():
        for rank in ranks:
            for seed in seeds:
                write_run(root, base, truth, targets, rank, seed, task)
    return root
