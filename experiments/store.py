"""The run store: one folder a run, complete once its run.json exists.

    outputs/<study>/<readable name>-<hash>/
        run.json                  written last and atomically; a folder without it is an unfinished run
        adapter.safetensors       LoRA's factors at the last step
        adapter_best.safetensors  the same at the best evaluation on dev
        adapter_init.safetensors  the same at step 0
        delta.safetensors         full fine-tuning and DoRA: dW of each target; other methods but LoRA: all
                                  that was trained
        delta_best.safetensors    the same at the best evaluation on dev
        predictions.jsonl         one line an evaluation example: checkpoint, split, id, prediction, correct
        history.jsonl             step, loss, lr, grad_norm; evaluations with their metrics
        failure.json              what went wrong, where a run failed

This module owns the format and imports neither torch nor Hydra: training writes through it, analysis reads.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import shutil
import socket
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lora.files import write_atomically

RUN = "run.json"
ADAPTER = "adapter.safetensors"
ADAPTER_BEST = "adapter_best.safetensors"
ADAPTER_INIT = "adapter_init.safetensors"
DELTA = "delta.safetensors"
DELTA_BEST = "delta_best.safetensors"
PREDICTIONS = "predictions.jsonl"
HISTORY = "history.jsonl"
FAILURE = "failure.json"
LOCK = ".lock"
WORKSPACE = ".training"
WHOLE = ".whole"
"""The workspace of a run that is trained and written, while its files are put in their places."""
OWNER = "owner.json"
"""In the workspace: the process that trains, how many steps it is to take, and who tried before it."""
FILES = (
    RUN,
    ADAPTER,
    ADAPTER_BEST,
    ADAPTER_INIT,
    DELTA,
    DELTA_BEST,
    PREDICTIONS,
    HISTORY,
    FAILURE,
)
FORMAT_VERSION = 1
TAIL_BYTES = 4096


class BusyError(RuntimeError):
    """Another process is at work on this run."""


@dataclass(frozen=True)
class RunFolder:
    """The files of one run.  Only the holder of `lock` may write."""

    path: Path

    @classmethod
    def of(cls, root: Path, study: str, readable_name: str, run_hash: str) -> RunFolder:
        """The run's folder: one that ends in its hash, whatever stands before it, else a new one.

        The hash alone says which run it is; the name before it follows from how the model's folder is called.
        """
        named = root / study / f"{readable_name}-{run_hash}"
        if named.is_dir():
            return cls(named)
        renamed = (path for path in sorted(named.parent.glob(f"[!.]*-{run_hash}")) if path.is_dir())
        return cls(next(renamed, named))

    @property
    def id(self) -> str:
        return self.path.name

    def file(self, name: str) -> Path:
        return self.path / name

    def read(self) -> dict[str, Any] | None:
        """The finished run's record, or None where the run is unfinished or its record is damaged."""
        record = _read_object(self.file(RUN))
        return record if record and record.get("status") == "finished" else None

    def failure(self) -> dict[str, Any]:
        """What went wrong the last time; nothing where it went well."""
        return _read_object(self.file(FAILURE)) or {}

    def owner(self) -> dict[str, Any]:
        """The process that trains or trained here: pid, host, and steps once it knows them; else nothing.

        `attempts` are the processes that have begun and not finished, it the last: [pid, sweep].
        """
        return _read_object(self.path / WORKSPACE / OWNER) or {}

    def attempts(self, sweep: float) -> list[int]:
        """The processes of a sweep that have begun to train and neither finished nor failed."""
        return [pid for pid, of in _pairs(self.owner().get("attempts")) if of == sweep]

    def latest(self) -> dict[str, Any]:
        """The last line of the history of what is being trained; nothing before the first."""
        try:
            with (self.path / WORKSPACE / HISTORY).open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
                lines = file.read().split(b"\n")
            return dict(json.loads(lines[-2]))  # behind the last line there is nothing, or a part of the next
        except (OSError, ValueError, IndexError):
            return {}

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the run against other processes; the system releases it when this one ends, however it ends.

        What a process had trained and written before it died is put in its place first.  Raises BusyError at
        once when another process holds the run, and OSError where the folder cannot be written.
        """
        from filelock import FileLock, Timeout

        self.path.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.file(LOCK), timeout=0):
                if (self.path / WHOLE).is_dir():
                    self._place()
                yield
        except Timeout:
            raise BusyError(f"{self.path} is being trained by another process") from None

    def begin(self, sweep: float = 0.0) -> RunFolder:
        """An empty folder inside this one to train into; what is finished stays as it is until `publish`.

        `sweep` names the sweep that this attempt is of.
        """
        workspace = RunFolder(self.path / WORKSPACE)
        pid = os.getpid()
        attempts = [*_pairs(self.owner().get("attempts")), [pid, sweep]]
        shutil.rmtree(workspace.path, ignore_errors=True)
        owner = {"pid": pid, "host": socket.gethostname(), "steps": None, "attempts": attempts}
        write_json(workspace.file(OWNER), owner)
        return workspace

    def announce(self, steps: int) -> None:
        """Say in the workspace how many steps the training will take."""
        write_json(self.file(OWNER), {**(_read_object(self.file(OWNER)) or {}), "steps": steps})

    def publish(self, workspace: RunFolder, record: Mapping[str, Any]) -> None:
        """Put the workspace's files in the place of earlier ones, run.json last: the run is finished.

        Nothing earlier is touched before all that is new is whole and written; after a crash in between, the
        next to hold the run goes on with it.  Files and folders that are not the store's own stay.
        """
        complete = {"format": FORMAT_VERSION, "id": self.id, "status": "finished", **record}
        write_json(workspace.file(RUN), complete)
        files = [name for name in FILES if workspace.file(name).is_file()]
        write_json(workspace.file(OWNER), {"files": files})
        shutil.rmtree(self.path / WHOLE, ignore_errors=True)
        os.replace(workspace.path, self.path / WHOLE)
        self._place()

    def amend(self, record: Mapping[str, Any]) -> None:
        """Put another record in the place of a finished run's, in one step."""
        write_json(self.file(RUN), record)

    def _place(self) -> None:
        """Move what is whole to its places; may go on where an earlier one broke off."""
        whole = self.path / WHOLE
        if (whole / RUN).is_file():
            told = (_read_object(whole / OWNER) or {}).get("files")
            files = told if isinstance(told, list) else [name for name in FILES if (whole / name).is_file()]
            for name in FILES:
                if name == RUN or name not in files:
                    self.file(name).unlink(missing_ok=True)
            for name in (*(name for name in files if name != RUN), RUN):
                with contextlib.suppress(FileNotFoundError):  # moved before
                    os.replace(whole / name, self.file(name))
        shutil.rmtree(whole, ignore_errors=True)

    def fail(self, error: str, traceback: str, command: str, sweep: float = 0.0) -> None:
        """Leave word of a failure, and of the sweep that it was in."""
        lines = traceback.splitlines()
        write_json(
            self.file(FAILURE), {"error": error, "command": command, "traceback": lines, "sweep": sweep}
        )


