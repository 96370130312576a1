from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
import yaml

from experiments import tracking, wandb_run
from experiments.config import RunConfig, read_config
from experiments.plan import CONF
from experiments.store import RunFolder
from experiments.tracking import log_sweep, start_tracker
from experiments.wandb_run import Tracker, WandbTracker
from tests.wandb_files import written

wandb = pytest.importorskip("wandb")


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No key, no mode and no earlier failure; wandb's own files outside the home folder."""
    for name in ("API_KEY", "MODE", "DISABLED", "PROJECT", "ENTITY", "TAGS", "SWEEP_ID", "RUN_ID"):
        monkeypatch.delenv(f"WANDB_{name}", raising=False)
    for name in ("CACHE", "CONFIG", "DATA"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / "own"))
    monkeypatch.setattr(wandb_run, "_given_up", False)
    wandb_run._has_key.cache_clear()


def config(root: Path, mode: str, method: str = "lora") -> RunConfig:
    values = yaml.safe_load((CONF / "config.yaml").read_text(encoding="utf-8"))
    values |= {"method": method, "lr": 1e-3, "warmup": 0.06, "steps": 3, "study": "trial", "root": str(root)}
    values |= {"task": {"name": "sql"}, "model": {"name": "embedded"}}
    values["wandb"] |= {"mode": mode, "project": "p", "tags": ["mine"]}
    return read_config(values)


def start(run: RunConfig) -> Tracker:
    folder = RunFolder.of(run.root, run.study, run.readable_name(), "0123456789")
    return start_tracker(run, run_id="0123456789", folder=folder, scientific={"lr": run.lr})


