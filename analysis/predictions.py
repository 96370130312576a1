"""A run's answers, example by example, from its predictions.jsonl."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from analysis.choices import CHECKPOINTS
from analysis.errors import AnalysisError
from experiments.store import PREDICTIONS, read_jsonl


@dataclass(frozen=True, eq=False)
class Predictions:
    """The examples of one split, in the run's order: their ids, and which were answered rightly."""

    ids: tuple[str, ...]
    correct: Bool[np.ndarray, " examples"]


def read_predictions(
    run: str | os.PathLike[str], split: str = "test", checkpoint: str = "last"
) -> Predictions:
    """The answers of one checkpoint to one split.

    A run whose best checkpoint is its last has them in the file once; they are found under either name.

    Args:
        run: the run's folder.
        split: "dev" or "test".
        checkpoint: "last", or "best" for the best evaluation on dev.

    Raises:
        AnalysisError: no such checkpoint, the file is missing or damaged, or the run has no such split.
    """
    if checkpoint not in CHECKPOINTS:
        raise AnalysisError(f"checkpoint {checkpoint!r} is unknown; valid are {', '.join(CHECKPOINTS)}")
    path = Path(run) / PREDICTIONS
    try:
        records = read_jsonl(path)
        kept = {record["checkpoint"] for record in records}
        name = checkpoint if checkpoint in kept else "last"
        answers = [
            (str(record["id"]), bool(record["correct"]))
            for record in records
            if record["split"] == split and record["checkpoint"] == name
        ]
    except FileNotFoundError:
        raise AnalysisError(f"{path.parent.name} has no {PREDICTIONS}; train the run again") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise AnalysisError(
            f"{path.parent.name}: {PREDICTIONS} is damaged ({reason}); train the run again"
        ) from None
    if not answers:
        splits = ", ".join(sorted({record["split"] for record in records})) or "nothing"
        raise AnalysisError(f"{path.parent.name} has no predictions on {split!r}; it has {splits}")
    return Predictions(tuple(id_ for id_, _ in answers), np.array([right for _, right in answers]))