def _pairs(value: Any) -> list[list[Any]]:
    """The attempts of an owner's file, whatever stands there."""
    pairs = value if isinstance(value, list) else []
    return [pair for pair in pairs if isinstance(pair, list) and len(pair) == 2]


def _read_object(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def write_json(path: Path, record: Mapping[str, Any]) -> None:
    """Replace the file in one step, so that no reader ever sees half of it."""
    write_atomically(path, (json.dumps(record, indent=2, allow_nan=False) + "\n").encode())


def write_jsonl(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    write_atomically(path, "".join(json.dumps(record) + "\n" for record in records).encode())


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """The records of a file, packed by gzip where its name ends in .gz."""
    content = path.read_bytes()
    text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8")
    lines = [line for line in text.splitlines() if line.strip()]
    try:
        records: list[dict[str, Any]] = json.loads(f"[{','.join(lines)}]")  # three times as fast as by line
    except ValueError:
        records = []
    return records if len(records) == len(lines) else [json.loads(line) for line in lines]


def runs(root: Path, study: str) -> list[RunFolder]:
    """The study's run folders, finished or not, by name.  Hidden folders are not runs."""
    folder = root / study
    if not folder.is_dir():
        return []
    return [RunFolder(path) for path in sorted(folder.iterdir()) if path.is_dir() and path.name[0] != "."]
