"""The order of work, what is kept, tried again, waited for and given up; the workers are played."""

from __future__ import annotations

import json
from collections import deque

import pytest

from experiments.job import Outcome
from experiments.plan import PlannedRun
from experiments.progress import Progress
from experiments.reproduction import Reproduction, Stored, log_folder, look_up
from experiments.store import FAILURE, RunFolder
from experiments.workers import Died, Ended, Stepped

RECORD = {"metric": "accuracy", "metrics": {"last": {}}, "timing": {"seconds": 4.0}}


class PlayedPool:
    """Ends each run as `script` says by its seed, in order; finished where it says nothing."""

    def __init__(self, count, script=None):
        self.count = count
        self.script = {seed: deque(ends) for seed, ends in (script or {}).items()}
        self.given = []
        self.now = {}

    def idle(self):
        return [number for number in range(self.count) if number not in self.now]

    def give(self, number, run):
        self.given.append((number, run))
        self.now[number] = run

    def events(self, timeout):
        for number, run in list(self.now.items()):
            ends = self.script.get(run.config.seed)
            end = ends.popleft() if ends else "finished"
            del self.now[number]
            if end == "died":
                yield Died(number, run, "the worker was killed")
                continue
            yield Stepped(number, 1, 2)
            record = RECORD if end in ("finished", "skipped") else None
            error = None if record else f"{end} it is"
            yield Ended(number, run, Outcome(end, run.name, "f", record, error, f"repeat {run.name}", 1.0))


class Noted(Progress):
    def note(self, line):
        self.__dict__.setdefault("notes", []).append(line)

    def started(self, worker, name):
        super().started(worker, name)
        self.__dict__.setdefault("left_at_starts", []).append(self.left)


@pytest.fixture
def stored(config):
    def build(seed=0, record=None, **changes):
        values = {"seed": seed, **changes}
        run = PlannedRun(config(**values), tuple(f"{key}={value}" for key, value in values.items()))
        folder = RunFolder(run.config.root / run.config.study / f"{run.name}-abc")
        return Stored(run, folder, record)

    return build


@pytest.fixture
def reproduce(monkeypatch):
    def play(runs, pool):
        monkeypatch.setattr("experiments.reproduction.BUSY_SECONDS", 0.0)
        kept = sum(one.record is not None for one in runs)
        progress = Noted("s", len(runs), kept)
        failed = Reproduction(runs, pool, progress).train()
        return failed, progress

    return play


def test_costly_runs_first_and_finished_ones_never(stored, reproduce):
    runs = [
        stored(**{"task.name": "nli"}),
        stored(1, rank=1),
        stored(2, rank=64),
        stored(3, record=RECORD),
    ]
    pool = PlayedPool(2)
    failed, progress = reproduce(runs, pool)
    assert failed == []
    assert [run.config.seed for _, run in pool.given] == [2, 1, 0]
    assert [worker for worker, _ in pool.given] == [0, 1, 0]
    assert progress.summary() == "4 of 4 runs done: 3 finished, 1 kept, 0 failed"
    assert progress.left == 0.0


def test_a_failure_does_not_stop_the_rest(stored, reproduce):
    failed, progress = reproduce([stored(seed) for seed in range(3)], PlayedPool(1, {0: ["failed"]}))
    [outcome] = failed
    assert (outcome.error, outcome.command) == ("failed it is", f"repeat {stored(0).run.name}")
    assert progress.counts == {"failed": 1, "finished": 2}


def test_a_run_whose_worker_dies_is_tried_once_more(stored, reproduce):
    pool = PlayedPool(1, {0: ["died"]})
    failed, progress = reproduce([stored(0), stored(1)], pool)
    assert failed == []
    assert [run.config.seed for _, run in pool.given] == [0, 1, 0]
    assert progress.notes == [f"died      {stored(0).run.name}: the worker was killed; it is trained again"]


def test_a_run_whose_worker_dies_twice_has_failed(stored, reproduce):
    one = stored(0)
    failed, progress = reproduce([one, stored(1)], PlayedPool(1, {0: ["died", "died"]}))
    [outcome] = failed
    assert outcome.error == "the worker was killed, 2 times"
    assert outcome.command == "OMP_NUM_THREADS=1 python run.py seed=0"
    assert progress.counts == {"finished": 1, "failed": 1}
    told = json.loads(one.folder.file(FAILURE).read_text())
    assert (told["error"], told["command"]) == (outcome.error, outcome.command)


def test_a_run_of_another_process_is_waited_for(stored, reproduce):
    pool = PlayedPool(2, {0: ["busy", "busy", "skipped"], 1: ["busy", "finished"]})
    failed, progress = reproduce([stored(0), stored(1), stored(2)], pool)
    assert failed == []
    assert progress.counts == {"finished": 2, "skipped": 1}
    assert len(progress.notes) == 2
    assert progress.notes[0].endswith("another process trains it; it is waited for")


def test_what_another_process_trains_counts_as_time_left(stored, reproduce):
    runs = [stored(0, record=RECORD), stored(1)]
    progress = reproduce(runs, PlayedPool(1, {1: ["busy", "finished"]}))[1]
    assert progress.left_at_starts == [None, 4.0]


def test_look_up_tells_what_is_finished(config, monkeypatch):
    monkeypatch.setattr("experiments.job.model_identity", lambda model: "tiny")
    runs = [PlannedRun(config(seed=seed), (f"seed={seed}",)) for seed in (0, 1)]
    one, other = look_up(runs)
    assert one.record is other.record is None
    with one.folder.lock():
        one.folder.publish(one.folder.begin(), RECORD)
    with other.folder.lock():  # its folder is there, unfinished
        again = look_up(runs)
    assert again[0].record["timing"] == {"seconds": 4.0}
    assert again[1].record is None
    forced = PlannedRun(config(seed=0, force=True), ("force=true",))
    assert look_up([forced])[0].record is None


def test_logs_are_no_run_of_the_study(tmp_path):
    from experiments.store import runs

    log_folder(tmp_path, "s").mkdir(parents=True)
    assert runs(tmp_path, "s") == []
