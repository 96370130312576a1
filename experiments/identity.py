"""What a file is, wherever it lies: hashes of contents."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@functools.cache
def content_identity(path: Path) -> str:
    """A hash of a file, or of a folder's files with their relative names; the same wherever it lies.

    Hidden files and texts for people (.md) are left out.
    """
    files = (
        [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file() and _counts(p, path))
    )
    total = hashlib.sha256()
    for file in files:
        name = "" if path.is_file() else file.relative_to(path).as_posix()
        total.update(f"{name}\0{file_sha256(file)}\n".encode())
    return total.hexdigest()[:16]


def _counts(file: Path, folder: Path) -> bool:
    hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
    return not hidden and file.suffix != ".md"
