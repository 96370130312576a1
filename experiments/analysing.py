"""The analysis of a study after its training: `python -m analysis` as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.progress import Progress
from experiments.workers import ending

ROOT = Path(__file__).resolve().parent.parent
LAST_FILE = ".json"
"""What a result writes last."""
ERROR = "error: "
LEFT_OUT = "left out: "
TRACEBACK = "Traceback "
SOME_FAILED = 1
"""The status where a result could not be made and the others were; after a traceback, too."""


@dataclass(frozen=True)
class Analysed:
    """What the analysis printed.

    Attributes:
        text: tables and verdicts.
        errors: one a result that could not be made, each with its further lines; and last, where it broke
            off, that it did.
        left_out: the study's runs that do not count, each with the reason.
    """

    text: str
    errors: tuple[str, ...]
    left_out: Mapping[str, str]


def analyse(arguments: Sequence[str], expected: int, progress: Progress) -> Analysed:
    """Run `python -m analysis` with these arguments and show each result as it is made.

    Args:
        expected: how many results there should be.
    """
    command = [sys.executable, "-P", "-m", "analysis", *arguments]  # -P: not what lies in the working folder
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
    complaints = _Complaints(progress)
    text: list[str] = []
    done = 0
    progress.analysed(done, expected, "starting")
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        listener = threading.Thread(target=complaints.read, args=(child.stderr,), daemon=True)
        listener.start()
        try:
            for line in child.stdout:
                written = Path(line.rstrip("\n"))
                if not (written.suffix and written.is_file()):
                    text.append(line)
                elif written.suffix == LAST_FILE:
                    done += 1
                    progress.analysed(done + len(complaints.errors), expected, str(written.with_suffix("")))
            listener.join()
        except BaseException:
            child.terminate()
            raise
    errors = complaints.errors
    broke_off = child.returncode not in (0, SOME_FAILED) or complaints.traceback
    if child.returncode and (broke_off or not errors):
        errors.append(f"{ending('the analysis', child.returncode)}; what it had not made by then is missing")
    return Analysed("".join(text).strip(), tuple(errors), complaints.left_out)


class _Complaints:
    """Lines of the standard error: errors are gathered, other lines are notes.

    Attributes:
        errors, left_out: as in `Analysed`.
        traceback: whether there was one.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self.errors: list[str] = []
        self.left_out: dict[str, str] = {}
        self.traceback = False

    def read(self, lines: Iterable[str]) -> None:
        inside = False
        for line in map(str.rstrip, lines):
            if line.startswith(ERROR):
                self.errors.append(line.removeprefix(ERROR))
                inside = True
            elif inside and line.startswith("  "):
                self.errors[-1] += f"\n{line}"
            elif line:
                inside = False
                self.traceback |= line.startswith(TRACEBACK)
                if line.startswith(LEFT_OUT):
                    run, _, reason = line.removeprefix(LEFT_OUT).partition(": ")
                    self.left_out[run] = reason
                self._progress.note(line)
