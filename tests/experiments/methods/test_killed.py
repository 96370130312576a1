"""A run of any method that is killed with -9 and repeated is the run that was never disturbed."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
import torch

from experiments import job, store, trainer
from experiments.methods import METHODS, lookup
from experiments.plan import PlannedRun

DIES_AT = 4
OF_LORA = {
    "dora": {"dora": True},
    "pissa": {"init": "pissa"},
    "olora": {"init": "olora"},
    "lora_plus": {"lr_ratio": 16.0},
    "all_biases": {"bias": "all", "dropout": 0.1},
}
CASES = {
    **{name: {"method": name} for name in METHODS if lookup(name).trains},
    **OF_LORA,
    "lora_prefix_layer": {"method": "lora_prefix", "prefix": "layer"},
}
TIMES = {"timing", "finished_at", "sweep"}


def killed(run: PlannedRun, monkeypatch: pytest.MonkeyPatch) -> int:
    """The signal that ended a process that began the run; it dies as a step begins."""
    pid = os.fork()
    if pid == 0:
        torch.set_num_threads(1)
        rate = trainer.learning_rate

        def deadly(step: int, *rest: float) -> float:
            if step == DIES_AT:
                os.kill(os.getpid(), signal.SIGKILL)
            return rate(step, *rest)

        monkeypatch.setattr(trainer, "learning_rate", deadly)
        try:
            job.run_job(run, 1.0)
        finally:
            os._exit(1)
    return os.WTERMSIG(os.waitpid(pid, 0)[1])


def content(folder: Path) -> dict[str, object]:
    """Every file of a finished run, without what tells of the clock."""
    found: dict[str, object] = {}
    for path in sorted(folder.iterdir()):
        if path.name == store.RUN:
            record = json.loads(path.read_text())
            found[path.name] = {key: value for key, value in record.items() if key not in TIMES}
        elif path.name == store.HISTORY:
            lines = store.read_jsonl(path)
            found[path.name] = [
                {key: value for key, value in line.items() if not key.endswith("_per_second")}
                for line in lines
            ]
        elif path.name != store.LOCK:
            found[path.name] = path.read_bytes()
    return found


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork, for a process that has the tiny model")
@pytest.mark.parametrize("name", CASES)
def test_a_killed_run_is_repeated_from_scratch(config, bench, monkeypatch, tmp_path, name):
    desk = bench("sql")
    monkeypatch.setattr("experiments.workbench.workbench", lambda *_: desk)
    monkeypatch.setattr(job, "model_identity", lambda _: "tiny")
    settings = {"bottleneck": 2, "l_p": 3, "l_i": 2, "steps": 6, "eval_every": 2, "log_every": 1}

    def planned(root: str) -> PlannedRun:
        return PlannedRun(config(**settings, **CASES[name], root=str(tmp_path / root)), ("rank=2",))

    undisturbed = job.run_job(planned("whole"), 1.0)
    assert undisturbed.status == "finished", undisturbed.error
    run = planned("killed")
    assert killed(run, monkeypatch) == signal.SIGKILL
    folder = job.address(run.config).folder
    assert folder.read() is None
    assert folder.latest()["step"] == DIES_AT  # it had trained, and evaluated
    assert len(folder.attempts(1.0)) == 1

    repeated = job.run_job(run, 1.0)
    assert repeated.status == "finished", repeated.error
    assert repeated.name == undisturbed.name
    assert content(repeated.folder) == content(undisturbed.folder)
    assert sorted(path.name for path in repeated.folder.iterdir()) == sorted(
        path.name for path in undisturbed.folder.iterdir()
    )
    assert job.run_job(run, 2.0).status == "kept"
