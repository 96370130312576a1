"""Real workers on a real store, the training played: kept, failed, busy, dead, doubled and interrupted."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from experiments import engine
from experiments.engine import ending, look_up, train, walk
from experiments.errors import UserError
from experiments.job import Outcome, address
from experiments.plan import PlannedRun, plan
from experiments.store import HISTORY, RunFolder

ROOT = Path(__file__).resolve().parents[2]
DEADLINE = 240.0
UNSET = ("COLUMNS", "OMP_NUM_THREADS")
ENVIRONMENT = {key: value for key, value in os.environ.items() if key not in UNSET}
ONE_THREAD = {"OMP_NUM_THREADS": "1"}
"""With which workers need not ask torch for how many threads there are, whose import takes seconds."""


class Sweep:
    """`python run.py -m ...` in a process group of its own, as a terminal starts it."""

    def __init__(
        self,
        folder: Path,
        *overrides: str,
        workers: int | None = 2,
        threads: Mapping[str, str] = ONE_THREAD,
    ) -> None:
        self.folder, self.notes = folder, folder / "notes"
        words = [
            *overrides,
            "wandb.mode=disabled",
            *([f"hydra.launcher.workers={workers}"] if workers else []),
        ]
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / "tests" / "played.py"), "-m", *words],
            cwd=folder,
            env={**ENVIRONMENT, **threads, "PLAYED": str(self.notes)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )

    def end(self) -> Sweep:
        try:
            self.out, self.err = self.process.communicate(timeout=DEADLINE)
        finally:
            self.process.kill()
        self.status = self.process.returncode
        return self

    def did(self, name: str) -> list[int]:
        return [int(file.read_text() or 0) for file in sorted(self.notes.glob(f"{name}-*"))]

    def until(self, name: str) -> int:
        """Wait for a note; the process that left it."""
        wait_for(lambda: any(self.did(name)) or self.process.poll() is not None)
        return self.did(name)[0]

    def rows(self) -> dict[str, str]:
        """rank -> status"""
        pattern = r"^\d+ +qv +(\d+) .*?(finished|FAILED|kept|not run|busy elsewhere)  "
        return dict(re.findall(pattern, self.out, flags=re.MULTILINE))


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")  # tells those that have ended and that nobody has asked about
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


# ----------------------------------------------------------------------------------------------- processes


def test_a_failure_does_not_stop_the_rest_and_what_is_finished_is_kept(tmp_path: Path) -> None:
    first = Sweep(tmp_path, "rank=1,2,3", threads={}).end()
    assert first.status == 1, first.err
    assert first.rows() == {"1": "finished", "2": "FAILED", "3": "finished"}
    assert "#1 failed: no luck\n    python run.py rank=2 wandb.mode=disabled\n" in first.out
    assert "3 runs, 0 finished before\n" in first.out
    assert "\x1b" not in first.out
    again = Sweep(tmp_path, "rank=1,3").end()
    assert (again.status, again.rows()) == (0, {"1": "kept", "3": "kept"})
    assert len(again.did("r1")) == len(again.did("r3")) == 1
    assert sorted(path.name for path in (tmp_path / "outputs").iterdir()) == [".launches", "default"]
    assert not (tmp_path / "outputs/default/.workers").exists()  # nothing was printed that is worth keeping


def test_workers_are_processes_of_their_own_and_one_is_this_process(tmp_path: Path) -> None:
    two = Sweep(tmp_path, "rank=13,14")
    pid = two.process.pid
    two.end()
    assert pid not in two.did("r*")
    assert len(set(two.did("r*"))) == 2
    one = Sweep(tmp_path, "rank=4,8", workers=1)
    pid = one.process.pid
    one.end()
    assert set(one.did("r4") + one.did("r8")) == {pid}


def test_force_trains_again_and_once(tmp_path: Path) -> None:
    Sweep(tmp_path, "rank=1,3,4").end()
    again = Sweep(tmp_path, "rank=1,3,4", "force=true").end()
    assert again.rows() == {"1": "finished", "3": "finished", "4": "finished"}
    assert [len(again.did(f"r{rank}")) for rank in (1, 3, 4)] == [2, 2, 2]


def test_a_dead_worker_is_replaced_and_its_run_tried_twice(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, "rank=1,7,11,3").end()
    assert sweep.status == 1
    assert sweep.rows() == {"1": "finished", "7": "finished", "11": "FAILED", "3": "finished"}
    assert [len(sweep.did(f"r{rank}")) for rank in (1, 7, 11, 3)] == [1, 2, 2, 1]
    reason = "the worker was killed by SIGKILL, often for lack of memory"
    # Of the two that die once or more, the other worker may have one trained again before the parent looks.
    assert re.search(rf"died      sql-embedded-qv-r(7|11)-\S+: {reason}; it is trained again\n", sweep.out)
    assert f"#2 failed: {reason}, 2 times\n    python run.py rank=11 wandb.mode=disabled" in sweep.out
    assert Sweep(tmp_path, "rank=7").end().rows() == {"7": "kept"}


def test_what_workers_print_goes_to_a_file(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, "rank=12,1").end()
    assert "noise" not in sweep.out + sweep.err
    [log] = (tmp_path / "outputs/default/.workers").iterdir()
    assert sorted(log.read_text().split("\n")) == ["", "more noise", "noise"]


def test_ctrl_c_stops_all_keeps_what_is_done_and_tells_how_to_go_on(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, "rank=1,5,3")
    sweep.until("r5")
    wait_for(lambda: len(sweep.did("r*")) == 3)
    time.sleep(0.3)
    start = time.monotonic()
    os.killpg(sweep.process.pid, signal.SIGINT)
    sweep.end()
    assert time.monotonic() - start < 10
    assert sweep.status == 130
    assert sweep.rows() == {"1": "finished", "5": "not run", "3": "finished"}
    assert sweep.err.strip().startswith("interrupted: finished runs are kept; the same command skips them")
    assert "Traceback" not in sweep.out + sweep.err
    assert len(sweep.did("closed")) == 1  # what a run has open is closed
    assert not any(map(alive, sweep.did("r*")))


def test_a_worker_that_does_not_stop_is_killed(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, "rank=6,1")
    pid = sweep.until("stubborn")
    os.killpg(sweep.process.pid, signal.SIGINT)
    assert sweep.end().status == 130
    assert not alive(pid)


def test_workers_end_when_their_parent_is_killed_and_the_store_is_whole(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, "rank=5,1,3")
    pid = sweep.until("r5")
    wait_for(lambda: len(sweep.did("r*")) == 3)
    sweep.process.kill()
    sweep.process.wait()
    wait_for(lambda: not alive(pid))
    again = Sweep(tmp_path, "rank=1,3").end()
    assert set(again.rows().values()) <= {"kept", "finished"}
    assert again.status == 0


def test_a_sweep_that_ends_takes_nothing_from_another(tmp_path: Path) -> None:
    """The folder of what workers print is shared; the first to end leaves it to the other."""
    one, other = Sweep(tmp_path, "rank=5,1"), Sweep(tmp_path, "rank=13,14")
    one.until("r5")
    os.killpg(one.process.pid, signal.SIGINT)
    assert one.end().status == 130
    assert other.end().status == 0, other.err
    assert other.rows() == {"13": "finished", "14": "finished"}


def test_a_failure_that_the_store_cannot_hold_is_told_all_the_same(tmp_path: Path) -> None:
    """A lock that is a folder: the run can neither be trained nor, by its worker, be marked as failed."""
    [third] = plan(["rank=3", "wandb.mode=disabled"]).runs
    lost = tmp_path / address(third.config).folder.path
    (lost / ".lock").mkdir(parents=True)
    sweep = Sweep(tmp_path, "rank=3,8").end()
    assert sweep.status == 1
    assert sweep.rows() == {"3": "FAILED", "8": "finished"}
    assert re.search(rf"^0 .* FAILED +outputs/default/{lost.name}$", sweep.out, flags=re.MULTILINE)


def test_two_sweeps_at_once_train_each_run_once(tmp_path: Path) -> None:
    ranks = "rank=13,14,15,16,17,18"
    sweeps = [Sweep(tmp_path, ranks), Sweep(tmp_path, ranks)]
    for sweep in sweeps:
        assert sweep.end().status == 0, sweep.err
        assert set(sweep.rows().values()) <= {"finished", "kept"}
        assert len(sweep.rows()) == 6
    assert [len(sweeps[0].did(f"r{rank}")) for rank in range(13, 19)] == [1] * 6


def really_train(folder: Path, *words: str) -> dict[str, str]:
    """A step of training, really taken; rank -> status."""
    small = ["task.train=16", "task.dev=2", "task.test=2", "steps=1", "wandb.mode=disabled"]
    done = subprocess.run(
        [sys.executable, str(ROOT / "run.py"), "-m", *words, *small],
        cwd=folder,
        env={**ENVIRONMENT, **ONE_THREAD},
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    assert "Warning" not in done.stderr
    return dict(re.findall(r"^\d+ +qv +(\d+) .*?(finished|kept)  ", done.stdout, flags=re.MULTILINE))


@pytest.fixture(scope="module")
def with_rank_3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in whose store this project's launcher has finished rank 3."""
    folder = tmp_path_factory.mktemp("launchers")
    assert really_train(folder, "rank=3", "hydra.launcher.workers=1") == {"3": "finished"}
    return folder


