"""run.py as a person starts it: its own process, in an empty folder; the training itself is stubbed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ("torch", "transformers", "datasets", "wandb", "numpy", "pandas", "scipy")

# Training as the rank says: 1 and 3 finish, 2 fails, 4 is finished already, 5 waits for Ctrl-C.
DRIVER = f"""
import runpy, sys, time
from pathlib import Path
import experiments.job as job

def run_job(config, *, command):
    rank = config.rank["q"]
    if rank == 5:
        Path("waiting").touch()
        time.sleep(60)
    status = {{2: "failed", 4: "skipped"}}.get(rank, "finished")
    record = {{
        "metric": "accuracy",
        "metrics": {{"last": {{"dev": {{"accuracy": 0.5}}}}}},
        "parameters": {{"trainable": 1000 * rank}},
        "timing": {{"seconds": 1.0}},
    }}
    return job.Outcome(
        status=status, name="x", folder=f"outputs/run-r{{rank}}", command=command, seconds=1.0,
        record=None if status == "failed" else record, error="no luck" if status == "failed" else None,
    )

job.run_job = run_job
sys.argv[0] = "run.py"
runpy.run_path({str(ROOT / "run.py")!r}, run_name="__main__")
"""


def environment(**more: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if key not in ("HYDRA_FULL_ERROR", "COLUMNS")}
    return kept | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **more}


def run(folder: Path, *arguments: str, stub: bool = True, **more: str) -> subprocess.CompletedProcess[str]:
    program = ["-c", DRIVER] if stub else [str(ROOT / "run.py")]
    return subprocess.run(
        [sys.executable, *program, *arguments],
        cwd=folder,
        env=environment(**more),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def imported(folder: Path, *arguments: str) -> tuple[int, set[str], str]:
    """Exit status, top-level packages imported, and what was written to stderr besides."""
    process = subprocess.run(
        [sys.executable, "-X", "importtime", str(ROOT / "run.py"), *arguments],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    lines = process.stderr.splitlines()
    times = [line for line in lines if line.startswith("import time:")]
    packages = {line.split("|")[-1].strip().split(".")[0] for line in times}
    return process.returncode, packages, "\n".join(line for line in lines if line not in times)


@pytest.mark.parametrize(
    ("arguments", "status", "error"),
    [
        (["--help"], 0, ""),
        (["--cfg", "job"], 0, ""),
        (["rnak=3"], 2, "error: rnak is not a key; did you mean rank?"),
        (["task=foo"], 2, "error: task=foo is unknown; valid are mnli, nli, sql, wikisql"),
        (["targets=qx"], 1, "error: targets: 'qx' is not a projection"),
        (["rank=0"], 1, "error: rank: 0"),
        (["budget=10"], 1, "error: a budget of 10 is too small for targets=qv"),
        (["-m", "+experiment=table5", "rank=4"], 2, "error: rank=4 and budget=q8 (in table5) are both given"),
        (["-m", "+experiment=table15"], 2, "error: experiment=table15 is unknown; valid are baselines, fig3"),
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


def test_help_is_the_suite_s_own_page(tmp_path: Path) -> None:
    page = run(tmp_path, "--help", stub=False).stdout
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
    assert done.stdout.startswith("finished  outputs/run-r3\n")
    assert [path.name for path in tmp_path.iterdir()] == ["outputs"]


def test_a_single_run_that_fails(tmp_path: Path) -> None:
    done = run(tmp_path, "rank=2")
    assert (done.returncode, done.stderr) == (1, "error: no luck\n")


def test_hydra_full_error_gives_the_traceback(tmp_path: Path) -> None:
    assert "Traceback" in run(tmp_path, "targets=qx", HYDRA_FULL_ERROR="1").stderr


def test_a_sweep_goes_on_after_a_failure_and_ends_with_a_table_and_status_1(tmp_path: Path) -> None:
    done = run(tmp_path, "-m", "rank=1,2,3,4", "targets=qv", "wandb.mode=disabled")
    assert done.returncode == 1
    assert "Launching 4 jobs locally" in done.stdout
    rows = re.findall(r"^(\d)  qv +(\d) .*(finished|FAILED|kept)", done.stdout, flags=re.MULTILINE)
    assert rows == [("0", "1", "finished"), ("1", "2", "FAILED"), ("2", "3", "finished"), ("3", "4", "kept")]
    assert "#1 failed: no luck\n    python run.py rank=2 targets=qv wandb.mode=disabled\n" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["outputs"]


def test_a_sweep_without_failures_has_status_0(tmp_path: Path) -> None:
    done = run(tmp_path, "-m", "rank=1,3,4", "study=a,b", "wandb.mode=disabled")
    assert (done.returncode, done.stderr) == (0, "")
    assert len(re.findall(r"^\d  qv", done.stdout, flags=re.MULTILINE)) == 6


def test_a_value_that_is_wrong_in_one_job_fails_that_job_alone(tmp_path: Path) -> None:
    done = run(tmp_path, "-m", "rank=1,0", "wandb.mode=disabled")
    assert done.returncode == 1
    assert "#1 failed: rank: 0" in done.stdout
    assert re.search(r"^0  qv +1 .*finished", done.stdout, flags=re.MULTILINE)


def test_ctrl_c_in_a_sweep_keeps_what_is_done(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER, "-m", "rank=1,5,3", "wandb.mode=disabled"],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # As a terminal starts it, even where this test's own caller ignores Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        deadline = time.monotonic() + 60
        while not (tmp_path / "waiting").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    rows = re.findall(r"^\d  qv +(\d) .*(finished|not run)", out, flags=re.MULTILINE)
    assert rows == [("1", "finished"), ("5", "not run"), ("3", "not run")]
    assert err.strip().startswith("interrupted: finished runs are kept")
    assert "Traceback" not in err


def test_jobs_leave_what_a_sweep_in_other_processes_needs(tmp_path: Path) -> None:
    run(tmp_path, "-m", "rank=1,3", "wandb.mode=disabled")
    files = sorted((tmp_path / "outputs/.launches").glob("*/*/job.json"))
    assert [file.parent.name for file in files] == ["0", "1"]
    outcomes = [json.loads(file.read_text(encoding="utf-8"))["outcome"] for file in files]
    assert [outcome["folder"] for outcome in outcomes] == ["outputs/run-r1", "outputs/run-r3"]


def test_an_experiment_is_trained_once_however_it_is_asked_for(tmp_path: Path) -> None:
    """Really trained, one step: W_q at r=8 is a cell of Table 5, by its budget, and of Table 6."""
    small = ["task.train=16", "task.dev=2", "task.test=2", "steps=1", "device=cpu", "wandb.mode=disabled"]
    cell = ["seed=0", "task=sql", "targets=q"]
    first = run(
        tmp_path, "-m", "+experiment=table5", "seed=0", "task=sql", "targets=q,qkvo", *small, stub=False
    )
    assert first.returncode == 0, first.stderr
    rows = re.findall(r"^\d +(\w+) +(\d+) +([\d,]+) .* finished ", first.stdout, flags=re.MULTILINE)
    assert [row[:2] for row in rows] == [("q", "8"), ("qkvo", "2")]
    assert rows[0][2] == rows[1][2]  # trainable parameters
    again = run(tmp_path, "-m", "+experiment=table6", *cell, "rank=8", *small, stub=False)
    assert re.search(r"^0 +q +8 .* kept ", again.stdout, flags=re.MULTILINE), again.stdout + again.stderr
    trained = [path.name for path in (tmp_path / "outputs/section7").iterdir()]
    assert sorted(name.partition("-lr")[0] for name in trained) == [
        "sql-embedded-q-r8",
        "sql-embedded-qkvo-r2",
    ]
