"""The committed tables and figures are what this code makes of the committed runs.

`make reproduce` writes both; a study of fewer seeds in their place is compared just as well.
"""

import json
import re
from pathlib import Path

import pandas
import pytest
from pandas.testing import assert_frame_equal

from analysis.commands import main
from analysis.reading.manifest import MANIFEST
from analysis.reading.study import Study

RESULTS = Path(__file__).resolve().parent.parent / "results" / "embedded"
RUNS = RESULTS / "runs"
SINCE = RESULTS.parent / "since"
REPOSITORY = RESULTS.parent.parent
PAGE = REPOSITORY / "docs" / "results.md"
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")


def made_again(out: Path, command: str, *more: str, results: Path = RESULTS) -> None:
    place = ["--study", results.name, "--root", str(results / "runs"), "--out", str(out)]
    assert main([command, *place, *more]) == 0


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


def test_claims_made_since(tmp_path: Path) -> None:
    for command in ("claims", "grid"):
        made_again(tmp_path, command, results=SINCE)
        assert_same_numbers(tmp_path / f"{command}.csv", SINCE / f"{command}.csv")
        assert (tmp_path / f"{command}.md").read_text() == (SINCE / f"{command}.md").read_text()


def test_the_page_of_results_has_these_numbers() -> None:
    """A study of one's own in results/embedded is not the page's, and this says so."""
    lines = PAGE.read_text(encoding="utf-8").replace("**", "").splitlines()
    table6 = pandas.read_csv(RESULTS / "table6.csv").dropna(subset="mean")
    for (task, targets), cells in table6.groupby(["task", "targets"]):
        told = " | ".join(f"{cell.mean:.1f} ±{cell.seed_sd:.1f}" for cell in cells.itertuples(index=False))
        weights = ", ".join(f"W_{letter}" for letter in targets)
        assert f"| {weights} | here, {task} | {told} |" in lines
    for row in pandas.read_csv(RESULTS / "baselines.csv").itertuples(index=False):
        told = f"| {row.dev:.1f} | {row.mean:.1f} ±{row.seed_sd:.1f} | {row.low:.1f}–{row.high:.1f} |"
        assert any(line.startswith(f"| {row.what} |") and told in line for line in lines), row.what
    since = pandas.read_csv(SINCE / "claims.csv")
    claims = pandas.concat([pandas.read_csv(RESULTS / "claims.csv"), since[since["since"]]])
    for statement, found in claims.groupby("statement"):
        verdicts = found.set_index("task")["verdict"]
        [line] = [line for line in lines if line.startswith(f"| {statement} |")]
        told = [cell.strip().partition(" ")[0] for cell in line.split("|")[2:4]]
        assert told == [verdicts.get("sql", ""), verdicts.get("nli", "")], statement


def test_readme_shows_runs_of_the_archive() -> None:
    rows = re.findall(
        r"^\d +qv +(\d+) +([\d,]+) +(\S+) +(\S+) +\S+ +finished +outputs/default/(\S+)$", README, re.M
    )
    assert [int(row[0]) for row in rows] == [1, 2, 4, 8]
    for _, trainable, dev, test, run in rows:
        record = json.loads((RUNS / "embedded" / run / "run.json").read_text(encoding="utf-8"))
        scores = [100 * record["metrics"]["last"][split][record["metric"]] for split in ("dev", "test")]
        assert [f"{score:.1f}" for score in scores] == [dev, test]
        assert f"{record['parameters']['trainable']:,}" == trainable


def test_readme_has_no_number_that_the_results_do_not_have() -> None:
    """Each of "What came out", as it is rounded there, is a value of one of the tables."""
    came_out = README.partition("## What came out")[2].partition("\n## ")[0]
    numbers = re.findall(r"(?<![\w.])\d+\.\d+", re.sub(r"GPT-2 of \d\.\dM", "", came_out))
    assert len(numbers) > 10
    of_tasks = [*RESULTS.glob("*/fig3.csv"), *RESULTS.glob("*/table7.csv")]
    tables = [*RESULTS.glob("*.csv"), SINCE / "grid.csv", *of_tasks]
    known = {
        f"{abs(value):.{digits}f}"
        for table in tables
        for column in pandas.read_csv(table).select_dtypes("number")
        for value in pandas.read_csv(table)[column].dropna()
        for digits in (1, 2)
    }
    assert {*numbers} <= known
