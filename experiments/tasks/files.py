"""Reading a release as it was downloaded: a folder, a tar archive or a zip archive."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from experiments.errors import UserError


def read_jsonl(root: Path, names: list[str], required: bool = True) -> dict[str, list[dict[str, Any]]]:
    """The records of each file called `names[i]` anywhere below `root` (folder, .tar.*, .tgz or .zip).

    Archives are read in one pass.  Raises UserError when `root` is absent or not of these kinds, when a name
    occurs twice, when a line is no JSON, and, if `required`, when a name is missing.
    """
    if not root.exists():
        raise UserError(f"task.path={root} does not exist; give the folder or archive that holds {names}")
    found: dict[str, list[dict[str, Any]]] = {}
    try:
        for name, content in _members(root, set(names)):
            if name in found:
                raise UserError(
                    f"task.path={root} holds more than one {name}; give the folder of one release"
                )
            found[name] = list(_records(content, f"{root}:{name}"))
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError) as error:
        raise UserError(
            f"task.path={root} cannot be read as a folder, tar or zip archive: {error}"
        ) from error
    missing = [name for name in names if name not in found]
    if required and missing:
        raise UserError(
            f"task.path={root} holds no {', '.join(missing)}; found {sorted(found) or 'none'} of {names}"
        )
    return found


def _members(root: Path, names: set[str]) -> Iterator[tuple[str, bytes]]:
    if root.is_dir():
        for path in sorted(root.rglob("*")):
            if path.name in names and path.is_file():
                yield path.name, path.read_bytes()
    elif zipfile.is_zipfile(root):
        with zipfile.ZipFile(root) as archive:
            for entry in archive.infolist():
                name = PurePosixPath(entry.filename).name
                if name in names and not entry.is_dir():
                    yield name, archive.read(entry)
    else:
        with tarfile.open(root) as archive:
            for member in archive:
                name = PurePosixPath(member.name).name
                if name in names and (file := archive.extractfile(member)):
                    yield name, file.read()


def _records(content: bytes, where: str) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(io.BytesIO(content), start=1):
        if line.strip():
            try:
                yield json.loads(line)
            except ValueError as error:
                raise UserError(f"{where}, line {number} is not JSON: {error}") from error
