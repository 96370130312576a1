"""Planted runs that have all that real ones have: a history, timings, versions, a commit and a device."""

from __future__ import annotations

import json
import math
from pathlib import Path

from experiments.store import HISTORY, RUN, write_json, write_jsonl

STEPS = 600
EVERY = 100


def complete(root: Path, study: str) -> None:
    """Give every run of a study what its planting has left out, by numbers that follow from rank and seed."""
    for path in sorted((root / study).glob(f"*/{RUN}")):
        record = json.loads(path.read_text(encoding="utf-8"))
        config = record["config"]
        rank = max(config.get("rank", {"": 1}).values())
        speed = 10 / math.sqrt(rank) + config["seed"]
        record["timing"] = {
            "seconds": STEPS / speed + 5.25,
            "seconds_training": STEPS / speed,
            "steps_per_second": speed,
            "tokens_per_second": 330 * speed,
            "peak_memory_bytes": (700 + rank) * 2**20,
        }
        record["versions"] = {"python": "3.11.7", "torch": "2.13.0+cpu"}
        record |= {"git_commit": "0123456789abcdef", "device": "cpu (2 threads)"}
        record |= {"finished_at": f"2026-11-22T02:{config['seed']:02d}:29+00:00"}
        write_json(path, record)
        write_jsonl(path.parent / HISTORY, _history(record, rank))


def _history(record: dict, rank: int) -> list[dict]:
    seed, metric = record["config"]["seed"], record["metric"]
    lines: list[dict] = []
    for step in range(10, STEPS + 1, 10):
        wave = 0.06 * math.sin(step / 9 + seed)
        loss = (6 * math.exp(-step / 60) + 0.4 + 1 / (1 + rank)) * (1 + wave)
        lines.append({"step": step, "loss": loss, "lr": 0.01, "grad_norm": 1.0})
        if step % EVERY == 0:
            score = record["metrics"]["last"]["dev"][metric]
            lines.append({"step": step, f"dev/{metric}": score * (1 - math.exp(-step / 150 - 0.01 * seed))})
    last = record["metrics"]["last"]["dev"][metric]
    return [*lines[:-1], {"step": STEPS, f"dev/{metric}": last}, {"step": EVERY, f"dev/{metric}": -1.0}]
