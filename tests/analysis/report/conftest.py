"""A study of two tasks, one of which lacks runs, and its page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from analysis.reading.study import Study
from analysis.registry import Made
from analysis.report import make
from analysis.result import Result
from analysis.selection import Selection
from tests.analysis.claims.builder import FALSE, STUDY, TRUE, write_base, write_study
from tests.analysis.report.builder import complete
from tests.analysis.report.reading import Page

SEEDS = (0, 1)


@dataclass(frozen=True)
class Reported:
    """The study, its page, and the results that the page is made of."""

    root: Path
    base: Path
    selection: Selection
    made: Made
    result: Result

    @property
    def page(self) -> Page:
        return Page.read(self.result.texts[".html"])


@pytest.fixture(scope="session")
def reported(tmp_path_factory) -> Reported:
    folder = tmp_path_factory.mktemp("report")
    base, root = write_base(folder / "base"), folder / "outputs"
    write_study(root, base, TRUE, cells={"q": (8,), "qv": (4, 8, 64)}, seeds=SEEDS)
    write_study(root, base, FALSE, cells={"qv": (8, 64)}, seeds=SEEDS, task="nli")
    complete(root, STUDY)
    (root / STUDY / "half-written").mkdir()
    made: Made = {}
    selection = Selection.of_tasks(Study.open(STUDY, root))
    return Reported(root, base, selection, made, make(selection, made=made))
