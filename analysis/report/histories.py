"""What runs logged while they trained, from their history.jsonl."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from analysis.run import Run
from experiments.store import HISTORY, read_jsonl

if TYPE_CHECKING:
    import pandas as pd

CHOSEN_ON = "dev"
COLUMNS = ("run", "step", "loss", CHOSEN_ON)


def histories(runs: Sequence[Run]) -> tuple[pd.DataFrame, dict[str, str]]:
    """One row a step of a run at which something was logged, and the runs that have nothing, with the reason.

    Columns: run, step; loss, the mean since the step logged before; dev, the task's main metric there. What
    was not logged at a step is missing.
    """
    import pandas as pd

    rows: list[dict[str, object]] = []
    without: dict[str, str] = {}
    for run in runs:
        try:
            found = _history(run)
        except FileNotFoundError:
            without[run.id] = f"no {HISTORY}"
        except (OSError, ValueError, KeyError, TypeError) as error:
            without[run.id] = f"{HISTORY} is damaged ({type(error).__name__}: {error})"
        else:
            rows += [{"run": run.id, "step": step, **values} for step, values in sorted(found.items())]
            if not found:
                without[run.id] = f"nothing in {HISTORY}"
    return pd.DataFrame(rows, columns=list(COLUMNS)), without


def _history(run: Run) -> dict[int, dict[str, float]]:
    """By step; of several evaluations at one step the first, which is that of the model in training."""
    names = {"loss": "loss", f"{CHOSEN_ON}/{run.record['metric']}": CHOSEN_ON}
    found: dict[int, dict[str, float]] = {}
    for record in read_jsonl(run.path / HISTORY):
        for key, name in names.items():
            if key in record and math.isfinite(record[key]):
                found.setdefault(int(record["step"]), {}).setdefault(name, float(record[key]))
    return found
