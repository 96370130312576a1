from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir

from experiments import sweep
from experiments.launch import JOB
from experiments.overrides import CONF
from experiments.sweep import Job, Sweep, render


def record(dev: float, trainable: int = 24576, seconds: float = 41.26) -> dict[str, Any]:
    return {
        "metric": "logical_form",
        "metrics": {"last": {"dev": {"logical_form": dev}, "test": {"logical_form": dev / 2}}},
        "parameters": {"trainable": trainable, "total": 3_000_000},
        "timing": {"seconds": seconds},
    }


def job(number: int, status: str, rank: int = 8, **settings: Any) -> Job:
    outcome = {
        "status": status,
        "name": f"run-{number}",
        "folder": f"outputs/default/run-r{rank}-{number}",
        "record": record(0.5 + rank / 100) if status in ("finished", "skipped") else None,
        "error": "rank: too large" if status == "failed" else None,
        "command": f"python run.py rank={rank}",
        "seconds": 0.25,
    }
    common = {"model": "embedded", "task": "sql", "method": "lora", "alpha": 8.0, "lr": 0.005, "seed": 0}
    understood = {**common, "targets": "qv", "rank": str(rank), **settings}
    return Job(number, [f"rank={rank}"], understood, outcome)


def header(table: str) -> list[str]:
    return table.splitlines()[0].split()


def test_the_table() -> None:
    jobs = [job(0, "finished", 1), job(1, "skipped", 64), job(2, "busy", 2)]
    assert render(jobs) == "\n".join(
        [
            "#  targets  rank  trainable     dev    test  seconds  status          folder",
            "-  -------  ----  ---------  ------  ------  -------  --------------  ------------------------",
            "0  qv       1        24,576  0.5100  0.2550     41.3  finished        outputs/default/run-r1-0",
            "1  qv       64       24,576  1.1400  0.5700     41.3  kept            outputs/default/run-r64-1",
            "2  qv       2                                    0.2  busy elsewhere  outputs/default/run-r2-2",
            "",
            "dev, test: logical_form of the last checkpoint",
        ]
    ).replace("------------------------", "-" * len("outputs/default/run-r64-1"))


def test_failures_come_below_with_the_command_that_repeats_them() -> None:
    table = render([job(0, "finished", 1), job(1, "failed", 999)])
    assert "FAILED" in table
    assert table.endswith("#1 failed: rank: too large\n    python run.py rank=999")


def test_a_job_that_left_nothing_is_listed() -> None:
    table = render([job(0, "finished", 1), Job(1, ["rank=2", "targets=q"])])
    assert table.splitlines()[3].split() == ["1", "q", "2", "not", "run"]


def test_other_settings_are_shown_where_they_differ() -> None:
    assert header(render([job(0, "finished", 1), job(1, "finished", 2)]))[1:4] == [
        "targets",
        "rank",
        "trainable",
    ]
    different = [job(0, "finished", 1), job(1, "finished", 1, lr=0.01, seed=1, task="nli")]
    table = render(different)
    assert header(table)[1:7] == ["targets", "rank", "task", "lr", "seed", "trainable"]
    assert "0.005" in table


def test_a_swept_key_that_is_no_standard_column_is_shown() -> None:
    jobs = [Job(n, ["rank=8", f"warmup={n}", "steps=5"], job(n, "finished").settings) for n in (0, 1)]
    assert header(render(jobs))[3:5] == ["warmup", "trainable"]


def test_a_narrow_terminal_has_the_folders_below() -> None:
    jobs = [job(0, "finished", 1), job(1, "finished", 2)]
    lines = render(jobs, width=70).splitlines()
    assert max(map(len, lines)) <= 70
    assert "  #1  outputs/default/run-r2-1" in lines
    assert render(jobs, width=200) == render(jobs)


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sweep:
    wandb: dict[str, Any] = {"mode": "disabled", "project": "p", "entity": None, "tags": []}
    planned, defaults = [["rank=1"], ["rank=2"]], {"targets": "qv", "rank": "8"}
    begun = Sweep(tmp_path, planned, defaults, tmp_path / "outputs", "default", wandb)
    monkeypatch.setattr(sweep, "_started", begun)
    return begun


def leave(begun: Sweep, done: Job) -> None:
    folder = begun.folder / str(done.number)
    folder.mkdir()
    content = {"overrides": done.overrides, "settings": done.settings, "outcome": done.outcome}
    (folder / JOB).write_text(json.dumps(content), encoding="utf-8")


def test_jobs_are_read_from_what_they_left(started: Sweep) -> None:
    leave(started, job(1, "finished", 2))
    missing = Job(0, ["rank=1"], {"targets": "qv", "rank": "1"})
    assert started.jobs() == [missing, job(1, "finished", 2)]


@pytest.mark.parametrize(
    ("overrides", "shown"),
    [
        ([], {"targets": "qv", "rank": "8"}),
        (["+experiment=table5"], {"targets": "qv", "rank": ""}),
        (["+experiment=table15_mixed_ranks"], {"targets": "", "rank": "8"}),
    ],
)
def test_a_job_that_was_not_run_shows_no_value_that_is_not_its_own(
    monkeypatch: pytest.MonkeyPatch, overrides: list[str], shown: dict[str, str]
) -> None:
    monkeypatch.setattr(sweep, "_started", None)
    monkeypatch.setattr(sweep, "_planned", lambda config: [])
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", overrides=overrides, return_hydra_config=True)
        sweep.SweepCallback().on_multirun_start(config)
    assert sweep._started is not None
    assert sweep._started.defaults == shown


def test_a_rejected_job_is_shown_with_the_values_it_was_given(started: Sweep) -> None:
    rejected = Job(1, ["rank=0"], {}, job(1, "failed").outcome)
    leave(started, rejected)
    assert (started.jobs()[1].value("targets"), started.jobs()[1].value("rank")) == ("qv", "0")


@pytest.mark.parametrize(
    ("statuses", "well"),
    [
        (["finished", "skipped"], True),
        (["finished", "busy"], True),
        (["finished", "failed"], False),
        (["finished"], False),
    ],
)
def test_the_sweep_went_well_unless_a_job_failed_or_was_left_out(
    started: Sweep, capsys: pytest.CaptureFixture[str], statuses: list[str], well: bool
) -> None:
    for number, status in enumerate(statuses):
        leave(started, job(number, status, number + 1))
    assert sweep.report() is well
    assert len(capsys.readouterr().out.split("\n\n")[0].splitlines()) == 5


def test_no_sweep_no_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sweep, "_started", None)
    assert sweep.report() is True
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("status", "calls"), [("finished", 1), ("skipped", 0)])
def test_the_table_is_logged_where_something_was_trained(
    started: Sweep, monkeypatch: pytest.MonkeyPatch, status: str, calls: int
) -> None:
    logged: list[Any] = []
    monkeypatch.setattr("experiments.tracking.log_sweep", lambda *arguments: logged.append(arguments))
    for number in (0, 1):
        leave(started, job(number, status, number + 1))
    sweep.report()
    assert len(logged) == calls
    if calls:
        settings, root, study, _, columns, rows = logged[0]
        assert (settings.mode, settings.tags, root, study) == ("disabled", (), started.root, "default")
        assert columns[-1] == "folder"
        assert [row[2] for row in rows] == ["1", "2"]
