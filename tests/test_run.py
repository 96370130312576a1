"""run.py as a person starts it: its own process, in an empty folder; tests/played.py plays the training."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ("torch", "transformers", "datasets", "wandb", "pandas", "scipy")


def environment(folder: Path, **more: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if key not in ("HYDRA_FULL_ERROR", "COLUMNS")}
    return kept | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PLAYED": str(folder / "notes"), **more}


def run(
    folder: Path,
    *arguments: str,
    program: str = "tests/played.py",
    options: tuple[str, ...] = (),
    **more: str,
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *options, str(ROOT / program), *arguments],
        cwd=folder,
        env=environment(folder, **more),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def imported(folder: Path, *arguments: str) -> tuple[int, set[str], str]:
    """Exit status, top-level packages imported, and what was written to stderr besides."""
    # Hydra imports the plugins that are installed, and those of the extras import numpy.
    process = run(folder, *arguments, program="run.py", options=("-X", "importtime"))
    lines = process.stderr.splitlines()
    times = [line for line in lines if line.startswith("import time:")]
    packages = {line.split("|")[-1].strip().split(".")[0] for line in times}
    return process.returncode, packages, "\n".join(line for line in lines if line not in times)


@pytest.mark.parametrize(
    ("arguments", "status", "error"),
    [
        (["--help"], 0, ""),
        (["--cfg", "job"], 0, ""),
        (["-m", "rank=1,2", "--dry-run"], 0, ""),
        (["rnak=3", "--dry-run"], 2, "error: rnak is not a key; did you mean rank?"),
        (["-m", "rank=300,2", "--dry-run"], 1, ""),
        (["--cfg", "job", "--dry-run"], 2, "error: --dry-run shows a plan, and here there is none"),
        (["rnak=3"], 2, "error: rnak is not a key; did you mean rank?"),
        (["task=foo"], 2, "error: task=foo is unknown; valid are cola, "),
        (["targets=qx"], 2, "error: targets: 'qx' is not a projection"),
        (["rank=0"], 2, "error: rank: 0"),
        (["budget=10"], 2, "error: a budget of 10 is too small for targets=qv"),
        (["-m", "rank=1,0"], 2, "error: rank=0: rank: 0"),
        (
            ["-m", "+experiment=table16b"],
            2,
            "error: experiment=table16b is unknown; valid are attention_",
        ),
        (["root=null"], 2, "error: root=None is not valid; give the folder"),
        (["root=/proc/x"], 2, "error: /proc/x/default cannot be made"),
        (["study=2024_11_25"], 2, "error: study=20241125 is read as a number"),
    ],
)
def test_help_and_errors_of_configuration_are_one_line_and_import_nothing_heavy(
    tmp_path: Path, arguments: list[str], status: int, error: str
) -> None:
    returned, packages, stderr = imported(tmp_path, *arguments)
    assert returned == status
    assert "hydra" in packages
    assert not packages & set(HEAVY)
    assert stderr.startswith(error)
    assert stderr.count("\n") == 0
    assert list(tmp_path.iterdir()) == []


def test_help_lists_the_files_that_a_config_dir_adds(tmp_path: Path) -> None:
    (tmp_path / "own/experiment").mkdir(parents=True)
    (tmp_path / "own/model").mkdir()
    (tmp_path / "own/experiment/mine.yaml").write_text("# @package _global_\n# Which rank.  Costs little.\n")
    (tmp_path / "own/model/tiny.yaml").write_text("model:\n  name: somewhere/tiny\n")
    for arguments in (["--config-dir", "own"], ["--config-dir=own"], ["-cd", "own"]):
        page = run(tmp_path, *arguments, "--help", program="run.py").stdout
        assert re.search(r"^  \+experiment=mine +Which rank$", page, flags=re.MULTILINE)
        assert re.search(r"^  model=tiny +of own/model/tiny.yaml$", page, flags=re.MULTILINE)
        assert "  +experiment=table6" in page
    assert (
        "mine" not in run(tmp_path, "--help", "--config-dir", program="run.py").stdout.split("  +exp", 1)[1]
    )


def test_help_is_the_suite_s_own_page(tmp_path: Path) -> None:
    page = run(tmp_path, "--help", program="run.py").stdout
    assert "python run.py -m rank=1,2,4,8 targets=qv" in page
    assert "Powered by Hydra" not in page
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["run.py --help", "-m analysis --help"])
def test_a_reader_that_has_enough_is_no_error(command: str) -> None:
    read, written = os.pipe()
    os.close(read)  # as after `| head`
    done = subprocess.run(
        [sys.executable, *command.split()], cwd=ROOT, stdout=written, stderr=subprocess.PIPE, check=False
    )
    os.close(written)
    assert done.stderr == b""


def test_a_single_run(tmp_path: Path) -> None:
    done = run(tmp_path, "rank=3", "targets=q")
    assert done.returncode == 0, done.stderr
    name = r"sql-embedded-q-r3-lr0\.005-seed0-\w{10}"
    told = rf"finished  {name}  dev 3\.0%  test 25\.0%  1\.0 s\n          outputs/default/{name}\n"
    assert re.fullmatch(told, done.stdout)
    assert {path.name for path in tmp_path.iterdir()} == {"notes", "outputs"}
    assert list((tmp_path / "outputs/.launches").iterdir()) == []
    again = run(tmp_path, "rank=3", "targets=q")
    assert again.stdout.startswith("kept      ")
    assert "force=true trains it again" in again.stdout


def test_a_single_run_that_fails(tmp_path: Path) -> None:
    done = run(tmp_path, "rank=2")
    assert (done.returncode, done.stderr) == (1, "error: no luck\n")
    assert "Traceback" in run(tmp_path, "rank=2", HYDRA_FULL_ERROR="1").stderr


@pytest.mark.parametrize(
    "habit",
    [
        ["hydra.job.chdir=true"],
        ["hydra.sweep.subdir=${hydra.job.override_dirname}", "hydra.sweep.dir=launches"],
        ["root=~/outputs"],
        ["study='2024_11_25'"],
        ["wandb.tags=debug"],
    ],
)
def test_hydra_s_habits_change_neither_the_runs_nor_where_they_lie(tmp_path: Path, habit: list[str]) -> None:
    """A single run, then a sweep in which it is kept: both have the one address, below this folder."""
    one = run(tmp_path, "rank=3", "wandb.mode=disabled", *habit, HOME=str(tmp_path))
    assert one.returncode == 0, one.stderr
    sweep = run(tmp_path, "-m", "rank=range(3,5)", "wandb.mode=disabled", *habit, HOME=str(tmp_path))
    assert sweep.returncode == 0, sweep.stderr
    rows = re.findall(r"^\d  qv +(\d) .*(finished|kept)  ", sweep.stdout, flags=re.MULTILINE)
    assert rows == [("3", "kept"), ("4", "finished")]
    study = tmp_path / "outputs" / ("2024_11_25" if "2024" in habit[0] else "default")
    assert len([path for path in study.iterdir() if path.name.startswith("sql-")]) == 2


def test_a_sweep_over_tasks_with_a_key_that_the_default_task_lacks(tmp_path: Path) -> None:
    rows = "".join(f'{{"prompt": "{letter}", "target": "b"}}\n' for letter in "abcdefg")
    (tmp_path / "mine.jsonl").write_text(rows)
    tasks = ["-m", "task=jsonl,mnli", "task.path=mine.jsonl", "rank=3", "wandb.mode=disabled"]
    done = run(tmp_path, *tasks, "hydra.launcher.workers=1")
    assert done.returncode == 0, done.stderr
    rows = re.findall(r"^\d  qv +3 +(\w+) .* finished ", done.stdout, flags=re.MULTILINE)
    assert rows == ["jsonl", "mnli"]
    wrong = run(tmp_path, "-m", "task=jsonl,sql", "task.path=mine.jsonl")
    assert wrong.returncode == 2
    told = "error: task=sql ++task.path=mine.jsonl: task.path has no meaning for task=sql; task=cola, "
    assert wrong.stderr.startswith(told)
    assert wrong.stderr.count("\n") == 1


def test_a_fixed_sweep_folder_shows_no_rows_of_an_earlier_sweep(tmp_path: Path) -> None:
    habit = ["hydra.sweep.dir=launches", "wandb.mode=disabled", "hydra.launcher.workers=1"]
    assert run(tmp_path, "-m", "rank=2,3,4", *habit).returncode == 1
    again = run(tmp_path, "-m", "rank=3", *habit)
    assert again.returncode == 0
    assert re.findall(r"^\d  qv +(\d)", again.stdout, flags=re.MULTILINE) == ["3"]


def test_python_without_assertions(tmp_path: Path) -> None:
    done = run(tmp_path, "-m", "rank=1,2", "hydra.launcher.workers=2", "wandb.mode=disabled", options=("-O",))
    rows = re.findall(r"^\d  qv +(\d) .*(finished|FAILED)  ", done.stdout, flags=re.MULTILINE)
    assert rows == [("1", "finished"), ("2", "FAILED")], done.stderr


def test_an_experiment_is_trained_once_however_it_is_asked_for(tmp_path: Path) -> None:
    """Really trained, one step: W_q at r=8 is a cell of Table 5, by its budget, and of Table 6."""
    small = ["task.train=16", "task.dev=2", "task.test=2", "steps=1", "device=cpu", "wandb.mode=disabled"]
    small += ["hydra.launcher.workers=1"]
    table5 = ["+experiment=table5", "seed=0", "task=sql", "targets=q,qkvo"]
    first = run(tmp_path, "-m", *table5, *small, program="run.py")
    assert first.returncode == 0, first.stderr
    rows = re.findall(r"^\d +(\w+) +(\d+) +([\d,]+) .* finished ", first.stdout, flags=re.MULTILINE)
    assert [row[:2] for row in rows] == [("q", "8"), ("qkvo", "2")]
    assert rows[0][2] == rows[1][2]  # trainable parameters
    cell = ["+experiment=table6", "seed=0", "task=sql", "targets=q", "rank=8"]
    again = run(tmp_path, "-m", *cell, *small, program="run.py")
    assert re.search(r"^0 +q +8 .* kept ", again.stdout, flags=re.MULTILINE), again.stdout + again.stderr
    trained = [path.name for path in (tmp_path / "outputs/section7").iterdir() if path.name[0] != "."]
    assert sorted(name.partition("-lr")[0] for name in trained) == [
        "sql-embedded-q-r8",
        "sql-embedded-qkvo-r2",
    ]


def test_a_sweep_over_seeds_ends_with_means_and_the_answer(tmp_path: Path) -> None:
    small = ["task.train=16", "task.dev=2", "task.test=4", "steps=1", "hydra.launcher.workers=1"]
    done = run(tmp_path, "-m", "rank=1,2", "seed=0,1", *small, "wandb.mode=offline", program="run.py")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^qv +2 +2 +\d+\.\d ± \d+\.\d ", done.stdout, flags=re.MULTILINE), done.stdout
    assert "W&B:  wandb sync outputs/default/.wandb/wandb/offline-run-*\n" in done.stdout
    assert [*(tmp_path / "outputs/default/.wandb/wandb").glob("offline-run-*")]
    places = [done.stdout.index(part) for part in ("\n\nsql: every run of", "\n\nW&B:  ", "\nnext: python")]
    assert places == sorted(places)
    assert done.stdout.endswith("next: python -m analysis grid --study default\n")
