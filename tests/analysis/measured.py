"""A file of scripts/benchmark_costs.py with planted costs: every ratio and size is known."""

from __future__ import annotations

from typing import Any

import numpy as np

METHODS = ("full", "lora", "adapter_h", "adapter_l", "bias")
SLOWER = {
    "lora_merged": (1.0, 1.0, 1.0),
    "lora_unmerged": (1.05, 1.1, 1.3),
    "adapter_l": (1.03, 1.06, 1.2),
    "adapter_h": (1.05, 1.1, 1.4),
}
FASTER = {"lora": 1.5, "adapter_h": 1.25, "adapter_l": 1.3, "bias": 1.6}
SETTINGS = (((32, 512), (32, 128), 0.3), ((16, 256), (16, 64), 0.1), ((1, 128), (1, 32), 0.004))
TOTAL = {"full": 3_000_000, "lora": 3_015_000, "adapter_h": 3_030_000, "adapter_l": 3_020_000}
TRAINED = {"full": 3_000_000, "lora": 15_000, "adapter_h": 30_000, "adapter_l": 20_000, "bias": 10_000}
KEPT = {"full": (0.0, 40_000.0, 10.0), "lora": (50_000.0, 30_000.0, 10.0)}
"""(k, a, c) of the activations' bytes, k + batch * (a length + c length^2)."""


def seconds(
    ratios: dict[str, float], base: float, rounds: int, noise: float, seed: int = 0
) -> dict[str, Any]:
    """Rounds that are slow or fast for all candidates, times a noise of each."""
    generator = np.random.default_rng(seed)
    moments = np.exp(0.5 * generator.standard_normal(rounds))
    return {
        name: (base * ratio * moments * np.exp(noise * generator.standard_normal(rounds))).tolist()
        for name, ratio in ratios.items()
    }


def step(method: str, batch: int, length: int) -> dict[str, Any]:
    total, trained = TOTAL.get(method, 3_000_000), TRAINED[method]
    k, a, c = KEPT.get(method, KEPT["lora"])
    activations = round(k + batch * (a * length + c * length**2))
    return {
        "method": method,
        "batch": batch,
        "length": length,
        "total": total,
        "trainable": trained,
        "weights": 4 * total,
        "gradients": 4 * trained,
        "optimizer": 8 * trained,
        "activations": activations,
        "peak": 4 * total + 8 * trained + max(4 * trained, activations),
    }


def record(rounds: int = 40, noise: float = 0.01, **changes: Any) -> dict[str, Any]:
    """The content of the file."""
    settings = [
        {
            "paper": {"batch": paper[0], "length": paper[1]},
            "batch": here[0],
            "length": here[1],
            "added": {name: 0 if name == "lora_merged" else 1000 for name in SLOWER} | {"full": 0},
            "seconds": seconds(
                {"full": 1.0, **{name: ratios[place] for name, ratios in SLOWER.items()}},
                base,
                rounds,
                noise / 4,
                seed=place,
            ),
        }
        for place, (paper, here, base) in enumerate(SETTINGS)
    ]
    sizes = ((16, 112), (1, 28), (1, 112), (16, 28), (4, 112))
    steps = [step(name, *sizes[0]) for name in METHODS]
    steps += [step(name, *size) for size in sizes[1:] for name in ("full", "lora")]
    return {
        "format": 1,
        "quick": False,
        "model": {"name": "planted", "kind": "gpt2", "layers": 4, "width": 256, "parameters": 3_000_000},
        "device": "cpu (2 threads)",
        "gpu": False,
        "precision": "float32",
        "lora": {"rank": 4, "targets": "qv"},
        "machine": {"processor": "planted", "load": 0.0},
        "seconds": 300.0,
        "latency": {
            "settings": settings,
            "merged": {"modules": True, "parameters": True, "operators": True, "count": 632},
        },
        "memory": steps,
        "storage": {name: 4 * TRAINED[name] + 200 for name in METHODS},
        "speed": {
            "batch": 16,
            "length": 112,
            "seconds": seconds({"full": 1.0, **{n: 1 / f for n, f in FASTER.items()}}, 0.5, rounds, noise, 7),
        },
        "switching": {
            "bytes": [60_200, 120_200],
            "seconds": seconds(
                {"load": 1.0, "file": 0.05, "memory": 0.04, "merged": 0.1}, 0.2, rounds, noise, 8
            ),
        },
        **changes,
    }
