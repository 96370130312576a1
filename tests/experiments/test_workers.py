"""Real worker processes with stubs for the work: what they tell, how they die and how they are stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from experiments.errors import UserError
from experiments.job import Outcome
from experiments.plan import PlannedRun
from experiments.workers import Died, Ended, Pool, Stepped

REPOSITORY = Path(__file__).resolve().parents[2]
DEADLINE = 30.0


# ---------------------------------------------------------------------- what the workers of these tests do


def work(run: PlannedRun, report) -> Outcome:
    """As the overrides say."""
    report(0, 2)
    folder = Path(run.config.root)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{os.getpid()}.pid").touch()
    if "print" in run.overrides:
        print("noise", flush=True)
        os.system("echo more noise >&2")
    if "die" in run.overrides:
        os.kill(os.getpid(), signal.SIGKILL)
    if "wait" in run.overrides:
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            (folder / "closed").touch()
            raise
    if "stubborn" in run.overrides:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        (folder / "waiting").touch()
        time.sleep(60)
    report(2, 2)
    threads = os.environ.get("OMP_NUM_THREADS")
    return Outcome("finished", f"{os.getpid()} with {threads} thread", None, None, None, "", 0.0)


def dies_at_once() -> None:
    os._exit(3)


class Unreadable:
    """Cannot be had in another process: a worker with it dies before it begins."""

    def __reduce__(self):
        return dies_at_once, ()

    def __call__(self, run, report):
        raise AssertionError


# ------------------------------------------------------------------------------------------------- helpers


@pytest.fixture
def planned(config):
    return lambda *words: PlannedRun(config(), words)


@pytest.fixture
def pool(tmp_path):
    """`pool(2)`, to be entered."""
    return lambda count, doing=work: Pool(count, doing, tmp_path / "logs")


def until(kind, pool):
    """The events up to the first of a kind."""
    seen = []
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        for event in pool.events(0.1):
            seen.append(event)
            if isinstance(event, kind):
                return seen
    raise AssertionError(f"no {kind.__name__} after {DEADLINE} s: {seen}")


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")  # tells those that have ended and that nobody has asked about
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"


def wait_for(condition) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def pids(folder: Path) -> list[int]:
    return [int(path.stem) for path in folder.glob("*.pid")]


# --------------------------------------------------------------------------------------------------- tests


def test_a_worker_tells_steps_and_outcome_and_stays_for_the_next_run(pool, planned, tmp_path, capfd):
    run, other = planned("print"), planned("other")
    with pool(1) as workers:
        assert workers.idle() == [0]
        workers.give(0, run)
        assert workers.idle() == []
        seen = until(Ended, workers)
        assert seen[:-1] == [Stepped(0, 0, 2), Stepped(0, 2, 2)]
        assert seen[-1].run == run
        assert workers.idle() == [0]
        workers.give(0, other)
        again = until(Ended, workers)[-1]
    name = again.outcome.name
    assert name == seen[-1].outcome.name
    pid = int(name.split()[0])
    assert pid != os.getpid()
    assert name.endswith("with 1 thread")
    assert not alive(pid)
    # What was printed went to the log.
    assert capfd.readouterr() == ("", "")
    assert (tmp_path / "logs/worker-0.log").read_text() == "noise\nmore noise\n"


def test_a_worker_that_dies_is_told_of_and_replaced(pool, planned, tmp_path):
    with pool(1) as workers:
        workers.give(0, planned("die"))
        died = until(Died, workers)[-1]
        assert died.run == planned("die")
        assert died.reason == "the worker was killed by SIGKILL, often for lack of memory"
        assert workers.idle() == [0]
        workers.give(0, planned("well"))
        assert until(Ended, workers)[-1].outcome.status == "finished"
    assert len(pids(Path(planned().config.root))) == 2
    assert list((tmp_path / "logs").iterdir()) == []  # nothing was printed, so no log is left


def test_workers_that_cannot_start_are_one_error(pool, planned):
    def start():
        with pool(1, Unreadable()) as workers:
            workers.give(0, planned("well"))
            until(Ended, workers)

    message = r"workers cannot start: the worker ended with status 3; .*worker-0\.log"
    with pytest.raises(UserError, match=message):
        start()


def test_a_place_that_cannot_be_written_is_one_error(tmp_path, capfd):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"/file/logs cannot be made \(Not a directory\); give another root"):
        Pool(1, work, tmp_path / "file" / "logs").__enter__()
    assert capfd.readouterr().err == ""


def interrupted(pool, run, condition) -> None:
    """Ctrl-C in the parent when the worker has got so far; the workers are gone soon after."""
    start = 0.0
    try:
        with pool:
            pool.give(0, run)
            wait_for(condition)
            start = time.monotonic()
            raise KeyboardInterrupt
    finally:
        assert time.monotonic() - start < 5


def test_an_exception_stops_the_workers_at_once(pool, planned):
    root = Path(planned().config.root)
    with pytest.raises(KeyboardInterrupt):
        interrupted(pool(1), planned("wait"), lambda: pids(root))
    assert (root / "closed").exists()  # what was open could be closed
    assert not any(map(alive, pids(root)))


def test_a_worker_that_will_not_stop_is_killed(pool, planned, monkeypatch):
    monkeypatch.setattr("experiments.workers.STOP_SECONDS", 0.5)
    root = Path(planned().config.root)
    with pytest.raises(KeyboardInterrupt):
        interrupted(pool(1), planned("stubborn"), (root / "waiting").exists)
    assert not any(map(alive, pids(root)))


PARENT = """
import sys
from pathlib import Path
from types import SimpleNamespace
sys.path.insert(0, {repository!r})
from experiments.plan import PlannedRun
from experiments.workers import Pool
from tests.experiments.test_workers import work

if __name__ == "__main__":
    run = PlannedRun(SimpleNamespace(root={root!r}), ("wait",))
    with Pool(1, work, Path({root!r}) / "logs") as pool:
        pool.give(0, run)
        while True:
            list(pool.events(0.1))
"""


def test_no_worker_outlives_its_parent(tmp_path):
    root = tmp_path / "outputs"
    script = tmp_path / "parent.py"
    script.write_text(PARENT.format(repository=str(REPOSITORY), root=str(root)))
    parent = subprocess.Popen([sys.executable, str(script)])
    try:
        wait_for(lambda: pids(root))
        [worker] = pids(root)
        assert alive(worker)
        parent.kill()
        wait_for(lambda: not alive(worker))
    finally:
        parent.kill()
        parent.wait()
    assert not (root / "closed").exists()
