"""Studies of planted answers, dev scores and forgetting, for the claims made since the paper; no tensors."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.claims import catalogue
from analysis.reading.study import Study
from analysis.selection import Selection
from tests.analysis.tables.test_accuracy import Planted

TEXT = {"text": "embedded:0", "tokens": 1000, "before": 1.0}
NOISE = ((0.70, 0.64), (0.64, 0.70), (0.67, 0.65), (0.66, 0.69), (0.69, 0.68))
"""By seed, two cells that differ as chance has it."""


class Later(Planted):
    """Runs by their settings, as a study has them."""

    def add(self, targets="qv", rank=8, seed=0, forgotten=None, parameters=None, **more):
        letters = targets.split("-") if "-" in targets else [*targets]
        more = {"scaling": "alpha/r", **more}
        self.run(targets=targets, rank=rank, seed=seed, ranks=dict.fromkeys(letters, rank), **more)
        record = self.runs[-1].record
        record["model"] |= {"revision": None, "sha256": "0" * 64}
        if more.get("method") == "full":
            del record["config"]["rank"], record["config"]["scaling"], record["config"]["alpha"]
        if parameters is not None:
            record["parameters"]["adapter"] = parameters
        if forgotten is not None:
            told = TEXT["before"] + forgotten
            record["forgetting"] = TEXT | {"last": told, "best": told}

    def select(self, **options) -> Selection:
        study = Study("s", Path(self.folder), tuple(self.runs), ())
        return Selection.of(study, **options)

    def select_all(self, **options) -> Selection:
        """Of every task."""
        return Selection.of_tasks(self.select(task="sql").study, **options)


@pytest.fixture
def study(tmp_path, monkeypatch) -> Later:
    """An empty one. That the chosen layer is there is not looked at: no adapter is."""
    monkeypatch.setattr(catalogue, "_check", lambda selection: selection.frame)
    return Later(tmp_path)
