"""The paper's own numbers, from `paper_values.yaml`: what every comparison in this project compares with.

    accuracy("table6", task="wikisql", targets="qv", rank=8).value         # 73.8, in per cent
    accuracy("table5", task="sql", targets="k", rank=8).noise              # 0.5, as the paper states it
    value("table7", "projected_norm_random", rank=4).value                 # 0.02
    value("table4", "rouge1", method="lora", parameters=4.7).first_version # 52.1

Table 5 is "table5" and so on, what the text says of Figure 3 "figure3", of costs "section4_2"; what the
paper's numbers imply, without being printed there, is in the tables "derived_...".  A value carries the notes
on where the paper contradicts itself.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.errors import AnalysisError
from lora.targets import parse_targets

FILE = Path(__file__).with_suffix(".yaml")
TASKS = {
    "sql": "wikisql",
    "wikisql": "wikisql",
    "nli": "multinli",
    "mnli": "multinli",
    "multinli": "multinli",
}
"""The project's tasks -> the paper's column: generated tasks stand for the ones they are modelled on."""


def task_order(task: str) -> tuple[int, str]:
    """To sort tasks by, wherever they stand: the paper's in its order, then the others by name."""
    names = [*TASKS]
    return names.index(task) if task in names else len(names), task


@dataclass(frozen=True)
class PaperValue:
    """One cell.

    Attributes:
        value: as printed, in `unit`.
        noise: the +- that the paper states for it, None where it states none.
        unit: such as "%".
        table: such as "Table 6".
        first_version: its value in the paper's first version where that differs, else None.
        notes: where the paper contradicts this cell.
    """

    value: float
    noise: float | None
    unit: str
    table: str
    first_version: float | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class PaperTable:
    """One table: `keys` name a row, `quantities` are its columns, `rows` its cells as plain values."""

    name: str
    title: str
    section: str
    model: str
    keys: tuple[str, ...]
    quantities: Mapping[str, Mapping[str, Any]]
    rows: tuple[Mapping[str, Any], ...]
    notes: tuple[Mapping[str, Any], ...]

    @property
    def label(self) -> str:
        """ "Table 6", "Figure 3", "Section 4.2", or "derived from Table 7"."""
        kind, _, of = self.name.partition("_")
        if kind == "derived":
            return f"derived from Table {of[5:]}" if of.startswith("table") else "derived"
        if kind.startswith("figure"):
            return f"Figure {kind.removeprefix('figure')}"
        if kind.startswith("section"):
            return f"Section {self.name.removeprefix('section').replace('_', '.')}"
        return f"Table {kind.removeprefix('table')}"

    def row(self, **keys: Any) -> Mapping[str, Any]:
        """The one row with these keys, all of them.

        Raises:
            AnalysisError: a key is missing or is none of the table's, or no row has these values.
        """
        if set(keys) != set(self.keys):
            raise AnalysisError(f"{self.label} has the keys {_list(self.keys)}, given were {_list(keys)}")
        for row in self.rows:
            if all(row[key] == value for key, value in keys.items()):
                return row
        given = ", ".join(f"{key}={value}" for key, value in keys.items())
        raise AnalysisError(f"{self.label} has no {given}; {self._nearest(keys)}")

    def value(self, quantity: str, **keys: Any) -> PaperValue:
        """One cell.

        Raises:
            AnalysisError: the table has no such quantity, or no such row, or leaves the cell empty.
        """
        if quantity not in self.quantities:
            raise AnalysisError(
                f"{self.label} has no {quantity!r}{_close(quantity, self.quantities)}; "
                f"it has {_list(self.quantities)}"
            )
        row = self.row(**keys)
        if quantity not in row:
            given = ", ".join(f"{key}={value}" for key, value in keys.items())
            raise AnalysisError(f"{self.label} has no {quantity} for {given}: the paper leaves it out")
        cell = row[quantity] if isinstance(row[quantity], Mapping) else {"value": row[quantity]}
        described = self.quantities[quantity]
        return PaperValue(
            value=cell["value"],
            noise=cell.get("noise", described.get("noise")),
            unit=described["unit"],
            table=self.label,
            first_version=cell.get("v1"),
            notes=tuple(note["note"] for note in self.notes if _concerns(note["where"], row, quantity)),
        )

    def _nearest(self, keys: Mapping[str, Any]) -> str:
        """What the table has for the first key whose value it lacks, given the keys before."""
        matching, described = self.rows, ""
        for key, value in keys.items():
            rest = [row for row in matching if row[key] == value]
            if not rest:
                return f"{described}{key} is one of {_list(dict.fromkeys(row[key] for row in matching))}"
            matching, described = tuple(rest), f"{described}at {key}={value}, "
        raise AssertionError("a row matches")


