"""The analysis as another process: a stand-in package prints what `python -m analysis` prints."""

from __future__ import annotations

import pytest

from experiments import analysing
from experiments.progress import Progress

STAND_IN = """
import sys
from pathlib import Path
for name in ("fig3.pdf", "fig3.json", "sql/table7.md", "sql/table7.json"):
    path = Path(sys.argv[1]) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    print(path)
print("\\nTable 7\\nq  v\\n")
print("left out: a run: unfinished", file=sys.stderr)
print("error: fig4, sql: study s lacks 1 run; to train it:\\n  python run.py -m seed=1", file=sys.stderr)
print("error: fig7, sql: the same", file=sys.stderr)
"""


class Noted(Progress):
    seen: list
    notes: list

    def note(self, line):
        self.notes.append(line)

    def analysed(self, done, of, latest):
        self.seen.append((done, of, latest))


@pytest.fixture
def progress():
    made = Noted("s", 1, 1)
    made.seen, made.notes = [], []
    return made


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    def install(code):
        (tmp_path / "code/analysis").mkdir(parents=True)
        (tmp_path / "code/analysis/__init__.py").touch()
        (tmp_path / "code/analysis/__main__.py").write_text(code)
        monkeypatch.setattr(analysing, "ROOT", tmp_path / "code")

    return install


def test_results_are_shown_and_the_rest_is_kept(stand_in, progress, tmp_path):
    stand_in(STAND_IN + "sys.exit(1)")
    done = analysing.analyse([str(tmp_path / "out")], 4, progress)
    assert [entry[1:] for entry in progress.seen] == [
        (4, "starting"),
        (4, str(tmp_path / "out/fig3")),
        (4, str(tmp_path / "out/sql/table7")),
    ]
    assert done.text == "Table 7\nq  v"
    assert done.errors == (
        "fig4, sql: study s lacks 1 run; to train it:\n  python run.py -m seed=1",
        "fig7, sql: the same",
    )
    assert progress.notes == ["left out: a run: unfinished"]
    assert done.left_out == {"a run": "unfinished"}


def test_an_analysis_that_breaks_is_an_error(stand_in, progress):
    stand_in("raise SystemExit(3)")
    missing = "what it had not made by then is missing"
    assert analysing.analyse([], 1, progress).errors == (f"the analysis ended with status 3; {missing}",)


@pytest.mark.parametrize(
    ("end", "how"),
    [
        ("import os; os.kill(os.getpid(), 9)", "was killed by SIGKILL, often for lack of memory"),
        ("raise RuntimeError('boom')", "ended with status 1"),
    ],
)
def test_errors_do_not_hide_that_it_broke_off(stand_in, progress, tmp_path, end, how):
    stand_in(STAND_IN + f"sys.stdout.flush()\n{end}")
    *errors, last = analysing.analyse([str(tmp_path / "out")], 20, progress).errors
    assert [error.partition(",")[0] for error in errors] == ["fig4", "fig7"]
    assert last == f"the analysis {how}; what it had not made by then is missing"
