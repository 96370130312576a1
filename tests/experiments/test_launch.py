from __future__ import annotations

import copy
import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, open_dict

import experiments.job as job_module
from experiments.config import RunConfig
from experiments.job import Outcome
from experiments.launch import JOB, launch
from experiments.overrides import CONF

RECORD = {
    "metric": "accuracy",
    "metrics": {"last": {"dev": {"accuracy": 0.5}, "test": {"accuracy": 0.25}}},
    "parameters": {"trainable": 12345},
}


@pytest.fixture
def job(tmp_path: Path) -> Callable[..., DictConfig]:
    """What Hydra hands to a job, with HydraConfig set as Hydra sets it."""

    def composed(*overrides: str, mode: RunMode = RunMode.MULTIRUN) -> DictConfig:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            config = compose("config", overrides=list(overrides), return_hydra_config=True)
        with open_dict(config):
            config.hydra.runtime.output_dir = str(tmp_path)
            config.hydra.mode = mode
            config.hydra.job.num = 0
        HydraConfig.instance().set_config(config)
        task_config = copy.deepcopy(config)
        with open_dict(task_config):
            del task_config["hydra"]
        return task_config

    return composed


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[RunConfig]]:
    """Let run_job end in a given way; gives the configurations it was called with."""

    def ending(status: Any, **values: Any) -> list[RunConfig]:
        seen: list[RunConfig] = []

        def run_job(config: RunConfig, *, command: str) -> Outcome:
            seen.append(config)
            given = {"folder": "outputs/x", "record": None, "error": None} | values
            return Outcome(status=status, name="x", command=command, seconds=1.5, **given)

        monkeypatch.setattr(job_module, "run_job", run_job)
        return seen

    return ending


def written(folder: Path) -> dict[str, Any]:
    content = json.loads((folder / JOB).read_text(encoding="utf-8"))
    assert isinstance(content, dict)
    return content


def test_a_finished_job_is_told_and_written(
    job: Callable[..., DictConfig],
    ended: Callable[..., list[RunConfig]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    seen = ended("finished", record=RECORD)
    outcome = launch(job("rank={q: 4, v: 8}", "targets=vq", "task=nli", mode=RunMode.RUN))
    assert seen[0].rank == {"q": 4, "v": 8}
    assert outcome.command == "python run.py 'rank={q: 4, v: 8}' targets=vq task=nli"
    out = capsys.readouterr().out
    assert "finished  outputs/x" in out
    assert "accuracy  dev 0.5000  test 0.2500, 12,345 trainable parameters, 1.5 s" in out
    report = written(tmp_path)
    assert Outcome(**report["outcome"]) == outcome
    assert report["overrides"] == ["rank={q: 4, v: 8}", "targets=vq", "task=nli"]
    assert report["settings"]["targets"] == "qv"
    assert report["settings"]["rank"] == "q4-v8"


@pytest.mark.parametrize(
    ("override", "part"),
    [
        ("targets=qx", "valid are q k v o"),
        ("rank=0", "rank: 0"),
        ("rank={q: 4}", "none given for target 'v'"),
        ("scaling=r", "alpha/sqrt(r)"),
        ("precision=fp8", "auto, float32, bfloat16"),
        ("lr=-1", "lr=-1"),
        ("model=hf", "model.name is missing; give model.name="),
        ("lr=${model.lr.other}", "lr"),
    ],
)
def test_a_wrong_value_is_one_line_and_does_not_stop_a_sweep(
    job: Callable[..., DictConfig],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    override: str,
    part: str,
) -> None:
    outcome = launch(job(override))
    captured = capsys.readouterr()
    assert outcome.status == "failed"
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert part in captured.err
    assert "Traceback" not in captured.out
    assert written(tmp_path)["outcome"]["command"] == f"python run.py {shlex.quote(override)}"


def test_a_single_run_that_fails_ends_with_status_1(
    job: Callable[..., DictConfig], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        launch(job("rank=0", mode=RunMode.RUN))
    assert end.value.code == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_hydra_full_error_shows_the_traceback(
    job: Callable[..., DictConfig], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    launch(job("rank=0"))
    assert "Traceback (most recent call last)" in capsys.readouterr().err


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("expected", [False, True])
def test_the_traceback_of_a_failed_run_is_found(
    job: Callable[..., DictConfig],
    ended: Callable[..., list[RunConfig]],
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
    ended("failed", error="it broke", folder=str(tmp_path))
    launch(job())
    err = capsys.readouterr().err
    assert err.startswith("error: it broke\n")
    assert (last in err) == full
    assert ("the traceback is in" in err) == (not full and not expected)


@pytest.mark.parametrize(("status", "word"), [("skipped", "kept"), ("busy", "busy")])
def test_a_run_that_needs_no_training_here_is_told(
    job: Callable[..., DictConfig],
    ended: Callable[..., list[RunConfig]],
    capsys: pytest.CaptureFixture[str],
    status: str,
    word: str,
) -> None:
    ended(status, record=RECORD, error="another process trains it")
    assert launch(job()).status == status
    assert capsys.readouterr().out.startswith(word)


def test_full_fine_tuning_has_no_rank_to_show(
    job: Callable[..., DictConfig], ended: Callable[..., list[RunConfig]], tmp_path: Path
) -> None:
    ended("finished", record=RECORD)
    launch(job("method=full"))
    settings = written(tmp_path)["settings"]
    assert (settings["method"], settings["targets"], settings["rank"]) == ("full", "-", "-")
