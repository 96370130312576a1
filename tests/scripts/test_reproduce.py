"""`scripts/reproduce.py` as a person starts it: really trained, with few steps; the analysis is stubbed."""

from __future__ import annotations

import importlib.util
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from experiments.job import Outcome
from experiments.store import ADAPTER, ADAPTER_INIT, HISTORY, PREDICTIONS, RUN

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPT = REPOSITORY / "scripts" / "reproduce.py"
SMALL = ["task=sql", "task.train=16", "task.dev=3", "task.test=2", "steps=2", "wandb.mode=disabled"]


def load():
    spec = importlib.util.spec_from_file_location("reproduce", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def reproduce(monkeypatch):
    """`reproduce(argument, ...)`: main(), with an analysis that only keeps what it was asked for."""
    asked = []

    def analyse(arguments):
        asked.append(arguments)
        print("Table 6")
        return call.status

    monkeypatch.setattr("analysis.commands.main", analyse)

    def call(*arguments):
        return load().main(arguments)

    call.asked, call.status = asked, 0
    return call


@pytest.fixture
def trained(monkeypatch):
    """Training that only says that every run was finished before; of a study without faults."""
    from analysis.reading.study import Study

    monkeypatch.setattr(Study, "open", lambda *_: type("Opened", (), {"left_out": []}))

    def train(runs, workers=None):
        return [Outcome("kept", run.config.readable_name(), None, {}, None, run.command) for run in runs]

    monkeypatch.setattr("experiments.engine.train", train)


def numbers(path: Path) -> list[dict]:
    """The history without what is measured by the clock."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [{key: value for key, value in line.items() if "per_second" not in key} for line in lines]


def test_runs_are_those_of_run_py_to_the_byte_and_a_failed_one_is_told(reproduce, tmp_path, capfd):
    ours = ["--study", "s", "--seeds", "1", "--workers", "2", "--out", str(tmp_path / "res")]
    ours += ["--experiments", "fig4", f"root={tmp_path / 'ours'}", *SMALL, "clip=0"]
    assert reproduce(*ours, "lr=1e30,1e-2") == 1
    told = capfd.readouterr()
    assert "study s: 2 runs, 0 finished before\n" in told.out
    assert "Table 6" in told.out  # what there is is analysed all the same
    assert "\x1b" not in told.out
    place = ["--study", "s", "--root", str(tmp_path / "ours"), "--out", str(tmp_path / "res")]
    skip = ["--skip", "fig3,fig6,fig8,baselines,table5,table6,table7,fig4,fig7"]
    assert reproduce.asked == [["all", *place, *skip, "--wandb", "disabled", "--project", "lora-section-7"]]

    [broken] = (tmp_path / "ours/s").glob("sql-*-lr1e+30-*")
    error, command = told.err.splitlines()
    assert error.startswith(f"failed: {broken.name}: training diverged at step")
    assert command.strip().startswith("python run.py seed=0 ")
    assert {f"root={tmp_path / 'ours'}", *SMALL, "lr=1e+30"} <= set(shlex.split(command))

    [made] = (tmp_path / "ours/s").glob("sql-*-lr0.01-*")
    theirs = ["study=s", f"root={tmp_path / 'theirs'}", "targets=qv", "rank=64", "lr=0.01", "clip=0", *SMALL]
    subprocess.run(
        [sys.executable, str(REPOSITORY / "run.py"), *theirs],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=True,
        capture_output=True,
    )
    other = tmp_path / "theirs/s" / made.name
    for name in (ADAPTER, ADAPTER_INIT, PREDICTIONS):
        assert (made / name).read_bytes() == (other / name).read_bytes()
    assert numbers(made / HISTORY) == numbers(other / HISTORY)
    records = [json.loads((folder / RUN).read_text()) for folder in (made, other)]
    for record in records:
        assert record["device"] == "cpu (1 thread)"
        del record["timing"], record["finished_at"], record["overrides"], record["sweep"]
    assert records[0] == records[1]

    before = (made / RUN).stat().st_mtime_ns
    assert reproduce(*ours, "lr=1e-2") == 0
    assert (made / RUN).stat().st_mtime_ns == before
    assert "study s: 1 runs, 1 finished before" in capfd.readouterr().out


def test_a_dry_run_shows_the_plan_and_writes_nothing(reproduce, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")  # and as it was, afterwards
    monkeypatch.setenv("LORA_SECTION7_ASKED_OFFLINE", "0")
    assert reproduce("--dry-run", "--seeds", "2", "--experiments", "table7,fig4", "task=sql") == 0
    assert "4 runs: 4 to train\n" in capsys.readouterr().out
    assert reproduce("--dry-run", "--experiments", "fig4", "device=cuda:9", "--seeds", "1") == 1
    assert reproduce.asked == []
    assert not any(tmp_path.iterdir())


def test_what_cannot_be_made_is_named_and_not_tried(reproduce, trained, capsys):
    assert reproduce("--seeds", "1", "--experiments", "fig4,table6", "task=sql") == 0
    told = capsys.readouterr().out
    assert "not made: fig4: it compares seeds, and there is one\n" in told
    assert "not made: table7: its experiment was not asked for\n" in told
    assert "table6" not in told
    assert reproduce("--seeds", "2", "--experiments", "fig4", "task=sql") == 0
    assert reproduce.asked[-1][reproduce.asked[-1].index("--skip") + 1].split(",") == [
        *("fig3", "fig6", "fig8", "baselines", "table5", "table6", "table7"),
    ]
    reproduce.status = 1  # a result that was asked for could not be made
    assert reproduce("--seeds", "2", "--experiments", "fig4", "task=sql") == 1


def test_a_finished_run_that_cannot_be_read_is_told_with_its_repair(reproduce, trained, capsys, monkeypatch):
    from analysis.reading.study import Study

    left_out = [("another", "unfinished: no run.json")]  # no run of these
    monkeypatch.setattr(Study, "open", lambda *_: type("Opened", (), {"left_out": left_out}))
    fig4 = ["--experiments", "fig4", "--seeds", "1", "task=sql"]
    assert reproduce(*fig4) == 0
    run = "sql-embedded-qv-r64-lr0.005-seed0"
    left_out.append((run, "adapter.safetensors: no such file"))
    capsys.readouterr()
    assert reproduce(*fig4) == 1
    told, command = capsys.readouterr().err.splitlines()
    assert told == f"damaged: {run}: adapter.safetensors: no such file"
    assert command.strip().startswith("python run.py seed=0 ")
    assert command.endswith(" force=true")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["--seeds", "0"], "this is a sweep of 0 runs; give one of 1 to 10,000"),
        (
            ["--experiments", "table9"],
            "experiment=table9 is unknown; valid are attention_or_mlp",
        ),
        (["--sudy", "x"], "--sudy is not an option"),
        (["rnak=3"], "rnak is not a key; did you mean rank?"),
        (["+experiment=fig3"], "give one experiment a command"),
        (["study=a,b"], "the runs lie in several studies; give one study and one root"),
    ],
)
def test_wrong_use_is_one_line_and_status_2(reproduce, capsys, arguments, error):
    try:
        status = reproduce("--experiments", "fig4", *arguments)
    except SystemExit as end:  # argparse's
        status = end.code
    assert status == 2
    assert error in capsys.readouterr().err.splitlines()[-1]


def test_ctrl_c_stops_all_and_tells_how_to_go_on(tmp_path):
    arguments = ["--study", "s", "--seeds", "1", "--workers", "1", "--experiments", "fig4"]
    overrides = [f"root={tmp_path}", *SMALL, "steps=5000"]
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), *arguments, *overrides],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # a group of its own, which a terminal would signal as a whole
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob("s/sql-*/.training/history.jsonl")) and time.monotonic() < deadline:
            time.sleep(0.05)
        start = time.monotonic()
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=30)  # until the workers, which hold the pipes too, are gone
    finally:
        process.kill()
    assert process.returncode == 130
    assert time.monotonic() - start < 10
    assert err.strip().startswith("interrupted: finished runs are kept; the same command skips them")
    assert "Traceback" not in out + err
