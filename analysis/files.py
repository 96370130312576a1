"""Opening the two kinds of files that everything here is read from: JSON and safetensors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from analysis.errors import AnalysisError


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


def open_safetensors(path: Path, framework: str = "pt") -> Any:
    """An open safetensors file, its header checked against its length; framework "np" imports no torch.

    Raises:
        AnalysisError: it is missing, truncated or of another kind.
    """
    import safetensors

    if not path.is_file():
        raise AnalysisError(f"{path}: no such file")
    try:
        return safetensors.safe_open(path, framework=framework)
    except (safetensors.SafetensorError, OSError) as error:
        raise AnalysisError(f"{path}: not a safetensors file, or not a whole one ({error})") from None
