"""`grid`: its tables, numbers and notes, of planted studies."""

from __future__ import annotations

import pytest

from analysis.result import write
from analysis.tables.grid import make
from tests.analysis.report.reading import Page
from tests.analysis.test_grid import reference, select, study

__all__ = ["study"]


def lines(result):
    return [" ".join(line.split()) for line in result.printed().splitlines()]


def notes(result):
    return " ".join(note for table in result.tables for note in table.notes)


def fill(study):
    """v and up at ranks 3 and 5, three seeds, and what has no rank."""
    for seed in range(3):
        for rank, share in ((3, 0.5), (5, 0.8)):
            study.run(targets="v", rank=rank, seed=seed, share=share)
        study.run(targets="up", rank=3, ranks={"up": 3}, seed=seed, share=0.82)
        reference(study, "full", seed=seed, share=0.9, lr=0.001)
        reference(study, "none", seed=seed, share=0.1, lr=None)


def test_whatever_the_study_holds(study):
    fill(study)
    result = make(select(study), margin=5.0)
    told = lines(result)
    assert "weights r=3 r=5 no rank" in told
    assert "sql W_v mean 50.0 ±0.0 80.0 ±0.0 –" in told
    assert "sql W_up mean 82.0 ±0.0* – –" in told
    assert "sql full fine-tuning mean – – 90.0 ±0.0" in told
    assert "sql base model mean – – 10.0 ±0.0" in told
    assert not any("paper" in line.lower() for line in told)
    [row] = [line for line in told if line.startswith("sql v r=5")]
    assert row.startswith("sql v r=5 10,240 80.0 80.0 ±0.0 ")
    assert row.endswith(" within 0.02 1 3")
    assert "Numbers: logical form accuracy on sql, in %, mean ± standard deviation over 3" in notes(result)
    assert "; test split, 200 (sql) examples; checkpoint: the last step." in notes(result)
    assert "Learning rate: 0.001, 0.02, by cell as the study has it." in notes(result)
    assert result.answers[0].startswith("sql: up r=3, 6,144 parameters, is ")
    assert result.name == "grid-margin5"
    assert [*result.drawings] == ["", "-parameters"]


def test_numbers_for_programs(study):
    fill(study)
    result = make(select(study), margin=5.0)
    frame = result.numbers.set_index("cell")
    assert [*frame.index] == ["v r=3", "v r=5", "up r=3", "full fine-tuning", "base model"]
    assert frame.loc["v r=5", ["mean", "parameters", "seconds", "lr", "dev"]].tolist() == pytest.approx(
        [80, 10240, 1.0, 0.02, 80]
    )
    assert frame.loc["v r=3", "to_highest"] == pytest.approx(-32)
    assert frame["answer"].tolist()[:3] == ["worse", "within", "within"]
    assert frame["answer"].isna().tolist()[3:] == [True, True]
    named = {run for runs in frame["runs"] for run in runs.split()}
    assert named | {*result.provenance["not_in_the_grid"]} == {run.id for run in study.runs}
    assert named == {*result.provenance["runs"]}


def test_the_papers_rows_on_demand(study):
    for rank in (1, 3):
        study.run(rank=rank)
    study.run(targets="k", rank=8)
    told = lines(make(select(study), paper=True))
    assert "WikiSQL paper 73.4 73.8" in told  # also of a rank that the study has of other weights alone
    assert "WikiSQL paper 70.0" in told  # of Table 5
    assert "GPT-3 175B" in notes(make(select(study), paper=True))
    frame = make(select(study), paper=True).numbers
    assert frame.set_index("cell")["paper"].isna().to_dict() == {
        "k r=8": False,
        "qv r=1": False,
        "qv r=3": True,
    }


def test_no_run_vanishes_without_a_word(study):
    study.run(lr=0.01, dev=0.9)
    study.run(lr=0.1, dev=0.5)
    study.run(lr=0.01, alpha=16.0, dev=0.9)
    for targets in ("qv", "qkvo"):
        reference(study, "full", targets=targets)
    study.run(lr=0.01, seed=5)
    left_out = [("broken-run", "unfinished: no run.json")]
    text = notes(make(select(study, left_out, seeds=(0,))))
    assert f"not the cell's best on dev, or has fewer seeds than another: {study.runs[1].id}." in text
    assert f"whose dW they keep: {study.runs[4].id}." in text
    assert "Not chosen, by --task, --seeds or --choose: 1 run." in text
    assert "Left out, as unfinished or damaged: broken-run." in text
    assert "W_q, W_v alpha=16" in make(select(study)).printed()
    assert "0.01 of 2" in make(select(study)).printed()


def test_one_seed_and_nothing_marked(study):
    study.run(rank=1, share=0.2)
    study.run(rank=8, share=0.9)
    result = make(select(study))
    assert "one seed; test split" in notes(result)
    assert "†" not in result.printed()
    assert "*" not in result.printed()
    assert "One seed decides nothing" in result.answers[0]
    assert len(result.answers) == 1


def test_every_form_is_written(study, tmp_path):
    fill(study)
    files = {path.name for path in write(make(select(study)), tmp_path / "out")}
    assert files == {
        *(f"grid{end}" for end in (".md", ".tex", ".csv", ".json", ".html")),
        *(f"grid{suffix}.{end}" for suffix in ("", "-parameters") for end in ("png", "pdf", "txt")),
    }
    markdown = (tmp_path / "out" / "grid.md").read_text()
    assert "is the smallest" in markdown or "is shown to be" in markdown
    assert "In at most" in markdown or "in at most 5% of studies" in markdown
    assert "$W_q" not in (tmp_path / "out" / "grid.csv").read_text()
    page = Page.read((tmp_path / "out" / "grid.html").read_text()).root
    assert page.one("h1").text == "Weights and rank: study mine"
    assert page.one("p", class_="lead").text.startswith("sql: up r=3, 6,144 parameters, is ")
    assert [image.attributes["src"][:21] for image in page.all("img")] == ["data:image/png;base64"] * 2
    by_rank, each = (table.rows() for table in page.all("table"))
    assert ["sql", "Wup", "mean", "82.0 ±0.0", "–", "–"] in by_rank
    assert [row[1] for row in each[1:]] == ["v r=3", "v r=5", "up r=3", "full fine-tuning", "base model"]
    assert not page.all("script")


def test_a_study_of_references_alone_has_no_picture(study):
    reference(study, "none", lr=None, share=0.1)
    result = make(select(study))
    assert result.drawings == {}
    assert result.answers == []
    assert "sql base model mean 10.0" in lines(result)


def test_settings_that_a_record_leaves_out_at_their_defaults_are_told_where_cells_differ(study):
    study.run(rank=1)
    study.run(rank=4, train="B", lr_ratio=16.0)
    told = notes(make(select(study)))
    assert "The cells differ in more than weights and rank: " in told
    assert "train (both, B)" in told
    assert "lr_ratio (1, 16)" in told
