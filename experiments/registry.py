"""Registries: each module of a package registers the class that it defines, by its name.

    TASKS: Registry[type[Task]] = Registry("task", "experiments.tasks")

    @TASKS.register
    class SQL(Task):
        name = "sql"

A contributor adds one file to the package; nothing else names it.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from typing import Any, Generic, TypeVar

from experiments.errors import UserError

Entry = TypeVar("Entry", bound=type[Any])


class Registry(Mapping[str, Entry], Generic[Entry]):
    """Classes by name, in the order of their names.  The package's modules are imported on first use.

    Args:
        noun: what a class of it is, for errors: "task".
        package: whose modules register them; none may import what is heavy (torch, datasets) at its top.
    """

    def __init__(self, noun: str, package: str) -> None:
        self._noun = noun
        self._package = package
        self._classes: dict[str, Entry] = {}
        self._complete = False

    def register(self, entry: Entry) -> Entry:
        """A decorator: the class is found by its `name` from here on.

        Raises:
            ValueError: another class has the name.
        """
        other = self._classes.setdefault(entry.name, entry)
        if (other.__module__, other.__qualname__) != (entry.__module__, entry.__qualname__):
            raise ValueError(
                f"{self._noun} {entry.name} is defined twice: in {other.__module__} and {entry.__module__}; "
                "give one of them another name"
            )
        return entry

    def find(self, name: str) -> Entry:
        """The class of this name.

        Raises:
            UserError: there is none; names those there are.
        """
        if name not in self:
            place = self._package.replace(".", "/")
            raise UserError(
                f"{self._noun}={name} is unknown; valid are {', '.join(self)}; each is a file of {place}/"
            )
        return self[name]

    def __getitem__(self, name: str) -> Entry:
        return self._all()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._all()))

    def __len__(self) -> int:
        return len(self._all())

    def _all(self) -> dict[str, Entry]:
        if not self._complete:
            package = importlib.import_module(self._package)
            for module in pkgutil.iter_modules(package.__path__):
                importlib.import_module(f"{self._package}.{module.name}")
            self._complete = True
        return self._classes
