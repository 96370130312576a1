"""run.py and scripts/reproduce.py with the training played: what a run does is said by its rank.

Workers import the main module anew, so the play goes on in them.  Everything else is real: Hydra, the plan,
the processes, the store.

    python tests/played.py -m rank=1,2        as run.py
    PLAYED=... python tests/played.py         where the runs leave notes of what they did
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import experiments.job as job  # noqa: E402
from experiments.errors import UserError  # noqa: E402
from experiments.store import HISTORY  # noqa: E402

FAILS, WAITS, STUBBORN, DIES_ONCE, DIES, PRINTS, MEETS = 2, 5, 6, 7, 11, 12, 13


def note(name: str) -> Path:
    folder = Path(os.environ["PLAYED"])
    folder.mkdir(exist_ok=True)
    file = folder / f"{name}-{time.time_ns()}"
    file.write_text(str(os.getpid()))
    return file


def notes(folder: Path, name: str) -> list[int]:
    """The processes that have left a note of a name that begins so."""
    return [int(file.read_text() or 0) for file in sorted(folder.glob(f"{name}*"))]


def train(run, place, sweep):
    """In the place of experiments.job._train."""
    rank = next(iter(run.config.rank.values()))
    note(f"r{rank}")
    workspace = place.folder.begin(sweep)
    workspace.announce(20)
    workspace.file(HISTORY).write_text('{"step": 10, "loss": 1.0}\n')
    if rank == FAILS:
        raise UserError("no luck")
    if rank == WAITS:
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            note("closed")
            raise
    if rank == STUBBORN:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        note("stubborn")
        time.sleep(60)
    if rank == DIES or (rank == DIES_ONCE and len(notes(Path(os.environ["PLAYED"]), f"r{rank}-")) == 1):
        os.kill(os.getpid(), signal.SIGKILL)
    if rank == PRINTS:
        print("noise", flush=True)
        os.system("echo more noise >&2")
    if rank >= MEETS:  # two processes at the least
        deadline = time.monotonic() + 20
        while len({*notes(Path(os.environ["PLAYED"]), "r")}) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
    time.sleep(1.0 if rank == DIES_ONCE else 0.05)  # so that the parent sees that it is tried again
    record = {
        "metric": "accuracy",
        "metrics": {"last": {"step": 20, "dev": {"accuracy": rank / 100}, "test": {"accuracy": 0.25}}},
        "parameters": {"trainable": 1000 * rank},
        "timing": {"seconds": 1.0},
        "sweep": sweep,
    }
    place.folder.publish(workspace, record)
    return place.folder.read()


job._train = train

if __name__ == "__main__":
    import run

    sys.argv[0] = "run.py"
    sys.exit(run.main())