@functools.cache
def tables() -> Mapping[str, PaperTable]:
    """Every table of the file, by name."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the one in C is faster
    content = yaml.load(FILE.read_text(encoding="utf-8"), loader)
    return {
        name: PaperTable(
            name=name,
            title=entry["title"],
            section=entry["section"],
            model=entry["model"],
            keys=tuple(entry["keys"]),
            quantities=entry["quantities"],
            rows=tuple(entry["rows"]),
            notes=tuple(entry.get("notes", ())),
        )
        for name, entry in content.items()
    }


def table(name: str) -> PaperTable:
    """One table.

    Raises:
        AnalysisError: the file has no such table.
    """
    if name not in tables():
        raise AnalysisError(f"no table {name!r}{_close(name, tables())}; there are {_list(tables())}")
    return tables()[name]


def value(name: str, quantity: str, **keys: Any) -> PaperValue:
    """One cell of table `name`, as `PaperTable.value`."""
    return table(name).value(quantity, **keys)


def accuracy(name: str, *, task: str, **keys: Any) -> PaperValue:
    """A score on WikiSQL or MultiNLI, in per cent; `task` by the paper's name or this project's (`TASKS`).

    `targets` may be in any form that a run takes ("qv", "q,v", "vq").

    Raises:
        AnalysisError: unknown task, or no such cell.
    """
    if task not in TASKS:
        raise AnalysisError(f"task {task!r} is not one of the paper's; valid are {_list(TASKS)}")
    if "targets" in keys:
        keys["targets"] = _written(keys["targets"])
    return value(name, TASKS[task], **keys)


def at_place(names: Iterable[str], task: str, place: tuple[str, int]) -> PaperValue | None:
    """The score at these targets and rank in the first of the tables that has them; None where none has."""
    for name in names if task in TASKS else ():
        if place in [(row["targets"], row["rank"]) for row in table(name).rows]:
            return accuracy(name, task=task, targets=place[0], rank=place[1])
    return None


def of_method(task: str, method: str) -> PaperValue | None:
    """The score of full fine-tuning or of biases alone (Table 4), which have one size; None of others."""
    key = {"full": ("full", 175255.8), "bias": ("bitfit", 14.2)}.get(method)
    if key is None or task not in TASKS:
        return None
    return accuracy("table4", task=task, method=key[0], parameters=key[1])


def _written(targets: Any) -> Any:
    """Letters as the file writes them; anything else as it is, for the table's own error."""
    try:
        return "".join(parse_targets(targets))
    except ValueError:
        return targets


def _concerns(where: Mapping[str, Any], row: Mapping[str, Any], quantity: str) -> bool:
    found = {**row, "quantity": quantity}
    return all(found.get(key) == wanted for key, wanted in where.items())


def _list(words: Iterable[Any]) -> str:
    return ", ".join(map(str, words))


def _close(word: str, choices: Iterable[str]) -> str:
    near = difflib.get_close_matches(str(word), list(choices), n=1)
    return f" (did you mean {near[0]}?)" if near else ""
