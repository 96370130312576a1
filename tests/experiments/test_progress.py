from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import pytest

from experiments.job import Outcome
from experiments.progress import Activity, Progress, clock, cost_order, guess

RECORD = {
    "metric": "accuracy",
    "metrics": {"last": {"step": 5, "dev": {"accuracy": 0.5}, "test": {"accuracy": 0.25}}},
    "timing": {"seconds": 61.0},
}


def outcome(status="finished", error=None):
    return Outcome(status, "sql-q-r1-abc", Path("f"), None if error else RECORD, error, "python run.py")


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def time(monkeypatch):
    made = Clock()
    monkeypatch.setattr("experiments.progress.time.monotonic", made)
    return made


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (7.4, "0:07"), (59.6, "1:00"), (751, "12:31"), (4805, "1:20:05")]
)
def test_clock(seconds, text):
    assert clock(seconds) == text


def test_one_plain_line_a_run(config, time, capsys):
    runs = [config(seed=seed) for seed in range(4)]
    lines = Progress(5, 1, runs)
    time.now += 65
    lines.ended(runs[0], outcome())
    lines.ended(runs[1], outcome("failed", error="no luck"))
    lines.at({}, runs[2:], ["nli-q-r2"], 2)
    lines.at({}, runs[2:], ["nli-q-r2"], 1)
    lines.ended(runs[2], outcome("kept"))
    lines.ended(runs[3], outcome())
    out = capsys.readouterr().out
    assert out.splitlines() == [
        "5 runs, 1 finished before",
        "finished  2/5  sql-q-r1-abc  dev 50.0%  test 25.0%  61.0 s  (1:05 gone, about 3:03 left (estimate))",
        "FAILED    3/5  sql-q-r1-abc: no luck  (1:05 gone, about 2:02 left (estimate))",
        "busy      nli-q-r2: another process trains it; it is waited for",
        "kept      4/5  sql-q-r1-abc  dev 50.0%  test 25.0%  61.0 s  (1:05 gone, about 1:01 left (estimate))",
        "finished  5/5  sql-q-r1-abc  dev 50.0%  test 25.0%  61.0 s  (1:05 gone)",
    ]
    assert lines.summary() == "5 of 5 runs done: 2 finished, 2 kept, 1 failed"
    assert out.replace("\n", "").isprintable()


@pytest.fixture
def panel(time, capsys, monkeypatch):
    monkeypatch.setattr("rich.console.Console.is_terminal", True)
    monkeypatch.setattr("rich.console.Console.is_dumb_terminal", False)
    made = Progress(230, 12, panel=True)
    made.close()
    capsys.readouterr()
    return made


def rendered(panel, width=110):
    from rich.console import Console

    console = Console(width=width, record=True, file=io.StringIO())
    console.print(panel.panel())
    return [line.rstrip() for line in console.export_text().splitlines()]


def test_the_panel_has_a_line_a_worker_and_what_is_left(config, time, panel, capsys):
    one, two = config(rank=64), config(rank=8)
    panel.at({0: Activity(one, time.now, 120, 600), 1: Activity(two, time.now, 0, None)}, [], [], 2)
    time.now += 63
    panel.at({0: Activity(one, 100.0, 120, 600), 1: Activity(two, 100.0, 0, None)}, [], [], 2)
    sweep, first, second = rendered(panel)
    assert sweep.startswith("12 of 230 runs done: 12 kept")
    assert sweep.endswith("1:03 gone")
    assert first.startswith("sql-embedded-qv-r64")
    assert first.endswith("step 120 of 600  1:03")
    assert second.endswith("loading  1:03")
    panel.ended(one, outcome())
    panel.at({1: Activity(two, 100.0, 600, 600)}, [two] * 3, [], 2)
    sweep, second = rendered(panel)
    assert sweep.startswith("13 of 230 runs done: 1 finished, 12 kept")
    assert "left (estimate)" in sweep
    assert second.endswith("evaluating  1:03")
    panel.ended(one, outcome("failed", error="no luck"))
    assert "FAILED    14/230  sql-q-r1-abc: no luck" in capsys.readouterr().out


def test_the_panel_fits_a_narrow_terminal(config, time, panel):
    panel.at({0: Activity(config(rank=64), time.now, 120, 600)}, [], [], 2)
    lines = rendered(panel, width=60)
    assert max(map(len, lines)) <= 60
    assert "step 120 of 600" in lines[1]


def test_lines_where_there_is_no_terminal(config, capsys):
    lines = Progress(2, 0, panel=True)
    lines.at({0: Activity(config(), 0.0, 1, 2)}, [], [], 1)
    lines.ended(config(), outcome())
    lines.close()
    out = capsys.readouterr().out
    assert out.startswith("2 runs, 0 finished before\nfinished  1/2  sql-q-r1-abc")
    assert out.count("\n") == 2


# ------------------------------------------------------------------------------------------ how long it takes


def done(seconds):
    return {"timing": {"seconds": seconds}}


def test_costly_first_and_one_task_after_the_other(config):
    configs = [
        config(targets="qkvo", rank=64, **{"task.name": "nli"}),
        config(targets="q", rank=1, seed=1),
        config(targets="q", rank=1),
        config(targets="qkvo", rank=64),
        config(targets="q", rank=1, **{"task.name": "nli"}),
    ]
    ordered = sorted(configs, key=cost_order)
    assert [ordered.index(one) for one in configs] == [3, 2, 1, 0, 4]


def test_the_guess_follows_steps_and_method(config):
    lora = config(rank=8)
    assert guess(config(rank=8, steps=60)) == pytest.approx(10 * guess(lora))
    assert guess(config(method="full")) > guess(lora) > guess(config(method="none"))


def test_seconds_of_the_runs_most_alike(config, capsys):
    sweep = Progress(9, 0)
    one = config(rank=8)
    assert sweep.left([], [one], 2) is None
    sweep.learn(one, done(10.0))
    sweep.learn(dataclasses.replace(one, seed=1), done(20.0))
    assert sweep.seconds(dataclasses.replace(one, seed=7)) == pytest.approx(15.0)
    full, nli = config(method="full"), config(rank=8, **{"task.name": "nli"})
    assert sweep.seconds(full) == pytest.approx(15.0 * guess(full) / guess(one))  # by what is done of others
    assert sweep.seconds(nli) == pytest.approx(15.0 * guess(nli) / guess(one))
    sweep.learn(full, done(60.0))
    assert sweep.seconds(one) == pytest.approx(15.0)
    assert sweep.seconds(full) == pytest.approx(60.0)


def test_time_left_is_that_of_the_last_worker(config, time, capsys):
    sweep = Progress(9, 0)
    one = config(rank=8)
    sweep.learn(one, done(10.0))
    running = [Activity(one, time.now - 4.0, 1, 2), Activity(one, time.now - 25.0, 2, 2)]
    for of, waiting, left in ([], 0, 0), ([], 3, 20), (running, 0, 6), (running, 1, 10), (running, 2, 16):
        assert sweep.left(of, [one] * waiting, 2) == pytest.approx(left)
