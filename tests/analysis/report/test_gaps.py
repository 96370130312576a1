"""What a study lacks, and the lines that train it."""

from __future__ import annotations

import dataclasses

from analysis.claims.evidence import seeds_of
from analysis.errors import AnalysisError
from analysis.registry import make_each
from analysis.report.gaps import gaps
from tests.analysis.report.test_origin import trained


def found(reported):
    made = make_each(reported.selection, {"margin": 1.0}, reported.made)
    return {one.task: one for one in gaps(reported.selection, made)}


def runs_of(lines):
    return {(targets, int(rank), int(seed)) for line in lines for targets, rank, seed in trained(line)[1]}


def test_the_lines_train_what_is_missing_and_nothing_else(reported):
    for task, one in found(reported).items():
        there = {
            (run.settings["targets"], run.settings["rank"], run.settings["seed"])
            for run in reported.selection.study.runs
            if run.settings["task"] == task
        }
        needed = {(need.targets, need.rank, need.seed) for gap in one.gaps for need in gap.needs}
        assert runs_of(one.commands) == needed
        assert not needed & there
        assert one.runs == len(needed)
        assert one.reason == ""
        for gap in one.gaps:
            assert runs_of(gap.commands) == {(need.targets, need.rank, need.seed) for need in gap.needs}


def test_cells_of_tables_5_and_6_that_the_paper_has(reported):
    of_sql = {gap.what: gap for gap in found(reported)["sql"].gaps}
    lacking = {(need.targets, need.rank) for need in of_sql["Table 5"].needs}
    assert lacking == {("k", 8), ("v", 8), ("o", 8), ("qk", 4), ("qkvo", 2)}
    lacking = {(need.targets, need.rank) for need in of_sql["Table 6"].needs}
    assert lacking == {
        *(("q", rank) for rank in (1, 2, 4, 64)),
        *(("qv", rank) for rank in (1, 2)),
        *(("qkvo", rank) for rank in (1, 2, 4, 8, 64)),
    }
    assert {need.seed for need in of_sql["Table 6"].needs} == {*seeds_of(reported.selection.each_task()[1])}
    assert of_sql["Table 5"].reason.startswith("lacks 10 runs: k r=8 (seeds 0, 1); ")


def test_a_seed_that_is_not_there_is_a_reason(reported):
    selection = dataclasses.replace(reported.selection, seeds=(7,))
    for one in gaps(selection, {}):
        assert "Table 5" in one.gaps[0].what
        assert "Table 6" in ", ".join(gap.what for gap in one.gaps)
        assert "no run" in one.gaps[0].reason


def test_what_no_run_can_fill_has_its_reason(reported):
    made = {
        ("fig3", "sql"): AnalysisError("the folder of W has moved"),
        ("table6", None): AnalysisError("predictions.jsonl is damaged"),
    }
    one = gaps(reported.selection, made)[0]
    gap = next(gap for gap in one.gaps if gap.what == "Figure 3")
    assert (gap.reason, gap.needs, gap.commands) == ("the folder of W has moved", (), ())
    told = next(gap for gap in one.gaps if gap.what == "Table 6")
    assert told.reason.startswith("predictions.jsonl is damaged; lacks 22 runs: q r=1 (seeds 0, 1); ")
    assert len(told.needs) == 22
