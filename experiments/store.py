"""The run store: one folder a run, complete once its run.json exists.

    outputs/<study>/<readable name>-<hash>/
        run.json                  written last and atomically; a folder without it is an unfinished run
        adapter.safetensors       LoRA's factors at the last step
        adapter_best.safetensors  the same at the best evaluation on dev
        adapter_init.safetensors  the same at step 0
        delta.safetensors         full fine-tuning: dW of each target; method=bias: the trained biases
        delta_best.safetensors    the same at the best evaluation on dev
        predictions.jsonl         one line an evaluation example: checkpoint, split, id, prediction, correct
        history.jsonl             step, loss, lr, grad_norm; evaluations with their metrics
        failure.json              what went wrong, where a run failed

This module owns the format and imports neither torch nor Hydra: training writes through it, analysis reads.
"""

from __future__ import annotations

import contextlib
import fcntl
import gzip
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
FORMAT_VERSION = 1


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
        try:
            record = json.loads(self.file(RUN).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return record if isinstance(record, dict) and record.get("status") == "finished" else None

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the run against other processes; the system releases it when this one ends, however it ends.

        Raises BusyError at once when another process holds it.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with self.file(LOCK).open("a") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BusyError(f"{self.path} is being trained by another process") from None
            yield

    def begin(self) -> RunFolder:
        """An empty folder inside this one to train into; what is finished stays as it is until `publish`."""
        workspace = RunFolder(self.path / WORKSPACE)
        shutil.rmtree(workspace.path, ignore_errors=True)
        workspace.path.mkdir(parents=True)
        return workspace

    def publish(self, workspace: RunFolder, record: Mapping[str, Any]) -> None:
        """Put the workspace's files in the place of earlier ones, then write run.json: the run is finished.

        A crash in between leaves an unfinished run, never a mixed one that counts as finished.
        """
        complete = {"format": FORMAT_VERSION, "id": self.id, "status": "finished", **record}
        content = _json(complete)
        self.file(RUN).unlink(missing_ok=True)
        for path in self.path.iterdir():
            if path.name not in (LOCK, WORKSPACE):
                path.unlink()
        for path in workspace.path.iterdir():
            os.replace(path, self.file(path.name))
        workspace.path.rmdir()
        replace_file(self.file(RUN), content)

    def fail(self, error: str, traceback: str, command: str) -> None:
        write_json(
            self.file(FAILURE), {"error": error, "command": command, "traceback": traceback.splitlines()}
        )


def write_json(path: Path, record: Mapping[str, Any]) -> None:
    """Replace the file in one step, so that no reader ever sees half of it."""
    replace_file(path, _json(record))


def _json(record: Mapping[str, Any]) -> str:
    return json.dumps(record, indent=2, allow_nan=False) + "\n"


def write_jsonl(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    replace_file(path, "".join(json.dumps(record) + "\n" for record in records))


def replace_file(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """The records of a file, packed by gzip where its name ends in .gz."""
    content = path.read_bytes()
    text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8")
    return [json.loads(line) for line in text.splitlines() if line.strip()]


def runs(root: Path, study: str) -> list[RunFolder]:
    """The study's run folders, finished or not, by name.  Hidden folders are not runs."""
    folder = root / study
    if not folder.is_dir():
        return []
    return [RunFolder(path) for path in sorted(folder.iterdir()) if path.is_dir() and path.name[0] != "."]
