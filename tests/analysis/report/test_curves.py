"""Histories and the curves drawn from them."""

from __future__ import annotations

import dataclasses
import shutil

import pandas
import pytest

from analysis.reading.study import Study
from analysis.report.curves import curves, histories
from experiments.store import HISTORY
from tests.analysis.claims.builder import STUDY


@pytest.fixture
def copied(reported, tmp_path):
    shutil.copytree(reported.root, tmp_path / "outputs")
    return Study.open(STUDY, tmp_path / "outputs")


def of_task(study, task):
    return [run for run in study.runs if run.settings["task"] == task]


def test_of_several_evaluations_at_a_step_the_first_counts(reported):
    frame, without = histories(reported.selection.study.runs)
    assert without == {}
    run = reported.selection.study.runs[0]
    own = frame[frame["run"] == run.id].set_index("step")
    assert own.index.is_monotonic_increasing
    assert own["dev"].notna().sum() == 6
    assert (own["dev"].dropna() > 0).all()  # the best checkpoint's, at the end of the file, is -1
    assert own.loc[600, "dev"] == run.record["metrics"]["last"]["dev"]["accuracy"]
    assert own["loss"].notna().sum() == 60


def test_a_missing_or_damaged_history_is_named_and_the_rest_is_read(copied):
    first, second, third, *rest = copied.runs
    (first.path / HISTORY).unlink()
    (second.path / HISTORY).write_text('{"step": 10, "loss"', encoding="utf-8")
    (third.path / HISTORY).write_text("", encoding="utf-8")
    frame, without = histories(copied.runs)
    assert {*frame["run"]} == {run.id for run in rest}
    assert without[first.id] == "no history.jsonl"
    assert without[second.id].startswith("history.jsonl is damaged (JSONDecodeError")
    assert without[third.id] == "nothing in history.jsonl"


def test_a_panel_for_each_choice_and_a_line_a_seed(reported):
    runs = of_task(reported.selection.study, "sql")
    history, _ = histories(runs)
    drawing = curves("sql", runs, history)
    losses, scores = drawing.figure.axes[::2], drawing.figure.axes[1::2]
    titles = [axes.get_title() for axes in losses]
    assert titles == ["$W_{q}$   $r$ = 8", *(f"$W_{{q}}$, $W_{{v}}$   $r$ = {rank}" for rank in (4, 8, 64))]
    by_run = history.groupby("run")
    for axes, column in ((losses, "loss"), (scores, "dev")):
        drawn = [line for one in axes for line in one.lines]
        assert len(drawn) == len(runs)
        for line in drawn:
            x, y = line.get_data()
            assert any(
                [*found.dropna(subset=[column])["step"]] == [*x] and [*found[column].dropna()] == [*y]
                for _, found in by_run
            )
    assert {axes.get_ylim() for axes in losses} == {losses[0].get_ylim()}
    assert {axes.get_xlim() for axes in (*losses, *scores)} == {losses[0].get_xlim()}
    assert "of 8 runs" in drawing.caption
    assert "accuracy on dev, a dot an evaluation. All" in drawing.caption


def test_nothing_to_draw(reported):
    runs = of_task(reported.selection.study, "nli")
    empty = pandas.DataFrame(columns=["run", "step", "loss", "dev"])
    assert curves("nli", runs, empty) is None


def test_one_evaluation_a_run_is_no_curve_and_other_settings_are_told_apart(reported):
    runs = of_task(reported.selection.study, "nli")
    history, _ = histories(runs)
    history.loc[history["step"] < 600, "dev"] = float("nan")
    once = curves("nli", runs, history)
    assert once.caption.endswith("dev, evaluated at most once a run, is no curve: the table of costs has it.")
    assert [axes.get_yscale() for axes in once.figure.axes] == ["log"] * 2  # the loss of each panel alone
    assert [axes.get_xlabel() for axes in once.figure.axes] == ["step"] * 2
    record = {**runs[0].record, "config": {**runs[0].record["config"], "lr": 0.5}}
    other = dataclasses.replace(runs[0], record=record)
    titles = [axes.get_title() for axes in curves("nli", [other, *runs[1:]], history).figure.axes]
    assert titles[0] == "$W_{q}$, $W_{v}$   $r$ = 64\nlr = 0.02" or "lr = 0.5" in "".join(titles)
    assert len(titles) == 3
