"""Opening the two kinds of files that everything here is read from: JSON and tensors."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

from analysis.errors import AnalysisError


def unreadable(error: OSError) -> str:
    """Why a file or folder cannot be used, in the system's words: no permission, a name too long, ..."""
    return f"cannot be read: {error.strerror or error}"


def is_folder(path: Path) -> bool:
    """Whether a folder is there; unlike `Path.is_dir` it is a plain error where the system does not say.

    Raises:
        AnalysisError: it may be there, and cannot be looked at.
    """
    try:
        return path.is_dir()
    except OSError as error:
        raise AnalysisError(f"{path} {unreadable(error)}") from None


def is_file(path: Path) -> bool:
    """Whether a file is there; errors as of `is_folder`."""
    try:
        return path.is_file()
    except OSError as error:
        raise AnalysisError(f"{path} {unreadable(error)}") from None


def subfolders(folder: Path) -> tuple[list[Path], dict[str, str]]:
    """The folders in a folder, by name, and what may be one and cannot be used, each with the reason.

    Hidden ones and files do not count.

    Raises:
        AnalysisError: the folder itself cannot be read.
    """
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        raise AnalysisError(f"{folder} {unreadable(error)}") from None
    usable: list[Path] = []
    broken: dict[str, str] = {}
    for path in paths:
        name = os.fsencode(path.name).decode("utf-8", "backslashreplace")
        if name.startswith("."):
            continue
        try:
            if stat.S_ISDIR(path.stat().st_mode):
                if name.encode() == os.fsencode(path.name):
                    usable.append(path)
                else:
                    broken[name] = "its name is no UTF-8 text; rename the folder"
        except FileNotFoundError:
            if path.is_symlink():
                broken[name] = "a link to what is not there"
        except OSError as error:
            broken[name] = unreadable(error)
    return usable, broken


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        AnalysisError: the file cannot be read, or holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise AnalysisError(f"{path}: not a JSON file, or not a whole one ({error})") from None
    if not isinstance(content, dict):
        raise AnalysisError(f"{path}: holds a {type(content).__name__}; a JSON object is expected")
    return content


def open_tensors(path: Path, framework: str = "pt") -> Any:
    """As `lora.files.open_tensors`; errors as AnalysisError."""
    from lora import files

    is_file(path)  # a system that does not say is a plain error
    try:
        return files.open_tensors(path, framework)
    except ValueError as error:
        raise AnalysisError(str(error)) from None
