"""The table of README comes from run.json files alone."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

from experiments.store import RunFolder

SCRIPT = Path(__file__).resolve().parent.parent.parent / "scripts" / "embedded_table.py"


def put(root, name, test, seed=0, **config):
    folder = RunFolder(root / "study" / name)
    metrics = {"step": 5, "dev": {"accuracy": 0.5}, "test": {"accuracy": test}}
    with folder.lock():
        folder.publish(
            folder.begin(),
            {
                "config": {"task": {"name": "nli"}, "seed": seed, "model": {"identity": "m"}, **config},
                "metric": "accuracy",
                "metrics": {"last": metrics},
                "parameters": {"trainable": 1024},
                "timing": {"seconds": 10.0},
                "precision": "float32",
                "versions": {"torch": "2"},
                "git_commit": "abc",
            },
        )


def test_table_has_mean_spread_and_gap_closed(tmp_path):
    put(tmp_path, "base", 0.30, method="none")
    put(tmp_path, "full", 0.90, method="full")
    put(tmp_path, "lora-0", 0.70, method="lora", targets="qv", rank={"q": 8, "v": 8})
    put(tmp_path, "lora-1", 0.80, seed=1, method="lora", targets="qv", rank={"q": 8, "v": 8})
    out = tmp_path / "out"
    command = [sys.executable, SCRIPT, "--root", tmp_path, "--study", "study", "--out", out]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (out / "table.md").read_text().strip() == done.stdout.strip()
    assert "| LoRA qv r=8 | 1,024 | 50.0 ± 0.0 (n=2) | 75.0 ± 7.1 (n=2) | 75% | 10 |" in done.stdout
    assert done.stdout.index("base model") < done.stdout.index("full fine-tuning") < done.stdout.index("LoRA")
    with (out / "runs.csv").open() as file:
        assert [row["id"] for row in csv.DictReader(file)] == ["base", "full", "lora-0", "lora-1"]


def test_unfinished_or_mixed_runs_are_not_averaged(tmp_path):
    def complaint():
        command = [sys.executable, SCRIPT, "--root", tmp_path, "--study", "study", "--out", tmp_path / "out"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stderr

    put(tmp_path, "a", 0.70, method="full", lr=0.001)
    (tmp_path / "study" / "b").mkdir()
    assert "not finished, repeat the sweep or remove them: b" in complaint()
    put(tmp_path, "b", 0.70, seed=1, method="full", lr=0.002)
    assert "differs from another full fine-tuning in more than its seed" in complaint()


def test_empty_study_is_told(tmp_path):
    command = [sys.executable, SCRIPT, "--root", tmp_path, "--study", "none", "--out", tmp_path / "out"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "no finished run" in done.stderr
