"""`python -m analysis costs`: of a file, of a study that has one, in `all` and in the report."""

from __future__ import annotations

import json
import shutil

import pandas
import pytest

from analysis.commands import main
from tests.analysis import measured
from tests.analysis.planted import STUDY, planted, write_run
from tests.analysis.report.reading import Page

__all__ = ["planted"]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(measured.record()))
    return path


def test_a_file_needs_no_study_and_gives_the_same_bytes_again(file, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["costs", "--from", str(file)]) == 0
    out = tmp_path / "results" / "mine"
    assert {path.name for path in out.iterdir()} == {
        f"costs.{ending}" for ending in ("pdf", "png", "txt", "md", "tex", "csv", "json")
    }
    printed = capsys.readouterr().out
    assert "What LoRA costs, beside other methods (planted, cpu (2 threads))" in printed
    assert "there was no GPU" in " ".join(printed.split())
    assert "trains-faster: supported. 1.5" in printed
    row = next(line.split() for line in printed.splitlines() if line.startswith("LoRA "))
    assert row[1:3] == ["15,000", "1.049"]
    assert [line.split()[:2] for line in printed.splitlines() if line.startswith("paper: A")] == [
        ["paper:", "Adapter^L"],
        ["paper:", "Adapter^H"],
    ]
    numbers = pandas.read_csv(out / "costs.csv").set_index(["quantity", "method"])
    assert numbers.loc[("step, weights", "bias"), "value"].item() == 12_000_000
    assert numbers.loc[("steps a second over full", "bias"), "value"].item() == pytest.approx(1.6, rel=0.02)
    assert json.loads((out / "costs.json").read_text())["machine"]["processor"] == "planted"
    assert main(["costs", "--from", str(file), "--out", str(tmp_path / "again")]) == 0
    for path in out.iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes(), path.name


def test_a_study_whose_folder_has_it_shows_it(planted, file, tmp_path, capsys):
    root = tmp_path / "outputs"
    write_run(root, planted.base, 8, 0)  # of one run the report has little else
    place = ["--study", STUDY, "--root", str(root), "--out", str(tmp_path / "out")]
    assert main(["costs", *place]) == 1
    error = capsys.readouterr().err
    assert f"{root / STUDY} has no costs.json; measure it with python scripts/benchmark_costs.py" in error
    assert error.count("\n") == 1
    assert main(["report", *place, "--wandb", "disabled"]) == 0
    assert "What LoRA costs" not in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")

    shutil.copy(file, root / STUDY / "costs.json")
    assert main(["costs", *place]) == 0
    capsys.readouterr()
    assert main(["report", *place, "--wandb", "disabled"]) == 0
    assert "costs: 5 supported, 1 undecided" in capsys.readouterr().out
    page = Page.read((tmp_path / "out" / "report.html").read_text(encoding="utf-8"))
    block = page.section("tables").one("div", id="costs")
    assert block.one("img").attributes["alt"].startswith("What LoRA costs: ")
    assert "merged-adds-no-latency" in block.text
    assert "paper 1.33" in block.text
    assert "paper: Adapter^H" in block.text
    assert block.text.count("there was no GPU") == 2  # below the figure and below the table


def test_neither_study_nor_file_is_one_line(capsys):
    assert main(["costs"]) == 2
    assert capsys.readouterr().err == (
        "error: costs: give the study with --study, or a file of its own with --from\n"
    )
