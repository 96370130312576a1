"""The committed tables and figures are what this code makes of the committed runs.

`make reproduce` writes both; a study of fewer seeds in their place is compared just as well.
"""

from pathlib import Path

import pandas
import pytest
from pandas.testing import assert_frame_equal

from analysis.commands import main
from analysis.reading.manifest import MANIFEST
from analysis.reading.study import Study

RESULTS = Path(__file__).resolve().parent.parent / "results" / "embedded"
RUNS = RESULTS / "runs"
PAGE = RESULTS.parent.parent / "docs" / "results.md"


def made_again(out: Path, command: str, *more: str) -> None:
    assert main([command, "--study", "embedded", "--root", str(RUNS), "--out", str(out), *more]) == 0


def assert_same_numbers(made: Path, committed: Path) -> None:
    """Up to what another machine's arithmetic may change."""
    ours, theirs = (pandas.read_csv(file) for file in (made, committed))
    assert len(ours)
    assert_frame_equal(ours, theirs, rtol=1e-5, atol=1e-8)


def test_the_archive_is_as_it_was_made() -> None:
    assert (RUNS / "embedded" / MANIFEST).is_file()
    study = Study.open("embedded", RUNS)
    assert not study.left_out
    assert {run.settings["task"] for run in study.runs} == {"sql", "nli"}


def test_table6(tmp_path: Path) -> None:
    made_again(tmp_path, "table6")
    assert_same_numbers(tmp_path / "table6.csv", RESULTS / "table6.csv")
    assert (tmp_path / "table6.md").read_text() == (RESULTS / "table6.md").read_text()


@pytest.mark.parametrize("task", ["sql", "nli"])
def test_figure3(tmp_path: Path, task: str) -> None:
    made_again(tmp_path, "fig3", "--task", task)
    assert_same_numbers(tmp_path / "fig3.csv", RESULTS / task / "fig3.csv")


def test_the_page_of_results_has_these_numbers() -> None:
    """A study of one's own in results/embedded is not the page's, and this says so."""
    lines = PAGE.read_text(encoding="utf-8").replace("**", "").splitlines()
    table6 = pandas.read_csv(RESULTS / "table6.csv").dropna(subset="mean")
    for targets, cells in table6[table6["task"] == "sql"].groupby("targets"):
        told = " | ".join(f"{cell.mean:.1f} ±{cell.seed_sd:.1f}" for cell in cells.itertuples(index=False))
        weights = ", ".join(f"W_{letter}" for letter in targets)
        assert f"| {weights} | here, sql | {told} |" in lines
    for row in pandas.read_csv(RESULTS / "baselines.csv").itertuples(index=False):
        told = f"| {row.dev:.1f} | {row.mean:.1f} ±{row.seed_sd:.1f} | {row.low:.1f}–{row.high:.1f} |"
        assert any(line.startswith(f"| {row.what} |") and told in line for line in lines), row.what
    claims = pandas.read_csv(RESULTS / "claims.csv")
    for statement, found in claims.groupby("statement"):
        verdicts = found.set_index("task")["verdict"]
        [line] = [line for line in lines if line.startswith(f"| {statement} |")]
        told = [cell.strip().partition(" ")[0] for cell in line.split("|")[2:4]]
        assert told == [verdicts["sql"], verdicts["nli"]], statement
