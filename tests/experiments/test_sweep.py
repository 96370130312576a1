"""The table at the end of a sweep, from what the store says of its runs."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import pytest

from experiments import sweep
from experiments.job import Outcome, address
from experiments.plan import PlannedRun
from experiments.sweep import Row, render, report, tell_next


def record(dev: float, trainable: int = 24576, seconds: float = 41.26) -> dict[str, Any]:
    return {
        "metric": "accuracy",
        "metrics": {"last": {"dev": {"accuracy": dev}, "test": {"accuracy": dev / 2}}},
        "parameters": {"trainable": trainable, "total": 3_000_000},
        "timing": {"seconds": seconds},
    }


@pytest.fixture
def row(config):
    def build(number: int, status: Any, rank: int = 8, *overrides: str, **settings: Any) -> Row:
        run = PlannedRun(config(rank=rank, **settings), (f"rank={rank}", *overrides))
        made = record(0.5 + rank / 100) if status in ("finished", "kept") else None
        error = "rank: too large" if status == "failed" else None
        folder = Path(f"outputs/default/run-r{rank}-{number}")
        return run, Outcome(status, f"run-{number}", folder, made, error, run.command)

    return build


def header(table: str) -> list[str]:
    return table.splitlines()[0].split()


def test_the_table(row) -> None:
    rows = [row(0, "finished", 1), row(1, "kept", 64), row(2, "busy", 2)]
    assert render(rows) == "\n".join(
        [
            "#  targets  rank  trainable    dev  test  seconds  status          folder",
            "-  -------  ----  ---------  -----  ----  -------  --------------  ---",
            "0  qv       1        24,576   51.0  25.5     41.3  finished        outputs/default/run-r1-0",
            "1  qv       64       24,576  114.0  57.0     41.3  kept            outputs/default/run-r64-1",
            "2  qv       2                                      busy elsewhere  outputs/default/run-r2-2",
            "",
            "dev, test: accuracy (%), of the last checkpoint",
        ]
    ).replace(" ---\n", f" {'-' * len('outputs/default/run-r64-1')}\n")


def test_failures_come_below_with_the_command_that_repeats_them(row) -> None:
    table = render([row(0, "finished", 1), row(1, "failed", 9)])
    assert "FAILED" in table
    assert table.endswith("#1 failed: rank: too large\n    python run.py rank=9")


def test_a_run_that_was_not_made_is_listed(row) -> None:
    table = render([row(0, "finished", 1), row(1, "not run", 2, targets="q")])
    assert table.splitlines()[3].split() == ["1", "q", "2", "not", "run", "outputs/default/run-r2-1"]


def test_other_settings_are_shown_where_they_differ(row) -> None:
    same = [row(0, "finished", 1), row(1, "finished", 2)]
    assert header(render(same))[1:4] == ["targets", "rank", "trainable"]
    different = [row(0, "finished", 1), row(1, "finished", 1, lr=0.02, seed=1, **{"task.name": "nli"})]
    table = render(different)
    assert header(table)[1:7] == ["targets", "rank", "task", "lr", "seed", "trainable"]
    assert "0.02" in table


def test_a_swept_key_that_is_no_standard_column_is_shown(row) -> None:
    rows = [row(n, "finished", 8, f"warmup={n}", "steps=5") for n in (0, 1)]
    assert header(render(rows))[3:5] == ["warmup", "trainable"]


def test_means_over_seeds_a_line_for_each_setting(row) -> None:
    rows = [
        *(row(seed, "finished", 8, lr=lr, seed=seed) for lr in (0.1, 0.2) for seed in (0, 1)),
        row(4, "failed", 8, lr=0.1, seed=2),
    ]
    for (_, outcome), dev in zip(rows, (0.1, 0.3, 0.5, 0.5), strict=False):
        outcome.record["metrics"]["last"] = {"dev": {"accuracy": dev}}
    parts = render(rows).split("\n\n")
    assert parts[2].splitlines() == [
        "mean ± standard deviation over seeds",
        "targets  rank  lr   seeds          dev  test",
        "-------  ----  ---  -----  -----------  ----",
        "qv       8     0.1      2  20.0 ± 14.1",
        "qv       8     0.2      2   50.0 ± 0.0",
    ]
    assert "standard deviation" not in render([row(n, "finished", n + 1, lr=0.1 + n) for n in range(2)])


def test_a_metric_that_is_not_known_here_is_shown_as_it_is(row) -> None:
    one = row(0, "finished", 1)
    one[1].record["metric"] = "of_my_module"
    one[1].record["metrics"]["last"] = {"dev": {"of_my_module": 1.25}}
    table = render([one])
    assert " 1.2500 " in table
    assert "dev, test: of_my_module, of the last checkpoint" in table


def test_what_has_no_rank_shows_none(row) -> None:
    assert render([row(0, "finished", 8, method="full")]).splitlines()[2].split()[1:3] == ["-", "-"]


def test_examples_that_were_shortened_are_told(row) -> None:
    run, outcome = row(0, "finished", 1)
    assert outcome.record is not None
    assert "shortened" not in render([(run, outcome)])
    record = {**outcome.record, "truncated_examples": 12, "examples": {"train": 1000, "test": 200}}
    record["config"] = {"model": {"max_length": 64}}
    text = render([(run, dataclasses.replace(outcome, record=record)), row(1, "finished", 2)])
    assert "shortened: 12 of 1,200 examples are longer than model.max_length=64, and lost what is" in text


def test_a_narrow_terminal_has_the_folders_below(row) -> None:
    rows = [row(0, "finished", 1), row(1, "finished", 2)]
    lines = render(rows, width=70).splitlines()
    assert max(map(len, lines)) <= 70
    assert "  #1  outputs/default/run-r2-1" in lines
    assert render(rows, width=200) == render(rows)


@pytest.mark.parametrize(
    ("methods", "command"),
    [(["truncated", "truncated"], "truncation"), (["lora", "truncated"], "grid"), (["lora", "full"], "grid")],
)
def test_a_sweep_of_cut_adapters_goes_on_to_their_curve(
    row, monkeypatch: pytest.MonkeyPatch, capsys, methods: list[str], command: str
) -> None:
    rows = [row(number, "kept", 8, method=method) for number, method in enumerate(methods)]
    outcomes = itertools.cycle([outcome for _, outcome in rows])
    monkeypatch.setattr(sweep, "_outcome", lambda run, since: next(outcomes))
    tell_next([run for run, _ in rows], 12.0)
    assert f"next: python -m analysis {command} --study test " in capsys.readouterr().out


def test_a_run_that_another_process_is_at_is_busy_and_one_that_cannot_be_found_not_run(config) -> None:
    run = PlannedRun(config(), ())
    folder = address(run.config).folder
    assert sweep._outcome(run, 1.0).status == "not run"
    with folder.lock():
        assert sweep._outcome(run, 1.0).status == "busy"
    with folder.lock():
        folder.fail("no", "", "", 1.0)
    assert sweep._outcome(run, 1.0).error == "no"
    lost = PlannedRun(config(**{"model.name": "/not/there"}), ())
    assert sweep._outcome(lost, 1.0).status == "not run"


@pytest.mark.parametrize(
    ("statuses", "well", "logged"),
    [
        (["finished", "kept"], True, 1),
        (["finished", "busy"], True, 1),
        (["kept", "failed"], False, 0),
        (["kept", "not run"], False, 0),
        (["kept", "kept"], True, 0),
    ],
)
def test_the_sweep_went_well_unless_a_run_failed_or_was_left_out(
    row, monkeypatch: pytest.MonkeyPatch, capsys, statuses: list[str], well: bool, logged: int
) -> None:
    """And its table goes to W&B where something was trained."""
    rows = [row(number, status, number + 1) for number, status in enumerate(statuses)]
    outcomes = itertools.cycle([outcome for _, outcome in rows])
    monkeypatch.setattr(sweep, "_outcome", lambda run, since: next(outcomes))
    calls: list[Any] = []
    monkeypatch.setattr(
        "experiments.tracking.log_sweep", lambda *arguments: calls.append(arguments) or "wandb sync x"
    )
    assert report([run for run, _ in rows], 12.0) is well
    tell_next([run for run, _ in rows], 12.0)
    out = capsys.readouterr().out
    assert len(out.split("\n\n")[0].splitlines()) == 5
    assert ("W&B:  wandb sync x\n" in out) == bool(logged)
    config = rows[0][0].config
    assert out.endswith(f"next: python -m analysis grid --study {config.study} --root {config.root}\n")
    assert len(calls) == logged
    if logged:
        config, name, columns, cells = calls[0]
        assert (config, name, columns[-1]) == (rows[0][0].config, "12", "folder")
        assert [cell[2] for cell in cells] == ["1", "2"]
