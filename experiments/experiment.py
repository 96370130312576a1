"""A file of conf/experiment: a sweep with a name, as `python run.py -m +experiment=table5` runs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GROUP = "experiment"


@dataclass(frozen=True)
class Experiment:
    """What the file says, in Hydra's words.

    Attributes:
        name: of the file.
        fixed: the keys that it sets for every run.
        swept: the keys that it sweeps, each with its values as on the command line.
    """

    name: str
    fixed: Mapping[str, Any]
    swept: Mapping[str, str]


def read_experiment(name: str, conf: Path) -> Experiment:
    """The experiment of a file in `conf`, with what it takes over from the experiments in its defaults."""
    import yaml

    tree = yaml.safe_load((conf / GROUP / f"{name}.yaml").read_text(encoding="utf-8")) or {}
    fixed: dict[str, Any] = {}
    swept: dict[str, str] = {}
    for other in tree.pop("defaults", []):
        if isinstance(other, str) and (conf / GROUP / f"{other}.yaml").is_file():
            taken = read_experiment(other, conf)
            fixed |= taken.fixed
            swept |= taken.swept
    params = tree.pop("hydra", {}).get("sweeper", {}).get("params", {})
    return Experiment(name, fixed | tree, swept | {key: str(values) for key, values in params.items()})