@pytest.mark.parametrize("launcher", ["joblib", "submitit_local", "basic"])
def test_other_launchers_share_the_store(tmp_path: Path, with_rank_3: Path, launcher: str) -> None:
    """One run a job; what one launcher has finished the other keeps."""
    shutil.copytree(with_rank_3, tmp_path, dirs_exist_ok=True)
    jobs = ["hydra.launcher.n_jobs=1"] if launcher == "joblib" else []
    words = [f"hydra/launcher={launcher}", *jobs]
    assert really_train(tmp_path, *words, "rank=1,2,3") == {"1": "finished", "2": "finished", "3": "kept"}
    assert really_train(tmp_path, "rank=2,3", "hydra.launcher.workers=1") == {"2": "kept", "3": "kept"}
    assert len([*(tmp_path / "outputs/default").iterdir()]) == 3


def test_a_sweeper_that_optimises_gets_the_metric_on_dev(tmp_path: Path) -> None:
    """The played metric is the rank: the search must find the largest, and a failure must not end it."""
    search = [
        "hydra/sweeper=tune",
        "rank=choice(1,2,3)",
        "hydra.sweeper.n_trials=8",
        "hydra.sweeper.n_jobs=4",
    ]
    sweep = Sweep(tmp_path, *search).end()
    assert sweep.status == 1, sweep.err  # rank 2 fails
    assert "Best parameters: {'rank': 3}" in sweep.out
    assert "Best value: 0.03" in sweep.out
    assert {"1": "FAILED", "3": "FAILED"}.items().isdisjoint(sweep.rows().items())


