"""What `python -m analysis claims` prints and leaves."""

from __future__ import annotations

import json
import shutil

import pandas
import pytest

from analysis.claims import CLAIMS as EVERY_CLAIM
from analysis.claims.table import make
from analysis.commands import main
from analysis.geometry.amplification import _random_norms
from analysis.reading.study import Study
from analysis.registry import always
from analysis.selection import Selection
from tests.analysis.claims.builder import FALSE, STUDY, TRUE, write_run, write_study

CLAIMS = [one for one in EVERY_CLAIM if one.applies is always]
"""Of a study without truncated runs."""


@pytest.fixture(scope="module")
def root(claims, tmp_path_factory):
    """The root of a study of two tasks that lacks runs."""
    root = tmp_path_factory.mktemp("several")
    write_study(root, claims.base, TRUE, cells={"q": (8,), "qv": (4, 8, 64)}, seeds=(0, 1, 2))
    write_study(root, claims.base, FALSE, cells={"qv": (8, 64)}, seeds=(0, 1, 2), task="nli")
    return root


@pytest.fixture
def several(root, tmp_path):
    """A folder of results, none yet, beside that study."""
    (tmp_path / "outputs").symlink_to(root)
    return tmp_path


def run(folder, *arguments):
    place = ["--study", STUDY, "--root", str(folder / "outputs"), "--out", str(folder / "results")]
    return main([arguments[0], *place, *arguments[1:]])


def words(text):
    return " ".join(text.split())


def test_the_verdicts_at_a_glance(claims):
    made = make(claims.select("true"))
    lines = made.printed().splitlines()
    assert lines[0] == "Claims of Section 7 on study claims: 11 supported"
    assert words(lines[2]) == "section claim verdict value interval wanted chance paper p seeds more seeds"
    rows = [words(line) for line in lines[4:15]]
    assert [row.split()[1] for row in rows] == [claim.name for claim in CLAIMS]
    assert rows[0].startswith("7.1 qv-beats-q supported +15.2 +13.4 to +")
    assert rows[0].endswith("> 0 0 +3.3 <0.001 5 –")
    assert rows[5] == "7.2 top-shared supported 1 1 to 1 > 0.504 0.00735 > 0.5 <0.001 5 –"
    text = words(made.printed())
    for sentence in (
        "qv-beats-q: W_q and W_v together beat W_q alone at equal budget. Value: accuracy of qv r=4 minus q "
        "r=8, points. In %: qv r=4:",
        'what counts as equal is 1 point, which a claim of "as good" grants (non-inferiority)',
        "p corrected by Holm over a task's claims about accuracy.",
        "by the variance components of the crossed table of seeds and examples",
        "Student's t over seeds, taken for normal too; all layers are taken",
        "Geometry of the runs that adapt qv; directions: right singular vectors of A alone",
    ):
        assert sentence in text
    assert "python run.py" not in made.printed()


def test_undecided_claims_have_their_seeds_in_the_table(claims):
    found = make(claims.select("open"))
    row = next(line for line in found.printed().splitlines() if "  af-falls  " in line)
    plan = found.numbers.set_index("claim").loc["af-falls"]
    assert words(row).endswith(f" 5 {plan['needed']} ({plan['needed_fewest']} to >100)")


def test_the_tidy_form_has_every_judgement(several):
    assert run(several, "claims") == 0
    frame = pandas.read_csv(several / "results" / "claims.csv")
    assert len(frame) == 2 * len(CLAIMS)
    assert [*frame["task"].unique()] == ["sql", "nli"]
    by_claim = frame.set_index(["task", "claim"])
    better = by_claim.loc["sql", "qv-beats-q"]
    assert (better["verdict"], better["section"], better["seeds"], better["level"]) == (
        "supported",
        7.1,
        3,
        0.95,
    )
    assert better["low"] < better["value"] < better["high"]
    lacking = by_claim.loc["sql", "r1-short-q"]
    assert lacking["verdict"] == "not testable"
    assert lacking["missing"] == "q r=1 seed=0; q r=1 seed=1; q r=1 seed=2"
    assert lacking["commands"].endswith("targets=q rank=1 seed=0,1,2")
    assert pandas.isna(lacking["value"])
    assert {"statistic", "null", "wanted", "margin", "p_holm", "needed", "paper", "note"} <= {*frame}