@pytest.fixture
def agent(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As in a process that an agent of a W&B sweep started."""
    wandb.teardown()  # it reads the environment once
    for name, value in {
        "SWEEP_ID": "thesweep",
        "RUN_ID": "theagents",
        "PROJECT": "sweeps",
        "ENTITY": "someone",
    }.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    yield
    wandb.teardown()


def started_runs(root: Path) -> list[Any]:
    """What wandb wrote of each run when it started, in the order of the files' names."""
    files = sorted(root.rglob("offline-run-*/run-*.wandb"))
    return [only([record.run for record in written(file) if record.HasField("run")]) for file in files]


def only(found: list[Any]) -> Any:
    assert len(found) == 1
    return found[0]


def test_an_offline_run_holds_what_was_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = config(tmp_path / "outputs", "offline")
    for succeeded in (True, False):
        tracker = start(run)
        for step in (10, 20):
            tracker.log({"loss": 1 / step}, step)
        tracker.summary({"metrics/last/dev/accuracy": 0.5})
        tracker.finish(succeeded)
    files = sorted((tmp_path / "outputs/trial/.wandb/wandb").glob("offline-run-*/*.wandb"))
    assert len(files) == 2
    assert not (tmp_path / "wandb").exists()
    found = [written(file) for file in files]
    for content in found:
        started = only([record.run for record in content if record.HasField("run")])
        assert (started.run_group, started.job_type) == ("trial", "lora")
        assert started.display_name == run.readable_name()
        assert list(started.tags) == ["sql", "qv", "r8", "mine"]
        assert {item.key: item.value_json for item in started.config.update}["lr"] == "0.001"
        history = [
            {item.nested_key[0]: json.loads(item.value_json) for item in record.history.item}
            for record in content
            if record.HasField("history")
        ]
        assert [(row["step"], row["loss"]) for row in history] == [(10, 0.1), (20, 0.05)]
        summary = {item.key for record in content for item in record.summary.update}
        assert "metrics/last/dev/accuracy" in summary
    ids = {record.run.run_id for content in found for record in content if record.HasField("run")}
    assert len(ids) == 1, "a repeated run goes on under its id"
    codes = {record.exit.exit_code for content in found for record in content if record.HasField("exit")}
    assert codes == {0, 1}


def test_the_id_is_the_same_for_the_same_run_of_a_study() -> None:
    assert wandb_run.wandb_id("a", "0123") == wandb_run.wandb_id("a", "0123")
    assert len({wandb_run.wandb_id(study, run) for study in "ab" for run in ("0", "1")}) == 4


def test_a_sweep_logs_its_table(tmp_path: Path) -> None:
    log_sweep(config(tmp_path, "offline"), "now", ["rank", "dev"], [["1", "0.5"], ["2", "0.6"]])
    table = only(list((tmp_path / "trial/.wandb").rglob("*.table.json")))
    content = json.loads(table.read_text(encoding="utf-8"))
    assert (content["columns"], content["data"]) == (["rank", "dev"], [["1", "0.5"], ["2", "0.6"]])
    file = only(list(tmp_path.rglob("offline-run-*/run-*.wandb")))
    started = only([record.run for record in written(file) if record.HasField("run")])
    assert (started.run_group, started.job_type) == ("trial", "sweep")


def test_disabled_never_imports_wandb(tmp_path: Path) -> None:
    program = (
        "import sys; from experiments.plan import plan; from experiments.tracking import log_sweep\n"
        "[run] = plan(['wandb.mode=disabled']).runs\n"
        "log_sweep(run.config, 'now', ['a'], [['b']])\n"
        "sys.exit('wandb' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], cwd=CONF.parent, check=True)


def test_where_wandb_cannot_start_there_is_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def init(**_: Any) -> None:
        raise RuntimeError("the service\ndoes not start")

    monkeypatch.setattr(wandb, "init", init)
    for _ in range(2):
        tracker = start(config(tmp_path, "offline"))
        tracker.log({"loss": 1.0}, 1)
        tracker.summary({"a": 1})
        tracker.finish(True)
    error = capsys.readouterr().err
    assert error.startswith(
        "warning: Weights & Biases: it cannot start (RuntimeError: the service does not start)"
    )
    assert error.count("\n") == 1


def test_a_missing_package_and_a_folder_that_cannot_be_made_are_no_trouble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "trial").write_text("a file where the folder should be", encoding="utf-8")
    start(config(tmp_path, "offline")).log({"loss": 1.0}, 1)
    monkeypatch.setattr(wandb_run, "_given_up", False)
    monkeypatch.setitem(sys.modules, "wandb", None)
    start(config(tmp_path, "offline")).log({"loss": 1.0}, 1)
    lines = capsys.readouterr().err.splitlines()
    assert ["cannot start" in line for line in lines] == [True, True]


def test_a_breakdown_in_the_middle_is_one_warning(capsys: pytest.CaptureFixture[str]) -> None:
    class Broken:
        calls = 0

        def log(self, values: Any) -> None:
            self.calls += 1
            raise BrokenPipeError

    run = Broken()
    tracker = WandbTracker(run, "")
    tracker.log({"loss": 1.0}, 1)
    tracker.log({"loss": 1.0}, 2)
    tracker.finish(True)
    assert run.calls == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "broke down (BrokenPipeError)" in error


@pytest.mark.usefixtures("agent")
def test_the_one_run_of_a_sweep_agent_is_the_agent_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "_is_single_run", lambda: True)
    start(config(tmp_path, "offline")).finish(True)
    run = only(started_runs(tmp_path))
    assert (run.run_id, run.sweep_id, run.project, run.entity) == (
        "theagents",
        "thesweep",
        "sweeps",
        "someone",
    )


@pytest.mark.usefixtures("agent")
def test_of_several_runs_under_a_sweep_agent_each_is_its_own(tmp_path: Path) -> None:
    run = config(tmp_path, "offline")
    for seed in (0, 1):
        folder = RunFolder.of(run.root, run.study, run.readable_name(), str(seed))
        start_tracker(run, run_id=str(seed), folder=folder, scientific={}).finish(True)
    log_sweep(run, "now", ["rank"], [["1"]])
    found = started_runs(tmp_path)
    assert {run.run_id for run in found} == {
        wandb_run.wandb_id("trial", name) for name in ("0", "1", "sweep/now")
    }
    assert {run.sweep_id for run in found} == {""}
    assert os.environ["WANDB_SWEEP_ID"] == "thesweep", "what other libraries read stays"