# --------------------------------------------------------------------------------------------- in one piece


@pytest.fixture
def planned(config) -> Callable[..., PlannedRun]:
    return lambda **values: PlannedRun(
        config(**values), tuple(f"{key}={value}" for key, value in values.items())
    )


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Training that only writes a record, and the seeds trained."""
    seeds: list[int] = []

    def work(run, place, sweep):
        seeds.append(run.config.seed)
        workspace = place.folder.begin(sweep)
        record = {"timing": {"seconds": 4.0}, "metric": "m", "metrics": {"last": {}}, "sweep": sweep}
        place.folder.publish(workspace, record)
        return place.folder.read()

    monkeypatch.setattr("experiments.job._train", work)
    return seeds


def test_costly_runs_first_and_finished_ones_never(planned, played, capsys) -> None:
    runs = [
        planned(**{"task.name": "nli"}),
        planned(seed=1, rank=1),
        planned(seed=2, rank=64),
        planned(seed=3),
    ]
    train(runs[3:], workers=1)
    outcomes = train(runs, workers=1)
    assert played == [3, 2, 1, 0]
    assert [outcome.status for outcome in outcomes] == ["finished", "finished", "finished", "kept"]
    assert "4 runs, 1 finished before" in capsys.readouterr().out


def test_a_run_that_another_process_trains_is_waited_for(planned, monkeypatch) -> None:
    monkeypatch.setattr(engine, "BUSY_SECONDS", 0.01)
    statuses = {0: ["busy", "busy", "busy", "kept"], 1: ["busy", "finished"], 2: ["failed"]}
    asked: list[int] = []

    def run_job(run, sweep):
        asked.append(run.config.seed)
        return Outcome(statuses[run.config.seed].pop(0), "x", None, None, "e", "c")

    monkeypatch.setattr(engine, "run_job", run_job)
    ended: list[tuple[int, str]] = []
    waits: list[str] = []
    walk(
        [planned(seed=seed) for seed in range(3)],
        0.0,
        lambda config, outcome: ended.append((config.seed, outcome.status)),
        waits.append,
    )
    assert asked == [0, 1, 2, 0, 1, 0, 0]
    assert [re.search(r"seed(\d)-", name)[1] for name in waits] == ["0"]  # while there is other work, none
    assert ended == [(2, "failed"), (1, "finished"), (0, "kept")]


def test_a_plan_that_cannot_be_trained_is_one_line_before_anything_is(planned, played, tmp_path) -> None:
    with pytest.raises(UserError, match=r"rank=300 is too large for W_q, which is \(256, 256\); at most 256"):
        train([planned(seed=0), planned(rank=300)], workers=1)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be made"):
        train([planned(root=str(tmp_path / "file"))], workers=1)
    assert played == []


def test_no_more_workers_than_memory_holds(planned, monkeypatch, capsys) -> None:
    from experiments.progress import Progress

    runs = look_up([planned(seed=seed) for seed in range(8)])
    monkeypatch.setattr(engine, "available_memory", lambda: 0)
    workers = engine._Workers(runs, 0.0, 4, Progress(8, 0))
    started: list[int] = []
    monkeypatch.setattr(workers, "_start", lambda number: started.append(number) or Process())
    workers._hire()
    assert started == [0]  # the first alone, until it is measured
    memory = RunFolder(runs[0].folder.path).begin()
    memory.file(HISTORY).write_text('{"step": 1}\n')
    workers._look()
    workers._hire()
    assert started == [0]
    assert re.search(
        r"memory holds 1 of 4 workers \(\d\.\d GiB each, 0\.0 GiB free\)", capsys.readouterr().out
    )

    monkeypatch.setattr(engine, "available_memory", lambda: 2**40)
    workers = engine._Workers(runs, 0.0, 4, Progress(8, 0))
    monkeypatch.setattr(workers, "_start", lambda number: started.append(number) or Process())
    workers._hire()
    assert started == [0, 0, 1, 2, 3]  # so small a model needs no measuring
    monkeypatch.setattr(engine, "_at_most", lambda stored: float("inf"))
    started.clear()
    workers = engine._Workers(runs, 0.0, 4, Progress(8, 0))
    monkeypatch.setattr(workers, "_start", lambda number: started.append(number) or Process())
    workers._hire()
    assert started == [0]
    workers._look()
    workers._hire()
    assert started == [0, 1, 2, 3]
    assert engine._Workers(runs[:2], 0.0, 4, Progress(8, 0))._most == 2


class Process:
    """This process, as a worker."""

    pid = os.getpid()
    exitcode = None


def test_workers_that_cannot_start_are_no_endless_loop(planned, monkeypatch) -> None:
    class Stillborn(Process):
        pid, exitcode = -1, 3

        def join(self, *_):
            pass

        terminate = kill = join

    from experiments.progress import Progress

    monkeypatch.setattr(engine, "LOOK_SECONDS", 0.0)
    workers = engine._Workers(look_up([planned()]), 0.0, 1, Progress(1, 0))
    monkeypatch.setattr(workers, "_start", lambda number: Stillborn())
    hint = (
        "workers cannot start: the worker ended with status 3; a script that trains begins with: if __name__"
    )
    with pytest.raises(UserError, match=hint):
        workers.train()


def test_how_a_process_ended() -> None:
    assert ending("the worker", 3) == "the worker ended with status 3"
    assert ending("it", -15) == "it was killed by SIGTERM"
    assert ending("it", -9) == "it was killed by SIGKILL, often for lack of memory"


def test_a_failure_of_an_earlier_sweep_does_not_count(planned, played) -> None:
    run = planned()
    [stored] = look_up([run])
    with stored.folder.lock():
        stored.folder.fail("no luck", "", "command", 1.5)
    assert [outcome.status for outcome in train([run], 1, 2.5)] == ["finished"]
    assert json.loads((stored.folder.path / "run.json").read_text())["status"] == "finished"