def test_tasks_stand_in_one_table_and_commands_below(several, capsys):
    assert run(several, "claims") == 0
    out = capsys.readouterr().out
    assert "Claims of Section 7 on study claims: " in out
    rows = [line.split()[:4] for line in out.splitlines() if line.startswith(("sql ", "nli "))]
    assert [row[0] for row in rows] == ["sql"] * len(CLAIMS) + ["nli"] * len(CLAIMS)
    assert "points. On sql: in %: qv r=4:" in words(out)
    assert "On nli: lacks 6 runs." in words(out)
    commands = [line for line in out.splitlines() if line.startswith("  python run.py -m study=claims ")]
    # Each run is asked for once, though several claims lack it.
    count = 0
    for line in commands:
        swept = dict(word.split("=", 1) for word in line.split() if "=" in word)
        count += (
            len(swept["targets"].split(",")) * len(swept["rank"].split(",")) * len(swept["seed"].split(","))
        )
    assert f"To train the {count} runs that are missing:" in out
    of_nli = {("q", 1), ("q", 8), ("k", 8), ("v", 8), ("o", 8), ("qv", 1), ("qv", 4)}
    of_nli |= {("qkvo", 1), ("qkvo", 2), ("qkvo", 8)}
    assert count == 3 * (len(of_nli) + len(of_nli) - 2)


def test_files_in_every_form(several, capsys):
    assert run(several, "claims", "--margin", "2", "--split", "dev", "--task", "sql") == 0
    folder = several / "results"
    names = {path.name for path in folder.iterdir()}
    assert names == {f"claims-dev-margin2.{ending}" for ending in ("csv", "json", "md", "tex")}
    markdown = (folder / "claims-dev-margin2.md").read_text()
    assert "| 7.1 | qv-beats-q | supported |" in markdown
    assert "```\npython run.py -m study=claims" in markdown
    latex = (folder / "claims-dev-margin2.tex").read_text()
    assert r"7.1 & qv-beats-q & supported" in latex
    assert latex.isascii()
    record = json.loads((folder / "claims-dev-margin2.json").read_text())
    assert (record["margin"], record["alpha"], record["split"], record["task"]) == (2, 0.05, "dev", "sql")
    assert record["commands"][0].startswith("python run.py -m")
    assert len(record["runs"]) == 12


def test_a_repeat_gives_the_same_bytes(several):
    for name in ("one", "two"):
        assert run(several, "claims") == 0
        shutil.move(several / "results", several / name)
        _random_norms.cache_clear()
    for path in (several / "one").iterdir():
        assert path.read_bytes() == (several / "two" / path.name).read_bytes()


def test_tables_5_and_6_take_all_tasks(several, capsys):
    assert run(several, "table5") == 0
    assert run(several, "table6", "--checkpoint", "best", "--seeds", "0,1") == 0
    names = {path.name for path in (several / "results").iterdir()}
    assert names == {
        *(f"table5.{ending}" for ending in ("csv", "json", "md", "tex")),
        *(f"table6-best-seed0-1.{ending}" for ending in ("csv", "json", "md", "tex")),
    }
    out = capsys.readouterr().out
    assert "Table 5: which weight types to adapt, with 4,352 parameters" in out
    assert "Table 6: the effect of the rank" in out
    cells = pandas.read_csv(several / "results" / "table6-best-seed0-1.csv")
    assert {*cells[cells["mean"].notna()]["task"]} == {"sql", "nli"}
    assert {*cells["seeds"].dropna()} == {2}
    record = json.loads((several / "results" / "table5.json").read_text())
    assert record["task"] == ["sql", "nli"]
    assert {"targets", "basis"}.isdisjoint(record)
    assert {name.split("-r")[0] for name in record["runs"]} == {"sql-q", "sql-qv"}
    assert run(several, "table5", "--task", "nli") == 1
    error = capsys.readouterr().err
    first, *lines = error.splitlines()
    assert first.startswith("error: the study lacks runs of q at r=8")
    assert first.endswith("; to train them:")
    assert all(line.startswith("  python run.py -m ") for line in lines)
    assert "task=nli" in lines[0]
    assert "targets=q rank=8 seed=0,1,2" in lines[0]
    assert run(several, "baselines", "--task", "sql") == 1
    [line] = capsys.readouterr().err.splitlines()[1:]
    assert line.startswith("  python run.py -m ")
    assert line.endswith(" method=none,full,bias seed=0,1,2")
    assert "task=sql" in line
    assert " lr=" not in line
    assert "alpha=" not in line