def test_a_run_is_single_where_hydra_runs_one(monkeypatch: pytest.MonkeyPatch) -> None:
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    assert not tracking._is_single_run(), "a process of the sweep's, which Hydra did not start"
    for mode, expected in ((RunMode.RUN, True), (RunMode.MULTIRUN, False)):
        monkeypatch.setattr(HydraConfig, "initialized", staticmethod(lambda: True))
        monkeypatch.setattr(HydraConfig, "get", staticmethod(lambda mode=mode: SimpleNamespace(mode=mode)))
        assert tracking._is_single_run() == expected


@pytest.mark.parametrize(
    ("overrides", "variable", "expected"),
    [
        ([], None, wandb_run.DEFAULT_PROJECT),
        ([], "", wandb_run.DEFAULT_PROJECT),
        ([], "mine", "mine"),
        (["wandb.project=asked"], "mine", "asked"),
    ],
)
def test_a_project_that_is_given_beats_the_environment_s(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    overrides: list[str],
    variable: str | None,
    expected: str,
) -> None:
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    if variable is not None:
        monkeypatch.setenv("WANDB_PROJECT", variable)
    given: list[dict[str, Any]] = []
    monkeypatch.setattr(wandb, "init", lambda **settings: given.append(settings) or Mock())
    with initialize_config_dir(str(CONF), version_base="1.3"):
        values = OmegaConf.to_container(
            compose("config", [f"root={tmp_path}", "wandb.mode=offline", *overrides]), resolve=True
        )
    assert isinstance(values, dict)
    start(read_config({str(key): value for key, value in values.items()}))
    assert only(given)["project"] == expected


def test_tags_of_the_environment_come_to_a_run_s_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_TAGS", "night, sql,")
    given: list[dict[str, Any]] = []
    monkeypatch.setattr(wandb, "init", lambda **settings: given.append(settings) or Mock())
    start(config(tmp_path, "offline"))
    assert only(given)["tags"] == ["sql", "qv", "r8", "mine", "night"]


@pytest.mark.parametrize(
    ("mode", "variables", "has_key", "expected"),
    [
        ("online", {}, False, "online"),
        ("offline", {"WANDB_API_KEY": "x" * 40}, True, "offline"),
        ("auto", {"WANDB_API_KEY": "x" * 40}, False, "online"),
        ("auto", {}, True, "online"),
        ("auto", {}, False, "offline"),
        ("auto", {"WANDB_MODE": "offline", "WANDB_API_KEY": "x" * 40}, True, "offline"),
        ("auto", {"WANDB_MODE": "Disabled", "WANDB_API_KEY": "x" * 40}, True, "disabled"),
        ("auto", {"WANDB_MODE": "dryrun", "WANDB_API_KEY": "x" * 40}, True, "dryrun"),
        ("auto", {"WANDB_DISABLED": "true", "WANDB_API_KEY": "x" * 40}, True, "disabled"),
        ("auto", {"WANDB_DISABLED": "1", "WANDB_MODE": "online"}, True, "disabled"),
        ("auto", {"WANDB_DISABLED": "false"}, False, "offline"),
        ("offline", {"WANDB_DISABLED": "true", "WANDB_MODE": "online"}, True, "offline"),
    ],
)
def test_auto_is_online_where_a_key_is_configured(
    monkeypatch: pytest.MonkeyPatch, mode: str, variables: dict[str, str], has_key: bool, expected: str
) -> None:
    monkeypatch.setattr(wandb, "login", lambda **_: has_key)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert wandb_run._mode(mode) == expected


def test_wandb_mode_disabled_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert not isinstance(start(config(tmp_path, "auto")), WandbTracker)


def test_tags_name_task_and_adapter(tmp_path: Path) -> None:
    lora = config(tmp_path, "disabled")
    assert tracking._tags(lora) == ["sql", "qv", "r8", "mine"]
    assert tracking._tags(config(tmp_path, "disabled", method="full")) == ["sql", "mine"]
    mixed = dataclasses.replace(lora, rank={"q": 4, "v": 8})
    assert tracking._tags(mixed) == ["sql", "qv", "rq4-v8", "mine"]
