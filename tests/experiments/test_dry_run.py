"""`--dry-run`: the plan, what it lacks and its cost, without a file written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from experiments import dry_run as module
from experiments.dry_run import ASKED_OFFLINE, dry_run
from experiments.job import Outcome, address
from experiments.plan import PlannedRun, experiment_names, plan

CPU = "cpu (1 thread)"


@pytest.fixture
def planned(config) -> Callable[..., PlannedRun]:
    return lambda **values: PlannedRun(
        config(**values), tuple(f"{key}={value}" for key, value in values.items())
    )


@pytest.fixture(autouse=True)
def wide(monkeypatch) -> None:
    """No terminal, whose width would break lines."""
    monkeypatch.delenv("COLUMNS", raising=False)


@pytest.fixture
def finished(planned) -> Callable[..., PlannedRun]:
    """A finished run of these settings that took so many seconds."""

    def build(seconds: float, device: str = CPU, **values: Any) -> PlannedRun:
        run = planned(**values)
        place = address(run.config)
        record = {
            "config": place.scientific,
            "device": device,
            "metric": "accuracy",
            "metrics": {"last": {"dev": {"accuracy": 0.5}}},
            "timing": {"seconds": seconds},
        }
        with place.folder.lock():
            place.folder.publish(place.folder.begin(), record)
        return run

    return build


def test_the_plan_is_printed_with_addresses_and_nothing_is_written(planned, tmp_path, capsys) -> None:
    runs = [planned(rank=1), planned(rank=2)]
    assert dry_run(runs, 2) == 0
    out = capsys.readouterr().out
    for run in runs:
        assert f"to train  {address(run.config).folder.path}\n" in out
    assert "2 runs: 2 to train\ncost: unknown: no finished run has these settings but for seed and" in out
    assert "missing" not in out
    assert not (tmp_path / "outputs").exists()


def test_what_is_finished_or_busy_is_told(planned, finished, capsys) -> None:
    kept, busy = finished(10.0, rank=1), planned(rank=2)
    with address(busy.config).folder.lock():
        assert dry_run([kept, busy, planned(rank=4)], 1) == 0
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert [" finished " in line for line in lines[2:5]] == [True, False, False]
    assert [" busy elsewhere " in line for line in lines[2:5]] == [False, True, False]
    assert "3 runs: 1 finished, 1 to train, 1 busy elsewhere\n" in out
    assert dry_run([kept], 1) == 0
    assert "cost: nothing is to be trained" in capsys.readouterr().out
    assert dry_run([PlannedRun(planned(rank=1, force=True).config, ())], 1) == 0
    assert "1 run: 1 to train\n" in capsys.readouterr().out


def test_the_cost_is_that_of_finished_runs_that_differ_in_seed_and_rank(planned, finished, capsys) -> None:
    finished(10.0, rank=1, seed=0)
    finished(20.0, rank=64, seed=5, study="another")
    finished(1000.0, rank=1, lr=0.5)
    finished(1000.0, "NVIDIA H100", rank=1, seed=9)
    left = [planned(rank=2, seed=seed) for seed in range(4)]
    assert dry_run(left, 2) == 0
    assert "cost: about 0:30 with 2 workers (15 s a run, by finished runs" in capsys.readouterr().out
    dry_run([*left[:2], planned(steps=7)], 1)
    told = "cost: about 0:30 with 1 worker for 2 of the 3 runs, unknown for the others (15 s a run"
    assert told in capsys.readouterr().out


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"task.name": "mnli", "task.path": "/not/there"}, "task.path=/not/there does not exist"),
        ({"model.name": "/not/there"}, "model.name=/not/there: there is no such folder"),
        ({"device": "cuda:9"}, "device=cuda:9 is not available on this machine; valid are auto, cpu"),
        ({"rank": 300}, "rank=300 is too large for W_q"),
        ({"method": "truncated"}, "is none; train it first: python run.py"),
    ],
)
def test_what_is_missing_is_named_once_with_its_runs(planned, capsys, values, said) -> None:
    runs = [planned(**values, seed=seed) for seed in range(1, 5)]
    assert dry_run([planned(), *runs], 1) == 1
    out = capsys.readouterr().out
    told = out.partition("\nmissing\n")[2]
    assert said in told
    assert "5 runs: 1 to train, 4 cannot run\n" in out
    if "truncated" not in values.values():
        assert told.count(said) == 1
        assert "(#1 to #4, 4 runs)" in told


def test_own_data_is_told_as_it_would_be_split(planned, tmp_path, capsys, monkeypatch) -> None:
    rows = [f'{{"text": "row {number}", "label": "{"ab"[number % 2]}"}}' for number in range(40)]
    file = tmp_path / "mine.jsonl"
    file.write_text("\n".join(rows))
    own = {"task.name": "jsonl", "task.path": str(file), "task.holdout": 4}
    runs = [planned(**own, rank=rank) for rank in (1, 2)]
    assert dry_run(runs, 1) == 0
    told = f"\n\ndata\n  jsonl, {file}: 32 train, 4 dev, 4 test; 2 labels (a, b); accuracy counts\n\n"
    assert told in capsys.readouterr().out
    monkeypatch.setattr(module, "MOST_LABELS", 1)
    dry_run(runs, 1)
    assert "; 2 labels; accuracy counts\n" in capsys.readouterr().out
    monkeypatch.setattr(module, "LARGE", 10)
    assert dry_run(runs, 1) == 0
    assert f"jsonl, {file}: 0 MiB, read when training begins\n" in capsys.readouterr().out


def test_data_that_cannot_be_read_as_a_task_stops_its_runs(planned, tmp_path, capsys, monkeypatch) -> None:
    """Of a release the address is that of its files: what they hold is seen when they are read."""
    monkeypatch.setattr(
        module, "outcome_of", lambda run, since: Outcome("not run", "r", None, None, None, "c")
    )
    (tmp_path / "train.jsonl").write_text('{"text": "a", "label": "b"}\nnothing\n')
    run = planned(**{"task.name": "jsonl", "task.path": str(tmp_path)})
    assert dry_run([run, planned()], 1) == 1
    out = capsys.readouterr().out
    assert "train.jsonl, line 2" in out.partition("\nmissing\n")[2]
    assert "2 runs: 1 to train, 1 cannot run\n" in out
    assert "\ndata\n" not in out


def test_a_run_that_starts_from_a_planned_or_a_finished_one_lacks_nothing(planned, finished, capsys) -> None:
    cut = planned(method="truncated")
    assert dry_run([planned(), cut], 1) == 0
    finished(1.0)
    assert dry_run([cut], 1) == 0


def test_a_store_that_cannot_be_written_is_missing(planned, tmp_path, capsys, monkeypatch) -> None:
    (tmp_path / "file").touch()
    assert dry_run([planned(root=str(tmp_path / "file"))], 1) == 1
    assert "file/test cannot be made or written; give another root or study  (#0)" in capsys.readouterr().out
    monkeypatch.setattr(module.os, "access", lambda folder, mode: False)
    assert dry_run([planned()], 1) == 1


@pytest.mark.parametrize(("asked", "status"), [("0", 0), ("1", 1)])
def test_a_model_of_the_hub_is_missing_where_the_hub_may_not_be_asked(
    planned, capsys, monkeypatch, tmp_path, asked, status
) -> None:
    import huggingface_hub.constants as hub

    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv(ASKED_OFFLINE, asked)
    run = planned(**{"model.name": "someone/something", "task.name": "mnli"})
    assert dry_run([run], 1) == status
    out = capsys.readouterr().out
    told = (
        "from the hub, unless it is in the local cache: model.name=someone/something, the data of task=mnli"
    )
    assert told in out
    assert ("HF_HUB_OFFLINE is set and it is not in the local cache  (#0)" in out) == bool(status)
    snapshot = tmp_path / "cache/models--someone--something"
    (snapshot / "refs").mkdir(parents=True)
    (snapshot / "refs/main").write_text("a" * 40)
    (snapshot / "snapshots" / ("a" * 40)).mkdir(parents=True)
    (snapshot / "snapshots" / ("a" * 40) / "model.safetensors").touch()
    assert dry_run([run], 1) == 0
    assert "local cache: the data of task=mnli" in capsys.readouterr().out


@pytest.mark.parametrize("name", experiment_names())
def test_every_experiment_has_a_dry_run(name, capsys, monkeypatch, tmp_path: Path) -> None:
    import huggingface_hub.constants as hub

    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    of_path = name in ("table18", "table3_gpt2")
    planned = plan(["-m", f"+experiment={name}", "seed=0", *["task.path=nowhere"] * of_path])
    lacks = of_path or name == "truncation"  # the data; the runs that are cut
    assert dry_run(planned.runs, planned.workers) == (1 if lacks else 0)
    assert f"{len(planned.runs)} runs: {len(planned.runs)} " in capsys.readouterr().out
    assert not any(tmp_path.iterdir())


def test_an_encoder_that_is_asked_to_write_is_told_before_it_is_loaded(planned, tmp_path, capsys) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(
        '{"model_type": "bert", "hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1,'
        ' "intermediate_size": 16}'
    )
    (folder / "model.safetensors").write_bytes(b"")
    rows = {"write": '{"prompt": "p%d", "target": "t"}', "judge": '{"text": "p%d", "label": "t"}'}
    for name, row in rows.items():
        lines = [(row % number).replace('"label": "t"', f'"label": "{number % 2}"') for number in range(20)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    for name, status in (("write", 1), ("judge", 0)):
        run = planned(
            **{"model.name": str(folder), "task.name": "jsonl", "task.path": str(tmp_path / f"{name}.jsonl")}
        )
        assert dry_run([run], 1) == status
        out = capsys.readouterr().out
        assert ("\nmissing\n" in out) == bool(status)
        assert ("is a bert encoder, which cannot write text; choose a task with labels" in out) == bool(
            status
        )