def test_tables_5_and_6_take_every_seed_that_was_chosen_or_none(claims, tmp_path, capsys):
    write_study(tmp_path / "outputs", claims.base, TRUE, cells={"qv": (1, 8)}, seeds=(0, 1))
    write_run(tmp_path / "outputs", claims.base, TRUE, "qv", 4, 0)
    assert run(tmp_path, "table6", "--seeds", "0") == 0
    assert run(tmp_path, "table6", "--seeds", "0,1") == 1
    assert "--seeds 0,1: not each of them has a run of sql qv r=4" in capsys.readouterr().err
    assert run(tmp_path, "table6", "--seeds", "0,7") == 1
    assert "has no run with seed 7; it has 0,1" in capsys.readouterr().err


def test_runs_of_two_models_are_not_compared(claims, tmp_path, capsys):
    """Of one name, as where the branch of a hub has moved."""
    for rank, commit in ((1, "a" * 40), (8, "b" * 40)):
        folder = write_run(tmp_path / "outputs", claims.base, TRUE, "qv", rank, 0)
        record = json.loads(folder.file("run.json").read_text())
        record["model"] = {"name": "org/tiny", "revision": commit, "sha256": None}
        folder.file("run.json").write_text(json.dumps(record))
    assert run(tmp_path, "table6") == 1
    assert "org/tiny (aaaaaaaaaaaa), org/tiny (bbbbbbbbbbbb)" in capsys.readouterr().err
    assert run(tmp_path, "claims", "--base", str(claims.base)) == 0
    printed = words(capsys.readouterr().out)
    assert (
        "r1-suffices-qv: r = 1 is as good as r = 8 for W_q and W_v. study claims: the runs are of" in printed
    )


def test_a_w_that_is_only_believed_is_said(claims, tmp_path):
    for rank in (4, 64):
        folder = write_run(tmp_path / "outputs", claims.base, TRUE, "qv", rank, 0)
        record = json.loads(folder.file("run.json").read_text())
        record["model"] |= {"name": "org/tiny", "revision": "a" * 40, "sha256": None}
        folder.file("run.json").write_text(json.dumps(record))
    study = Study.open(STUDY, tmp_path / "outputs")
    made = make(Selection.of_tasks(study, base=str(claims.base)))
    assert "W is read from the folder base, unverified" in words(made.printed())
    assert made.provenance["W"] == {"base": str(claims.base), "verified": False}
    assert "unverified" not in make(claims.select("open")).printed()


def test_all_makes_every_task(several, capsys, monkeypatch):
    """What one task lacks keeps nothing from the other."""
    monkeypatch.setattr("analysis.result.rendered", lambda *arguments, **options: b"")  # pictures take long
    assert run(several, "all", "--wandb", "disabled") == 0
    folder = several / "results"
    made = {path.relative_to(folder).as_posix() for path in folder.rglob("*.csv")}
    assert {"table5.csv", "table6.csv", "claims.csv", "sql/fig3.csv", "nli/fig3.csv"} <= made
    assert {"sql/spectra.csv", "nli/table7.csv"} <= made
    told = capsys.readouterr().err.splitlines()
    assert [line for line in told if line.startswith("error: ")] == []
    (line,) = (line for line in told if line.startswith("not made: "))
    assert line.startswith("not made: baselines: the study lacks runs of the base model, full")


def test_wrong_options(capsys):
    for arguments, message in (
        (["claims", "--study", "x", "--margin", "0"], "give points above 0"),
        (["claims", "--study", "x", "--margin", "a"], "give points above 0"),
        (["claims", "--study", "x", "--split", "train"], "invalid choice: 'train'"),
        (["table5", "--study", "x", "--basis", "A"], "unrecognized arguments: --basis A"),
        (["fig3", "--study", "x", "--margin", "1"], "unrecognized arguments: --margin 1"),
        (["fig3", "--study", "x", "--split", "dev"], "unrecognized arguments: --split dev"),
    ):
        assert main(arguments) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
