"""What is made once and can be made again: examples and their token ids, on disk, for every process.

    $LORA_SECTION7_CACHE, else $XDG_CACHE_HOME/lora-section7, else ~/.cache/lora-section7

An entry is a folder there, named by a hash of all that it was made from.  It is written whole or not at all,
by one process while the others wait, and before it is used its files are compared with their hashes: what is
cut, damaged or another's is made anew.  Nothing is lost where the folder is deleted, and where it cannot be
written each process makes its own.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from experiments.identity import file_sha256

VARIABLE = "LORA_SECTION7_CACHE"
ENTRY = "entry.json"
"""Of each entry: what it was made from, what its maker says of it, and the sha256 of its files."""
WORTHWHILE = 1_000
"""Examples of a split from which on it is kept: fewer are made faster than one notices."""
Made = TypeVar("Made")


def cache_folder() -> Path:
    """Where entries lie."""
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named).expanduser()
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path("~/.cache").expanduser()) / "lora-section7"


def once(
    kind: str,
    key: Mapping[str, Any],
    make: Callable[[], Made],
    write: Callable[[Made, Path], Mapping[str, Any] | None],
    read: Callable[[Path, dict[str, Any]], Made],
) -> Made:
    """What `make` makes, from the cache where it is there.

    Args:
        kind: the first word of the entry's name.
        key: all that it is made from, as JSON.
        make: called by one process, while others of the same key wait.
        write: puts it into an empty folder; returns what else is to be known of it, as JSON, or None where it
            is not to be kept.
        read: opens the folder, with what `write` returned.
    """
    plain = json.loads(json.dumps(key))
    name = hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:32]
    path = cache_folder() / f"{kind}-{name}"
    with contextlib.suppress(*_UNUSABLE):
        return _opened(path, plain, read)
    with _alone(path):
        with contextlib.suppress(*_UNUSABLE):
            return _opened(path, plain, read)
        made = make()
        try:
            if not _keep(path, plain, made, write):
                return made
        except OSError as error:
            _warn(f"{path.parent} cannot be written ({error.strerror or error}); {VARIABLE} names another")
            return made
    with contextlib.suppress(*_UNUSABLE):
        return _opened(path, plain, read)
    return made


_UNUSABLE = (OSError, ValueError, KeyError, TypeError, AttributeError)
"""What reading raises where an entry is not there, not whole, or not what it says."""


def _opened(path: Path, key: Mapping[str, Any], read: Callable[[Path, dict[str, Any]], Made]) -> Made:
    entry = json.loads((path / ENTRY).read_text(encoding="utf-8"))
    if entry["key"] != key or entry.pop("sha256") != _digest(entry):
        raise ValueError(f"{path} is of something else, or was changed")
    for name, expected in entry["files"].items():
        if file_sha256(path / name) != expected:
            raise ValueError(f"{path / name} is damaged")
    return read(path, entry["about"])


def _keep(
    path: Path,
    key: Mapping[str, Any],
    made: Made,
    write: Callable[[Made, Path], Mapping[str, Any] | None],
) -> bool:
    """Write the entry in the place of what may lie there; whether it is to be kept."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".making-") as temporary:
        folder = Path(temporary) / "new"
        folder.mkdir()
        about = write(made, folder)
        if about is None:
            return False
        files = {file.name: file_sha256(file) for file in sorted(folder.iterdir())}
        entry = {"key": key, "about": about, "files": files}
        (folder / ENTRY).write_text(json.dumps(entry | {"sha256": _digest(entry)}), encoding="utf-8")
        with contextlib.suppress(FileNotFoundError):
            path.rename(Path(temporary) / "old")  # what could not be used
        folder.rename(path)
    return True


def _digest(entry: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(entry, sort_keys=True).encode()).hexdigest()


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """While no other process makes the same; where nothing can be locked, whoever comes."""
    from filelock import FileLock

    lock = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path.with_name(f".{path.name}.lock"))
        lock.acquire()
    except (OSError, NotImplementedError):
        lock = None
    try:
        yield
    finally:
        if lock is not None:
            lock.release()


@functools.cache
def _warn(line: str) -> None:
    print(f"not kept for other processes: {line}", file=sys.stderr, flush=True)


@functools.cache
def code_identity(*files: Path) -> str:
    """A hash of source files, so that what other code made is not taken for what this makes."""
    return hashlib.sha256("".join(map(file_sha256, files)).encode()).hexdigest()[:16]


def progress(things: Iterable[Any], count: int, what: str) -> Iterator[Any]:
    """The same things with a bar on a terminal; elsewhere a line says that it has begun."""
    from tqdm import tqdm

    if not sys.stderr.isatty():
        print(f"    {what}: {count:,} examples", file=sys.stderr, flush=True)
    yield from tqdm(things, what, count, unit="example", leave=False, disable=None, dynamic_ncols=True)
