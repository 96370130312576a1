"""`python -m analysis archive`: a slim copy of a study, small enough to be committed beside its results.

    FOLDER/STUDY/costs.json               what LoRA costs, where it was measured
    FOLDER/STUDY/archive.json             what was made from what, and the sha256 of every file
    FOLDER/STUDY/RUN/run.json             as it was; "archive" names the files that are left out, and has
                                          the shapes of their tensors
    FOLDER/STUDY/RUN/predictions.jsonl.gz checkpoint, split, id, and correct or score of each answer; where
                                          that is a score, those by the other metrics, too
    FOLDER/STUDY/RUN/history.jsonl        without the throughput
    FOLDER/STUDY/RUN/adapter.safetensors  of the runs that the chosen figures read; of the other LoRA runs of
                                          the chosen targets in float16, from which the geometry of every
                                          seed can be computed anew to the digits that are printed

It has the run store's layout, so every command reads it with --root FOLDER. Its files hold no time: archiving
the same study again gives the same bytes.
"""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.errors import AnalysisError
from analysis.reading.costs import FILE as COSTS
from analysis.reading.costs import costs_file, has_costs
from analysis.reading.manifest import (
    ARCHIVE,
    FOREIGN,
    FORMAT_VERSION,
    MANIFEST,
    OUTLINE,
    half_precision,
    is_archive,
    not_counting,
    outline,
    sha256,
)
from analysis.reading.predictions import KEYS, OUTCOMES, PACKED, PREDICTION, SCORE, read_records
from experiments.store import (
    ADAPTER,
    ADAPTER_BEST,
    ADAPTER_INIT,
    DELTA,
    DELTA_BEST,
    HISTORY,
    RUN,
    read_jsonl,
)

if TYPE_CHECKING:
    from analysis.reading.run import Run
    from analysis.reading.study import Study
    from analysis.registry import Command

TENSORS = (ADAPTER, ADAPTER_BEST, ADAPTER_INIT, DELTA, DELTA_BEST)
KEPT_TENSORS = (ADAPTER, DELTA)
"""The last checkpoint's: all that a figure reads unless it is told otherwise."""
THROUGHPUT = "_per_second"


@dataclass(frozen=True)
class Archive:
    """What was made.

    Attributes:
        folder: the study in it.
        runs: how many.
        with_adapters: of them, how many with their adapter.
        rounded: of these, how many in float16.
        size: bytes.
    """

    folder: Path
    runs: int
    with_adapters: int
    rounded: int
    size: int


def archive(
    study: Study, folder: Path, figures: Mapping[str, Command], rounded: str | None = None
) -> Archive:
    """Write the finished runs of a study into `folder`/STUDY, in the place of an earlier archive.

    Args:
        figures: commands of the analysis by name, each of one task at a time; the runs that they read keep
            their adapters as they are.
        rounded: targets as run.json names them; the other LoRA runs of these keep theirs in float16.

    Raises:
        AnalysisError: the study has no finished run or lacks one that a figure reads, a file is damaged, or
            what lies at the place is no archive or holds other runs too.
    """
    if not study.runs:
        raise AnalysisError(f"study {study.name} has no finished run to archive")
    place = folder / study.name
    if place.exists() and not is_archive(place):
        raise AnalysisError(f"{place} is no archive and stays as it is; give another folder with --out")
    foreign = [run for run, reason in not_counting(place).items() if reason == FOREIGN]
    if foreign:
        raise AnalysisError(
            f"{place} holds {', '.join(foreign)}, which {MANIFEST} does not name and which would be lost; "
            "move it away, or give another folder with --out"
        )
    whole = runs_of(study, figures)
    half = {
        run.id
        for run in study.runs
        if run.id not in whole and (run.settings["method"], run.settings.get("targets")) == ("lora", rounded)
    }
    workspace = folder / f".{study.name}"
    shutil.rmtree(workspace, ignore_errors=True)
    sums: dict[str, dict[str, str]] = {}
    size = 0
    for run in study.runs:
        files = _files(run, KEPT_TENSORS if run.id in whole | half else (), run.id in half)
        (workspace / run.id).mkdir(parents=True)
        for name, data in files.items():
            (workspace / run.id / name).write_bytes(data)
            size += len(data)
        sums[run.id] = {name: sha256(data) for name, data in files.items()}
    manifest = _json(
        {
            "format": FORMAT_VERSION,
            "study": study.name,
            "adapters": sorted(figures),
            "rounded": rounded,
            "left_out": dict(study.left_out),
            "runs": sums,
        }
    )
    (workspace / MANIFEST).write_bytes(manifest)
    if has_costs(study):
        measured = costs_file(study).read_bytes()
        (workspace / COSTS).write_bytes(measured)
        size += len(measured)
    shutil.rmtree(place, ignore_errors=True)
    workspace.rename(place)
    return Archive(place, len(sums), len(whole | half), len(half), size + len(manifest))


def runs_of(study: Study, figures: Mapping[str, Command]) -> set[str]:
    """The ids of the runs that these figures and tables read, found by making them.

    Raises:
        AnalysisError: the study lacks one.
    """
    from analysis.selection import Selection

    together = Selection.of_tasks(study)
    results = (command.make(selection) for command in figures.values() for selection in together.each_task())
    return {str(run) for result in results for run in result.provenance["runs"]}


def _files(run: Run, tensors: Sequence[str], rounded: bool) -> dict[str, bytes]:
    """The run's files in the archive, by name; `rounded`: of its adapter, in float16."""
    files = {PACKED: _packed(read_records(run.path), run.record["metric"])}
    if (run.path / HISTORY).is_file():
        files[HISTORY] = _history(run)
    for name in tensors:
        if (run.path / name).is_file():
            data = (run.path / name).read_bytes()
            files[name] = half_precision(data, run.id) if rounded else data
    had = [name for name in TENSORS if name in run.left_out or (run.path / name).is_file()]
    absent = [name for name in had if name not in files]
    note: dict[str, Any] = {"left_out": absent}
    if rounded:
        note["rounded"] = [name for name in tensors if name in files]
    if ADAPTER in absent and (kept := outline(run.adapter())):
        note[OUTLINE] = kept
    return {RUN: _json({**run.record, ARCHIVE: note}), **files}


def _packed(records: Iterable[Mapping[str, Any]], metric: str) -> bytes:
    """Without the texts, and without a second copy of what the metric that counts says."""

    def kept(record: Mapping[str, Any]) -> dict[str, Any]:
        others = [key for key in record if SCORE in record and key not in (PREDICTION, metric)]
        return {key: record[key] for key in dict.fromkeys((*KEYS, *OUTCOMES, *others)) if key in record}

    return gzip.compress(_lines(map(kept, records)), mtime=0)


def _history(run: Run) -> bytes:
    try:
        return _lines(
            {key: value for key, value in record.items() if not key.endswith(THROUGHPUT)}
            for record in read_jsonl(run.path / HISTORY)
        )
    except (OSError, ValueError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise AnalysisError(f"{run.id}: {HISTORY} is damaged ({reason}); train the run again") from None


def _lines(records: Iterable[Mapping[str, Any]]) -> bytes:
    return "".join(json.dumps(record, separators=(",", ":")) + "\n" for record in records).encode()


def _json(record: Mapping[str, Any]) -> bytes:
    return (json.dumps(record, indent=2, allow_nan=False) + "\n").encode()
