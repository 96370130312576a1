from __future__ import annotations

import io

import pytest

from experiments.job import Outcome
from experiments.progress import Lines, Panel, Progress, clock, show, told

RECORD = {
    "metric": "accuracy",
    "metrics": {"last": {"step": 5, "dev": {"accuracy": 0.5}, "test": {"accuracy": 0.25}}},
}


def outcome(status="finished", name="sql-q-r1-abc", error=None):
    return Outcome(status, name, "f", None if error else RECORD, error, "python run.py", 61.0)


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (7.4, "0:07"), (59.6, "1:00"), (751, "12:31"), (4805, "1:20:05")]
)
def test_clock(seconds, text):
    assert clock(seconds) == text


def test_a_run_is_told_with_scores_or_its_error():
    assert told(outcome()) == "sql-q-r1-abc  dev 0.5000  test 0.2500  61.0 s"
    assert told(outcome("failed", error="no luck")) == "sql-q-r1-abc: no luck"


def test_one_plain_line_a_run(monkeypatch):
    stream, time = io.StringIO(), Clock()
    lines = Lines("s", 5, 1, clock=time, stream=stream)
    lines.started(0, "sql-q-r1")
    lines.stepped(0, 3, 10)
    time.now += 65
    lines.ended(0, outcome())
    lines.left = 3600.0
    lines.ended(None, outcome("failed", error="no luck"))
    lines.ended(None, outcome("skipped"))
    lines.analysed(1, 18, "results/s/fig3")
    assert stream.getvalue().splitlines() == [
        "finished  2/5  sql-q-r1-abc  dev 0.5000  test 0.2500  61.0 s  (1:05 gone)",
        "FAILED    3/5  sql-q-r1-abc: no luck  (1:05 gone, about 1:00:00 left to train (estimate))",
        "kept      4/5  sql-q-r1-abc  dev 0.5000  test 0.2500  61.0 s  "
        "(1:05 gone, about 1:00:00 left to train (estimate))",
        "analysis  1/18  results/s/fig3  (1:05 gone)",
    ]
    assert lines.summary() == "4 of 5 runs done: 1 finished, 2 kept, 1 failed"
    assert stream.getvalue().isprintable() is False  # only for its line ends
    assert stream.getvalue().replace("\n", "").isprintable()


def rendered(panel, width=90):
    from rich.console import Console

    console = Console(width=width, record=True, file=io.StringIO())
    console.print(panel.render())
    return [line.rstrip() for line in console.export_text().splitlines()]


@pytest.fixture
def panel(monkeypatch):
    time = Clock()
    made = Panel("s", 230, 12, clock=time)
    made.close()
    made.time = time
    return made


def test_the_panel_has_a_line_a_worker_and_what_is_left(panel, capsys):
    panel.started(1, "nli-r8")
    panel.started(0, "sql-r64")
    panel.stepped(0, 120, 600)
    panel.time.now += 63
    one, two, bar, counts, times = rendered(panel)
    assert one.split() == ["worker", "1", "sql-r64", "step", "120", "of", "600", "1:03"]
    assert two.split() == ["worker", "2", "nli-r8", "loading", "1:03"]
    assert set(bar) <= set("━╸╺")
    assert counts == "study s: 12 of 230 runs done: 0 finished, 12 kept, 0 failed"
    assert times == "1:03 gone  time left: known when runs have finished"
    panel.stepped(0, 600, 600)
    assert "evaluating" in rendered(panel)[0]
    panel.left = 4000.0
    assert rendered(panel)[-1] == "1:03 gone  about 1:06:40 left to train (estimate)"
    panel.ended(0, outcome("failed", error="no luck"))
    assert "1 failed" in rendered(panel)[-2]
    assert "FAILED  sql-q-r1-abc: no luck" in capsys.readouterr().out


def test_the_panel_fits_a_narrow_terminal(panel):
    panel.started(0, "sql-embedded-qkvo-r64-lr0.02-seed0")
    panel.stepped(0, 120, 600)
    lines = rendered(panel, width=50)
    assert max(map(len, lines)) <= 50
    assert "step 120 of 600" in lines[0]


def test_the_panel_goes_on_with_the_analysis(panel):
    panel.started(0, "sql-r64")
    panel.analysed(3, 18, "results/s/fig3")
    assert rendered(panel)[0].split() == ["analysis", "results/s/fig3", "3", "of", "18", "results"]


def test_lines_where_there_is_no_terminal(capsys):
    shown = show("s", 2, 0)
    assert type(shown) is Lines
    shown.note("a line")
    assert capsys.readouterr().out == "a line\n"


def test_the_base_shows_nothing(capsys):
    progress = Progress("s", 2, 0)
    progress.started(0, "x")
    progress.ended(0, outcome())
    progress.note("a line")
    progress.close()
    assert capsys.readouterr() == ("", "")
