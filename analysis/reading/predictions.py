"""A run's scores, example by example, from its predictions.jsonl or, in an archive, predictions.jsonl.gz.

A line has `correct`, true or false, where answers are right or wrong, else `score`: a number, or of a corpus
metric the example's statistics, a list of numbers.  The scores by other metrics stand there under their
names; an archive keeps them of runs whose answers are not right or wrong.
"""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from analysis.defaults import CHECKPOINTS
from analysis.errors import AnalysisError, NotMeasuredError
from analysis.reading.files import is_file, unreadable
from experiments.store import PREDICTIONS, read_jsonl

PACKED = f"{PREDICTIONS}.gz"
KEYS = ("checkpoint", "split", "id")
PREDICTION = "prediction"
CORRECT, SCORE = OUTCOMES = ("correct", "score")
"""Of each line KEYS and one of OUTCOMES; what an archive keeps."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """The examples of one split, in the run's order.

    Attributes:
        ids: theirs.
        scores: bool (examples,), which were answered rightly; or float64 (examples,), or of a corpus metric
            (examples, statistics).
    """

    ids: tuple[str, ...]
    scores: Shaped[np.ndarray, "examples ..."]


def read_predictions(
    run: str | os.PathLike[str], split: str = "test", checkpoint: str = "last", metric: str | None = None
) -> Predictions:
    """The answers of one checkpoint to one split.

    A run whose best checkpoint is its last has them in the file once; they are found under either name.

    Args:
        run: the run's folder.
        split: "dev" or "test".
        checkpoint: "last", or "best" for the best evaluation on dev.
        metric: whose scores, of the examples that have one; None is the one that counts.

    Raises:
        NotMeasuredError: no answer has a score by this metric.
        AnalysisError: no such checkpoint, the file is missing or damaged, or the run has no such split.
    """
    if checkpoint not in CHECKPOINTS:
        raise AnalysisError(f"checkpoint {checkpoint!r} is unknown; valid are {', '.join(CHECKPOINTS)}")
    records = read_records(run)
    kept = {record["checkpoint"] for record in records}
    name = checkpoint if checkpoint in kept else "last"
    chosen = [record for record in records if record["split"] == split and record["checkpoint"] == name]
    if chosen and metric is not None:
        chosen = [record for record in chosen if metric in record]
        if not chosen:
            raise NotMeasuredError(f"{Path(run).name}: no answer on {split!r} has a score by {metric}")
    answers = [(str(record["id"]), _score(record) if metric is None else record[metric]) for record in chosen]
    if not answers:
        splits = ", ".join(sorted({record["split"] for record in records})) or "nothing"
        raise AnalysisError(f"{Path(run).name} has no predictions on {split!r}; it has {splits}")
    ids, scores = zip(*answers, strict=True)
    try:
        return Predictions(ids, np.array(scores, dtype=None if isinstance(scores[0], bool) else float))
    except (TypeError, ValueError) as error:
        raise AnalysisError(
            f"{Path(run).name}: its scores on {split!r} are not of one kind ({error}); train the run again"
        ) from None


def read_records(run: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Every line of the run's predictions; each has at least KEYS and one of OUTCOMES.

    Raises:
        AnalysisError: the file is missing or damaged, or cannot be read.
    """
    folder = Path(run)
    path = folder / PREDICTIONS
    if not is_file(path) and is_file(folder / PACKED):
        path = folder / PACKED
    needed = {*KEYS}
    try:
        records = read_jsonl(path)
        kinds = {*map(type, records)}
        shapes = {*map(tuple, records)} if kinds <= {dict} else {()}  # of keys: few, of thousands of lines
        if not all(needed <= {*shape} and not {*shape}.isdisjoint(OUTCOMES) for shape in shapes):
            raise ValueError(f"a line without {', '.join(KEYS)} or without {' or '.join(OUTCOMES)}")
    except FileNotFoundError:
        raise AnalysisError(f"{folder.name} has no {PREDICTIONS}; train the run again") from None
    except (PermissionError, IsADirectoryError) as error:
        raise AnalysisError(f"{folder.name}: {path.name} {unreadable(error)}") from None
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise AnalysisError(
            f"{folder.name}: {path.name} is damaged ({type(error).__name__}: {error}); train the run again"
        ) from None
    return records


def _score(record: dict[str, Any]) -> Any:
    return bool(record[CORRECT]) if CORRECT in record else record[SCORE]
