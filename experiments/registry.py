"""Registries: each module of a package registers the class that it defines, by its name.

    TASKS: Registry[type[Task]] = Registry("task", "experiments.tasks")

    @TASKS.register
    class SQL(Task):
        name = "sql"

A contributor adds one file to the package; nothing else names it.  A class that lies elsewhere is named by
its import path: task=my_module:MyTask.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
from collections.abc import Iterator, Mapping
from typing import Any, Generic, TypeVar

from experiments.errors import UserError, nearest

Entry = TypeVar("Entry", bound=type[Any])


class Registry(Mapping[str, Entry], Generic[Entry]):
    """Classes by name, in the order of their names.  The package's modules are imported on first use.

    Args:
        noun: what a class of it is, for errors: "task".
        needs: the attributes without which a class is refused.
        package: whose modules register them; none may import what is heavy (torch, datasets) at its top.
    """

    def __init__(self, noun: str, package: str, needs: tuple[str, ...] = ("name",)) -> None:
        self._needs = needs
        self._noun = noun
        self._package = package
        self._classes: dict[str, Entry] = {}
        self._complete = False

    def register(self, entry: Entry) -> Entry:
        """A decorator: the class is found by its `name` from here on.

        Raises:
            UserError: it lacks what it needs, or another class has the name.
        """
        if lacking := [word for word in self._needs if not hasattr(entry, word)]:
            raise UserError(
                f"{entry.__module__}.{entry.__name__} lacks {', '.join(lacking)}; "
                f"a {self._noun} has {', '.join(self._needs)}"
            )
        other = self._classes.setdefault(entry.name, entry)
        if (other.__module__, other.__qualname__) != (entry.__module__, entry.__qualname__):
            raise UserError(
                f"{self._noun} {entry.name} is defined twice: in {other.__module__} and {entry.__module__}; "
                "give one of them another name"
            )
        return entry

    def find(self, name: str) -> Entry:
        """The class of this name, or that at this import path: "my_module:MyTask".

        Raises:
            UserError: there is none; names those there are.
        """
        if isinstance(name, str) and ":" in name:
            return self._imported(name)
        if not isinstance(name, str) or name not in self:
            raise UserError(f"{self._noun}={name} is unknown; {self._valid}{nearest(name, self)}")
        return self[name]

    @property
    def _valid(self) -> str:
        return f"valid are {', '.join(self)}, or an import path such as my_module:My{self._noun.title()}"

    def _imported(self, path: str) -> Entry:
        module, _, name = path.partition(":")
        if os.getcwd() not in sys.path:
            sys.path.append(os.getcwd())
        try:
            entry: Entry = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError, ValueError) as error:
            raise UserError(
                f"{self._noun}={path} cannot be imported ({error}); {self._valid}, "
                "of a module in this folder or on PYTHONPATH"
            ) from error
        if entry not in self._classes.values():
            raise UserError(f"{self._noun}={path} is registered by nothing; put @register before the class")
        return entry

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
