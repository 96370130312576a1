"""The same claims on several studies, read from what `claims` wrote."""

import json
import shutil

import pandas
import pytest

from analysis.claims.across import across
from analysis.commands import main
from analysis.errors import AnalysisError
from tests.analysis.claims.builder import FALSE, STUDY, TRUE, write_study


@pytest.fixture(scope="module")
def judged(claims, tmp_path_factory):
    """Results of two studies: what is planted as true in one is false in the other."""
    place = tmp_path_factory.mktemp("across")
    for name, truth in (("first", TRUE), ("second", FALSE)):
        root, out = place / name, place / f"r-{name}"
        write_study(root, claims.base, truth, cells={"q": (8,), "qv": (4, 8, 64)}, seeds=(0, 1, 2))
        assert main(["claims", "--study", STUDY, "--root", str(root), "--out", str(out)]) == 0
        record = out / "claims.json"
        record.write_text(json.dumps({**json.loads(record.read_text()), "study": name}))
    return [place / "r-first", place / "r-second"]


@pytest.fixture
def written(judged, tmp_path):
    """Copies of them, which a test may change."""
    return [shutil.copytree(folder, tmp_path / folder.name) for folder in judged]


def test_each_cell_is_the_verdict_and_value_of_its_study(written):
    table = across(written).tables[0]
    rows = {row.labels[1]: [cell.text for cell in row.cells] for group in table.groups for row in group}
    for place, folder in enumerate(written, start=1):
        for found in pandas.read_csv(folder / "claims.csv").itertuples():
            cell = rows[found.statement][place]
            assert cell.startswith(found.verdict)
            assert (f"({found.value:+.1f})" in cell) == (found.examples > 0)
    beats = rows["W_q and W_v together beat W_q alone at equal budget"]
    assert beats[0] == "+3.3"  # 73.7 - 70.4, Table 5
    assert beats[1].startswith("supported (+")
    assert beats[2].startswith("contradicted (-")


def test_its_files_hold_every_judgement(written, tmp_path, capsys):
    assert main(["across", *map(str, written), "--out", str(tmp_path / "out")]) == 0
    numbers = pandas.read_csv(tmp_path / "out" / "across.csv")
    each = [pandas.read_csv(folder / "claims.csv") for folder in written]
    assert len(numbers) == sum(map(len, each))
    assert numbers.value.equals(pandas.concat(each, ignore_index=True).value)
    assert {*numbers.study} == {"first", "second"}
    assert "first, sql" in capsys.readouterr().out
    assert json.loads((tmp_path / "out" / "across.json").read_text())["studies"] == ["first", "second"]


def test_a_claim_that_one_study_lacks_is_a_dash(written):
    path = written[1] / "claims.csv"
    kept = pandas.read_csv(path, dtype={"section": str})
    kept[kept.claim != "qv-beats-q"].to_csv(path, index=False)
    rows = {row.labels[1]: row.cells for row in across(written).tables[0].groups[0]}
    assert rows["W_q and W_v together beat W_q alone at equal budget"][2].text == "–"


def test_what_is_no_results_folder_is_one_line(written, tmp_path, capsys):
    assert main(["across", str(tmp_path / "none")]) == 1
    assert "claims.json cannot be read: No such file or directory" in capsys.readouterr().err
    shutil.copytree(written[0], tmp_path / "copy")
    with pytest.raises(AnalysisError, match="study first is given twice"):
        across([written[0], tmp_path / "copy"])
    pandas.read_csv(tmp_path / "copy" / "claims.csv").drop(columns="verdict").to_csv(
        tmp_path / "copy" / "claims.csv", index=False
    )
    with pytest.raises(AnalysisError, match="lacks the column verdict"):
        across([tmp_path / "copy"])
    (tmp_path / "copy" / "claims.json").write_text("{")
    with pytest.raises(AnalysisError, match="holds no claims"):
        across([tmp_path / "copy"])
