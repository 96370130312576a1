"""Registries: each module of a package registers what it defines, mostly a class, by its name.

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
from collections.abc import Callable, Iterator, Mapping
from operator import attrgetter
from typing import Any, Generic, TypeVar

from experiments.errors import UserError, nearest

Entry = TypeVar("Entry", bound=Any)


class Registry(Mapping[str, Entry], Generic[Entry]):
    """What is registered, by name.  The packages' modules are imported on first use.

    Args:
        noun: what an entry is, for errors: "task".
        packages: whose modules register them; none may import what is heavy (torch, datasets) at its top.
        needs: the attributes without which an entry is refused.
        order: of the entries; that of their names, unless said otherwise.
    """

    def __init__(
        self,
        noun: str,
        *packages: str,
        needs: tuple[str, ...] = ("name",),
        order: Callable[[Entry], Any] = attrgetter("name"),
    ) -> None:
        self._needs = needs
        self._noun = noun
        self._packages = packages
        self._order = order
        self._entries: dict[str, Entry] = {}
        self._homes: dict[str, tuple[str, str]] = {}
        self._complete = False

    def register(self, entry: Entry, definition: Any = None) -> Entry:
        """A decorator: the class is found by its `name` from here on.

        Args:
            definition: the class or function that it is made of, where it is neither itself.

        Raises:
            UserError: it lacks what it needs, or something else has the name.
        """
        source = entry if definition is None else definition
        home = (source.__module__, source.__qualname__)
        if lacking := [word for word in self._needs if not hasattr(entry, word)]:
            raise UserError(
                f"{'.'.join(home)} lacks {', '.join(lacking)}; a {self._noun} has {', '.join(self._needs)}"
            )
        other = self._homes.get(entry.name, home) if entry.name in self._entries else home
        if other != home:
            raise UserError(
                f"{self._noun} {entry.name} is defined twice: in {other[0]} and {home[0]}; "
                "give one of them another name"
            )
        self._homes[entry.name] = home
        self._entries.setdefault(entry.name, entry)
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
        if entry not in self._entries.values():
            raise UserError(f"{self._noun}={path} is registered by nothing; put @register before the class")
        return entry

    def __getitem__(self, name: str) -> Entry:
        return self._all()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._all(), key=lambda name: self._order(self._entries[name])))

    def __len__(self) -> int:
        return len(self._all())

    def _all(self) -> dict[str, Entry]:
        if not self._complete:
            for name in self._packages:
                for module in pkgutil.iter_modules(importlib.import_module(name).__path__):
                    importlib.import_module(f"{name}.{module.name}")
            self._complete = True
        return self._entries
