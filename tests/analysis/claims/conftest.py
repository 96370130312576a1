"""Studies in which every claim is true, false, or open."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from analysis.reading.study import Study
from analysis.selection import Selection
from tests.analysis.claims.builder import FALSE, OTHERS, SEEDS, SOME, STUDY, TRUE, write_base, write_study

STUDIES = {
    "true": [(TRUE, SEEDS)],
    "false": [(FALSE, SEEDS)],
    "open": [(SOME, SEEDS[:3]), (OTHERS, SEEDS[3:])],
}


@dataclass(frozen=True)
class Planted:
    """Run stores by name, and the base model."""

    folder: Path
    base: Path

    def select(self, name, **options):
        return Selection.of_tasks(Study.open(STUDY, self.folder / name), **options)


@pytest.fixture(scope="session")
def claims(tmp_path_factory) -> Planted:
    folder = tmp_path_factory.mktemp("claims")
    base = write_base(folder / "base")
    for name, parts in STUDIES.items():
        for truth, seeds in parts:
            write_study(folder / name, base, truth, seeds)
    return Planted(folder, base)
