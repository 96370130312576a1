"""One job of Hydra's: what is told, what is handed back, and what a wrong value does."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, open_dict

from experiments import job as job_module
from experiments.job import Outcome
from experiments.launch import launch
from experiments.plan import CONF, PlannedRun

RECORD = {
    "metric": "accuracy",
    "metrics": {"last": {"dev": {"accuracy": 0.5}, "test": {"accuracy": 0.25}}},
    "timing": {"seconds": 1.5},
}


@pytest.fixture
def job(tmp_path: Path) -> Callable[..., DictConfig]:
    """What Hydra hands to a job, with HydraConfig set as Hydra sets it."""

    def composed(*overrides: str, mode: RunMode = RunMode.MULTIRUN) -> DictConfig:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            config = compose("config", overrides=list(overrides), return_hydra_config=True)
        with open_dict(config):
            config.hydra.runtime.output_dir = str(tmp_path / "launch")
            config.hydra.mode = mode
            config.hydra.job.num = 0
        HydraConfig.instance().set_config(config)
        task_config = copy.deepcopy(config)
        with open_dict(task_config):
            del task_config["hydra"]
        return task_config

    return composed


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[PlannedRun]]:
    """Let run_job end in a given way; gives the runs it was called with."""

    def ending(status: Any, **values: Any) -> list[PlannedRun]:
        seen: list[PlannedRun] = []

        def run_job(run: PlannedRun) -> Outcome:
            seen.append(run)
            given = {"folder": Path("outputs/x"), "record": None, "error": None} | values
            return Outcome(status=status, name="x", command=run.command, **given)

        monkeypatch.setattr(job_module, "run_job", run_job)
        return seen

    return ending


def test_a_finished_job_is_told_and_its_metric_on_dev_handed_back(
    job: Callable[..., DictConfig],
    ended: Callable[..., list[PlannedRun]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    seen = ended("finished", record=RECORD)
    score = launch(job("rank={q: 4, v: 8}", "targets=vq", "task=nli", mode=RunMode.RUN))
    assert score == 0.5
    assert seen[0].config.rank == {"q": 4, "v": 8}
    assert seen[0].command == "python run.py 'rank={q: 4, v: 8}' targets=vq task=nli"
    out = capsys.readouterr().out
    assert out == "finished  x  dev 50.0%  test 25.0%  1.5 s\n          outputs/x\n"


@pytest.mark.parametrize(
    ("override", "part"),
    [
        ("targets=qx", "valid are q k v o"),
        ("rank={q: 4}", "none given for target 'v'"),
        ("model=hf", "model.name is missing; give model.name="),
        ("lr=${model.lr.other}", "lr"),
    ],
)
def test_a_wrong_value_is_one_line_and_does_not_stop_a_sweep(
    job: Callable[..., DictConfig], capsys: pytest.CaptureFixture[str], override: str, part: str
) -> None:
    assert launch(job(override)) is None
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert part in captured.err


def test_a_single_run_that_fails_ends_with_status_1(
    job: Callable[..., DictConfig], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        launch(job("rank=0", mode=RunMode.RUN))
    assert end.value.code == 1
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("expected", [False, True])
def test_the_traceback_of_a_failed_run_is_found(
    job: Callable[..., DictConfig],
    ended: Callable[..., list[PlannedRun]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    full: bool,
    expected: bool,
) -> None:
    if full:
        monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    last = "experiments.errors.UserError: too large" if expected else "ZeroDivisionError: too small"
    lines = ["Traceback (most recent call last):", last]
    (tmp_path / "failure.json").write_text(json.dumps({"traceback": lines}), encoding="utf-8")
    ended("failed", error="it broke", folder=tmp_path)
    assert launch(job()) is None
    err = capsys.readouterr().err
    assert err.startswith("error: it broke\n")
    assert (last in err) == full
    assert ("the traceback is in" in err) == (not full and not expected)


@pytest.mark.parametrize(("status", "score"), [("kept", 0.5), ("busy", None)])
def test_a_run_that_needs_no_training_here_is_told(
    job: Callable[..., DictConfig],
    ended: Callable[..., list[PlannedRun]],
    capsys: pytest.CaptureFixture[str],
    status: str,
    score: float | None,
) -> None:
    ended(status, record=RECORD if score else None, error="another process trains it")
    assert launch(job()) == score
    assert capsys.readouterr().out.startswith(status)
