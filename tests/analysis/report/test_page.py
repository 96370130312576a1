"""The page: what it holds, that its numbers are those of the files, and that it stands by itself."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pandas
import pytest

from analysis.claims import CLAIMS as EVERY_CLAIM
from analysis.claims import catalogue
from analysis.claims.table import make as claims_made
from analysis.commands import main
from analysis.errors import AnalysisError
from analysis.reading.study import Study
from analysis.registry import COMMANDS, Command, always
from analysis.report import make
from analysis.report.blocks import title_of
from analysis.report.words import MARKS
from analysis.result import Cell, Result, Row, Table, csv_bytes, write
from analysis.selection import Selection
from analysis.tables.numbers import MISSING
from tests.analysis.claims.builder import STUDY, TRUE, write_study
from tests.analysis.claims.later import Later
from tests.analysis.report.builder import complete
from tests.analysis.report.reading import Page

CLAIMS = [one for one in EVERY_CLAIM if one.applies is always]
"""Of a study without truncated runs."""

REPOSITORY = Path(__file__).resolve().parents[3]
SECTIONS = ["first", "subspaces", "tables", "curves", "missing", "folded", "cost", "origin"]


def plain(text):
    """As a program writes it: minus signs and spaces of the keyboard."""
    return text.replace("\N{MINUS SIGN}", "-").replace("\N{NO-BREAK SPACE}", " ")


def nothing(selection):
    """Every result as one that could not be made: a page without it is made at once."""
    return {
        (name, one.task): AnalysisError(f"no {name} today")
        for name, command in COMMANDS.items()
        if not command.sums_up and command.applies(selection)
        for one in command.selections(selection)
    }


def nothing_but(selection, name):
    return {key: error for key, error in nothing(selection).items() if key[0] != name}


def test_sections_in_order_and_every_link_leads_somewhere(reported):
    page = reported.page
    assert [section.attributes["id"] for section in page.root.all("section")] == SECTIONS
    names = [element.attributes["id"] for element in page.root.all() if "id" in element.attributes]
    assert len(set(names)) == len(names)
    links = [link.attributes["href"] for link in page.root.all("a")]
    assert links
    assert {link.removeprefix("#") for link in links} <= {*names}
    listed = [link.attributes["href"] for link in page.root.one("nav").all("a")]
    assert [link for link in listed if link.removeprefix("#") in SECTIONS] == [
        f"#{name}" for name in SECTIONS
    ]
    assert {"#tables-sql", "#subspaces-nli"} <= {*listed}


def test_the_page_needs_nothing_but_itself(reported):
    page = reported.page
    assert not {element.tag for element in page.root.all()} & {"script", "link", "iframe", "object", "base"}
    for element in page.root.all():
        for name, value in element.attributes.items():
            assert not name.startswith("on")
            if name in ("src", "srcset", "href", "action", "data", "poster", "background"):
                assert value.startswith(("#", "data:image/png;base64,")), value[:80]
    style = page.root.one("style").raw
    assert "@import" not in style
    assert "url(" not in style
    assert "http-equiv" not in reported.result.texts[".html"]


def test_images_have_words_and_the_size_that_they_are_drawn_in(reported):
    images = reported.page.root.all("img")
    # Figures and their z of two tasks; spectra; curves; the grid against rank and parameters.
    assert len(images) == 2 * (5 + 5) + 2 + 2 + 2
    assert all(len(image.attributes["alt"]) > 40 for image in images)
    assert {int(image.attributes["width"]) for image in images} == {1350}
    captions = [figure.one("figcaption").text for figure in reported.page.section("subspaces").all("figure")]
    texts = [re.sub("How to read it ?", "", caption) for caption in captions]
    assert texts != captions
    drawings = [
        drawing.caption
        for (name, _), result in sorted(
            reported.made.items(), key=lambda item: (item[0][1] != "sql", item[0][0])
        )
        if name.startswith("fig") and not isinstance(result, AnalysisError)
        for drawing in result.drawings.values()
    ]
    assert [
        re.sub(r"W(q|v)\b", r"W_\1", plain(text)).replace("dout, din", "d_out, d_in") for text in texts
    ] == [plain(" ".join(caption.split())) for caption in drawings]


def test_figures_tables_and_verdicts_stand_where_their_commands_are_registered_for(reported):
    for (name, task), outcome in reported.made.items():
        place = reported.page.section(COMMANDS[name].place)
        assert len(place.all("div", id=f"{name}-{task}" if task else name)) == isinstance(outcome, Result)
    unmade = {name for (name, _), outcome in reported.made.items() if isinstance(outcome, AnalysisError)}
    absent = [found.text for found in reported.page.root.all("p", class_="absent")]
    for name in {name for name, _ in reported.made}:
        assert any(title_of(name) in text for text in absent) == (name in unmade)
    folded = [name for name in SECTIONS if reported.page.section(name).children[1].tag == "details"]
    assert folded == ["folded", "cost", "origin"]


def test_a_new_result_is_first_by_its_registration_alone(reported, monkeypatch):
    """An answer, a picture and a table, none of which the page has heard of."""
    table = Table("Which rank", ("weights",), ("r=1",), ((Row(("qv",), (Cell("80.0", tied=True),)),),))
    drawing = reported.made["fig3", "sql"].drawings[""]
    made = Result(
        "toy", pandas.DataFrame(), {}, {"": drawing}, tables=(table,), answers=("sql: r = 1 is enough.",)
    )
    toy = Command("toy", lambda selection: made, "a toy", (), True, "The toy", "first")
    monkeypatch.setitem(COMMANDS._entries, "toy", toy)
    page = Page.read(make(reported.selection, made=nothing_but(reported.selection, "toy")).texts[".html"])
    first = page.section("first")
    assert plain(first.all("p")[0].text) == "sql: r = 1 is enough."
    assert first.one("img").attributes["alt"] == "The toy: a toy"
    assert first.all("details")[-1].one("tr", class_="ours").all("td")[-1].text == "80.0†"


def test_the_table_the_numbers_and_the_judgements_are_the_same_ones(reported):
    claims = reported.made["claims", None]
    (table,) = claims.tables
    rows = [row for group in table.groups for row in group]
    records = claims.numbers.to_dict("records")
    for row, record, found in zip(rows, records, claims.judgements, strict=True):
        assert row.labels == (found.task, found.section, found.claim, found.verdict)
        assert [cell.text for cell in row.cells] == [text or MISSING for text in found.cells.values()]
        assert (record["task"], record["claim"], record["verdict"]) == (
            found.task,
            found.claim,
            found.verdict,
        )
        assert record["value"] == pytest.approx(found.value, nan_ok=True)
        assert record["p_holm"] == pytest.approx(found.p_holm, nan_ok=True)


def test_verdicts_are_those_of_the_claims(reported):
    numbers = reported.made["claims", None].numbers.set_index(["task", "claim"])
    tables = [table.all("tr") for table in reported.page.section("first").all("table")]
    [rows] = [rows for rows in tables if rows[0].all("th")[0].text == "claim"]
    heads = [cell.text for cell in rows[0].all("th")]
    assert heads == ["claim", "sql", "nli"]
    assert [row.attributes["id"] for row in rows[1:]] == [claim.name for claim in CLAIMS]
    for row, claim in zip(rows[1:], CLAIMS, strict=True):
        assert plain(row.one(class_="statement").text) == claim.statement.replace("W_", "W")
        for task, cell in zip(heads[1:], row.all("td"), strict=True):
            found = numbers.loc[task, claim.name]
            assert cell.all("span")[0].text == f"{MARKS[found['verdict']]} {found['verdict']}"
            assert cell.attributes["data-task"] == task
            if found["verdict"] == "not testable":
                assert not cell.all(class_="effect")
                continue
            shown = re.findall(r"[-+]?\d[\d.]*", plain(cell.one(class_="effect").text).partition(",")[0])
            wanted = [found[name] for name in ("value", "low", "high") if pandas.notna(found[name])]
            near = {"abs": 0.051} if found["statistic"].endswith("points") else {"rel": 0.006, "abs": 1e-9}
            assert [*map(float, shown)] == pytest.approx(wanted, **near)
            assert f"chance {found['null']:.3g}" in plain(cell.text)
    counts = reported.page.root.one("ul", class_="counts").text
    for task in ("nli", "sql"):
        told = numbers.loc[task]["verdict"].value_counts()
        assert f"{task}: " + ", ".join(f"{told[v]} {v}" for v in MARKS if v in told) in counts


def test_tables_5_and_6_have_the_numbers_of_their_csvs_and_the_papers(reported):
    for name, title in (("table5", "Table 5"), ("table6", "Table 6")):
        frame = reported.made[name, None].numbers
        rows = reported.page.table(title).rows()
        cells = [cell for row in rows for cell in row]
        ours = frame[frame["mean"].notna()]
        assert len(ours) > 1
        for row in ours.to_dict("records"):
            assert f"{row['mean']:.1f} ±{row['seed_sd']:.1f}" in cells
            assert f"{row['low']:.1f}–{row['high']:.1f}" in cells
        assert {f"{value:.1f}" for value in frame["paper"].dropna()} <= {*cells}


def test_table_7_and_the_spectra_are_the_tables_of_their_commands(reported):
    for task in ("sql", "nli"):
        for name in ("table7", "spectra"):
            for table in reported.made[name, task].tables:
                wanted = [[*r.labels, *(cell.text for cell in r.cells)] for g in table.groups for r in g]
                regions = [
                    region.one("table").rows()[1:]
                    for region in reported.page.root.all(role="region")
                    if region.attributes["aria-label"] == table.title
                ]
                shown = [[[plain(cell) for cell in row] for row in rows] for rows in regions]
                assert [[re.sub("W_", "W", cell) for cell in row] for row in wanted] in shown


def test_every_run_is_in_the_table_of_costs(reported):
    rows = reported.page.table("Every run").rows()
    assert rows[0] == [
        "task",
        "weights",
        "r",
        "seed",
        "trainable",
        "seconds",
        "steps/s",
        "peak MiB",
        "dev",
        "test",
    ]
    records = {}
    for run in reported.selection.study.runs:
        told = run.settings
        weights = ", ".join(f"W{letter}" for letter in told["targets"])
        records[told["task"], weights, str(told["rank"]), str(told["seed"])] = run.record
    assert {tuple(row[:4]) for row in rows[1:]} == {*records}
    assert len(rows) == 1 + len(records)
    for row in rows[1:]:
        record = records[tuple(row[:4])]
        timing, scores = record["timing"], record["metrics"]["last"]
        assert row[4:] == [
            f"{record['parameters']['trainable']:,}",
            f"{timing['seconds']:,.1f}",
            f"{timing['steps_per_second']:.2f}",
            f"{timing['peak_memory_bytes'] / 2**20:,.0f}",
            f"{100 * scores['dev']['accuracy']:.1f}",
            f"{100 * scores['test']['accuracy']:.1f}",
        ]
    frame = reported.result.numbers
    assert frame["seconds"].sum() == pytest.approx(sum(r["timing"]["seconds"] for r in records.values()))


def test_what_is_missing_is_named_with_the_commands(reported):
    section = reported.page.section("missing")
    assert "half-written: unfinished: no run.json" in section.one("ul").text
    headings = [heading.text for heading in section.all("h3")]
    assert headings == ["Runs that were left out", "sql", "nli"]
    terms = [term.text for term in section.all("dt")]
    assert ", ".join(terms).split(", ").count("Baselines") == 2  # of each task
    lacking = {line for found in reported.made["claims", None].judgements for line in found.commands}
    assert {code.text for code in section.all("code")} >= lacking
    assert lacking
    assert "Baselines: not made" in reported.page.section("tables").text
    assert reported.result.provenance["not_made"] == ["baselines"]
    assert reported.result.printed().endswith("which says why: Baselines")


def test_provenance(reported):
    text = reported.page.section("origin").text
    sha256 = reported.selection.study.runs[0].record["model"]["sha256"]
    for told in (sha256, "0123456789abcdef", "2.13.0+cpu", "cpu (2 threads)", "2026-11-22T02:00:29+00:00 to"):
        assert told in text
    assert "python -m analysis report --study claims --root" in text


def test_the_lead_says_what_study_this_is(reported):
    assert reported.page.root.one("h1").text == f"Study {STUDY}"
    assert plain(reported.page.root.one("p", class_="lead").text).startswith(
        "12 finished runs of base (d = 136, 2 layers) on sql and nli, seeds 0 and 1."
    )


def test_the_lead_says_which_runs_were_chosen(reported):
    selection = dataclasses.replace(reported.selection, choice={"lr": 0.02, "full.lr": 0.001})
    page = Page.read(make(selection, made=nothing(selection)).texts[".html"])
    told = "Verdicts, tables and figures take only runs with lr = 0.02 and full.lr = 0.001."
    assert plain(page.root.one("p", class_="lead").text).endswith(f"test split. {told}")
    assert "Verdicts, tables" not in reported.page.root.one("p", class_="lead").text


def test_files(reported, tmp_path):
    names = [path.name for path in write(reported.result, tmp_path)]
    curves = [f"report-curves-{task}.{kind}" for task in ("sql", "nli") for kind in ("pdf", "png", "txt")]
    assert names == [*curves, "report.html", "report-curves.csv", "report.csv", "report.json"]
    assert (tmp_path / "report.html").stat().st_size < 4e6
    record = json.loads((tmp_path / "report.json").read_text())
    assert record["left_out"] == ["half-written"]
    assert len(record["runs"]) == 12


def test_another_process_makes_the_same_bytes(reported, tmp_path):
    """Of a study that lacks most; that figures are the same is seen to elsewhere."""
    write_study(tmp_path / "outputs", reported.base, TRUE, cells={"qv": (4,)}, seeds=(0,))
    complete(tmp_path / "outputs", STUDY)
    place = ["report", "--study", STUDY, "--root", str(tmp_path / "outputs"), "--out"]
    assert main([*place, str(tmp_path / "one")]) == 0
    done = subprocess.run(
        [sys.executable, "-m", "analysis", *place, str(tmp_path / "two")],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONHASHSEED": "17"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "one" / "report.html").is_file()
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes(), path.name


def test_claims_made_since_have_a_table_of_their_own(reported, tmp_path, monkeypatch):
    """A task on which one of them is not judged keeps its column."""
    monkeypatch.setattr(catalogue, "_check", lambda selection: selection.frame)
    study = Later(tmp_path)
    for seed in range(3):
        for factor, share in (("B", 0.8), ("A", 0.6)):
            study.add(seed=seed, share=share, train=factor)
        for scaling, share in (("alpha/r", 0.8), ("alpha/sqrt(r)", 0.6)):
            study.add(seed=seed, rank=64, share=share, scaling=scaling, task="nli")
    made = nothing(reported.selection)
    made["claims", None] = claims_made(study.select_all())
    page = Page.read(make(reported.selection, made=made).texts[".html"])
    first = page.section("first")
    assert [head.text for head in first.all("h3")][:2] == ["Verdicts", "Claims made since"]
    tables = [table.all("tr") for table in first.all("table")]
    paper, since = [rows for rows in tables if rows[0].all("th")[0].text == "claim"]
    assert [cell.text for cell in since[0].all("th")] == ["claim", "sql", "nli"]
    assert len(paper) == 1 + len(CLAIMS)
    found = {row.attributes["id"]: [cell.text for cell in row.all("td")] for row in since[1:]}
    assert found["b-beats-a"][0].startswith("✓ supported")
    assert found["b-beats-a"][1] == "–"
    assert found["rslora-beats-lora"][0] == "–"
    assert found["rslora-beats-lora"][1].startswith("✗ contradicted")
    assert "2402.16842 · b-beats-a" in first.text


def test_nothing_is_made_twice(reported):
    made = nothing(reported.selection)
    assert {*made} == {*reported.made}
    result = make(reported.selection, made=made)
    page = Page.read(result.texts[".html"])
    assert "no claims today" in page.section("missing").text
    assert "no fig3 today" in page.section("missing").text
    assert len(page.root.all("img")) == 2  # the learning curves


def test_all_hands_on_what_it_has_made(reported, tmp_path, monkeypatch):
    write_study(tmp_path / "outputs", reported.base, TRUE, cells={"qv": (4,)}, seeds=(0,))
    handed, published = [], []

    def record(selection, margin, made):
        handed.append(dict(made))
        return Result("report", pandas.DataFrame({"run": []}), {})

    report = dataclasses.replace(COMMANDS["report"], make=record)
    monkeypatch.setitem(COMMANDS._entries, "report", report)
    monkeypatch.setattr("analysis.report.publish", lambda *given: published.append(given))
    place = ["--study", STUDY, "--root", str(tmp_path / "outputs"), "--out", str(tmp_path / "results")]
    main(["all", *place, "--wandb", "offline", "--project", "mine/section-7"])
    (made,) = handed
    asked = {name for name, command in COMMANDS.items() if not command.sums_up and command.applies is always}
    assert {name for name, _ in made} == asked
    assert isinstance(made["fig3", "sql"], AnalysisError)
    assert made["table7", "sql"].tables
    assert [given[-2:] for given in published] == [("offline", "mine/section-7")]


def test_claims_of_which_none_can_be_tested_are_folded(reported, tmp_path):
    def summaries(page):
        return [fold.one("summary").text for fold in page.section("first").all("details")]

    lacks = "The claims, and what this study lacks to test them"
    assert lacks not in summaries(reported.page)
    write_study(tmp_path, reported.base, TRUE, cells={"qv": (3,)}, seeds=(0,))
    selection = Selection.of_tasks(Study.open(STUDY, tmp_path))
    page = Page.read(make(selection, made=nothing_but(selection, "claims")).texts[".html"])
    assert lacks in summaries(page)
    folded = next(fold for fold in page.section("first").all("details") if fold.one("summary").text == lacks)
    assert len(folded.all("tr")) == 1 + len(CLAIMS)


def test_a_study_without_runs_has_a_page(tmp_path):
    (tmp_path / "outputs" / "empty" / "half").mkdir(parents=True)
    place = ["--study", "empty", "--root", str(tmp_path / "outputs"), "--out", str(tmp_path)]
    assert main(["report", *place]) == 0
    page = Page.read((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert page.root.one("p", class_="lead").text == "No run of this study is finished."
    assert [section.attributes["id"] for section in page.root.all("section")] == SECTIONS
    assert "half: unfinished: no run.json" in page.section("missing").text
    assert not page.root.all("img")


@pytest.mark.parametrize("name", ["a<b>&\"c'", "</title><script>alert(1)</script>", "{{ 7 * 7 }}"])
def test_names_are_text(reported, tmp_path, name):
    study = name.replace("/", "\N{FRACTION SLASH}")
    write_study(tmp_path, reported.base, TRUE, cells={"qv": (4,)}, seeds=(0,))
    complete(tmp_path, STUDY)
    shutil.move(tmp_path / STUDY, tmp_path / study)
    (tmp_path / study / "<i>left & out").mkdir()
    selection = Selection.of_tasks(Study.open(study, tmp_path))
    result = make(selection, made=nothing(selection))
    page = Page.read(result.texts[".html"])
    assert page.root.one("h1").raw == f"Study {study}"
    assert page.root.one("title").raw == f"Section 7 of the LoRA paper: study {study}"
    assert not page.root.all("script")
    assert not page.root.all("b")
    assert "<i>left & out: unfinished" in page.section("missing").text


def test_csv_of_the_curves_has_what_is_drawn(reported):
    frame = pandas.read_csv(StringIO(reported.result.texts["-curves.csv"]))
    assert [*frame.columns] == ["run", "step", "loss", "dev"]
    assert frame.groupby("run")["loss"].count().unique().tolist() == [60]
    assert csv_bytes(reported.result.numbers).startswith(
        b"run,task,method,targets,rank,seed,trainable,seconds"
    )
