"""Reading an archive, which analysis/reading/archive.py makes: its manifest, and what is left of adapters.

    archive.json    {"format": 1, "runs": {RUN: {FILE: SHA256}}, "left_out": {RUN: REASON}, ...}
    run.json        "archive": {"left_out": [FILE, ...], "rounded": [FILE, ...], "outline": {"architecture",
                    "layers", "shapes"}}, the last two where there is such a file

Damage is named, run by run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from analysis.errors import AnalysisError
from analysis.reading.adapters import AdapterFactors
from analysis.reading.files import is_file, read_json, subfolders, unreadable
from lora.files import safetensors_bytes

MANIFEST = "archive.json"
FORMAT_VERSION = 1
ARCHIVE = "archive"
OUTLINE = "outline"
ROUNDING = 1e-3
"""Largest relative error of a rounded factor; that of float16 is 2e-4 where its entries are in range."""
FOREIGN = f"not of this archive: {MANIFEST} does not name it"


def is_archive(folder: Path) -> bool:
    """Whether the study's folder is an archive."""
    return is_file(folder / MANIFEST)


def not_counting(folder: Path) -> dict[str, str]:
    """The runs of an archive that do not count, each with the reason; none of another study.

    Those that the study had left out when it was archived, and those that are not as they were made.

    Raises:
        AnalysisError: the manifest itself is damaged, or of another version of this code.
    """
    if not is_archive(folder):
        return {}
    path = folder / MANIFEST
    manifest = read_json(path)
    if manifest.get("format") != FORMAT_VERSION:
        raise AnalysisError(
            f"{path} is of format {manifest.get('format')}; this code reads format {FORMAT_VERSION}"
        )
    try:
        runs = {run: dict(files) for run, files in manifest["runs"].items()}
        before = dict(manifest["left_out"])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise AnalysisError(f"{path} is damaged: {type(error).__name__} {error}") from None
    found = {run: reason for run, files in runs.items() if (reason := _damage(folder / run, files))}
    there = [path.name for path in subfolders(folder)[0]]
    return before | found | {run: FOREIGN for run in there if run not in runs}


def _damage(folder: Path, files: dict[str, Any]) -> str:
    """The first file that is not as it was, or nothing."""
    for name, expected in files.items():
        try:
            content = (folder / name).read_bytes()
        except FileNotFoundError:
            return f"the archive is damaged: {name} is missing"
        except OSError as error:
            return f"the archive is damaged: {name} {unreadable(error)}"
        if sha256(content) != expected:
            return f"the archive is damaged: {name} has another sha256 than in {MANIFEST}"
    return ""


def outline(adapter: AdapterFactors) -> dict[str, Any]:
    """What an archive keeps of an adapter that it leaves out; {} where layers differ in their shapes."""
    shapes = {letter: adapter.shape(adapter.layers[0], letter) for letter in adapter.letters}
    if any(adapter.shape(*key) != shapes[key[1]] for key in adapter):
        return {}
    if len(adapter) != len(adapter.layers) * len(shapes):
        return {}
    told = {letter: list(shape) for letter, shape in shapes.items()}
    return {"architecture": adapter.architecture, "layers": list(adapter.layers), "shapes": told}


def outlined(
    kept: Mapping[str, Any], ranks: Mapping[str, int], absent: Callable[[], NoReturn]
) -> AdapterFactors:
    """An adapter of which there is no more than its outline; reading a projection calls `absent`."""
    shapes = {
        (layer, letter): tuple(shape) for layer in kept["layers"] for letter, shape in kept["shapes"].items()
    }
    by_key = {key: ranks[key[1]] for key in shapes}
    return AdapterFactors("an archive", shapes, by_key, lambda key: absent(), kept["architecture"])


def half_precision(data: bytes, run: str) -> bytes:
    """An adapter's file with its factors in float16, its other tensors (a task head) left out.

    float16 has 11 bits, which move phi and Table 7's numbers in the fourth digit.

    Args:
        data: a file of `lora.save`.
        run: for the error.

    Raises:
        AnalysisError: a factor does not keep 3 digits, since its entries are too large or too small.
    """
    from safetensors.torch import load

    factors = {name: values for name, values in sorted(load(data).items()) if name.startswith("layers.")}
    rounded = {name: values.half() for name, values in factors.items()}
    for name, values in factors.items():
        exact = values.double()
        if not (rounded[name] - exact).norm() <= ROUNDING * exact.norm():
            raise AnalysisError(
                f"{run}: {name} does not fit float16; archive it as it is (--adapters), or leave the rounded "
                "adapters out (--rounded none)"
            )
    return safetensors_bytes(rounded, metadata(data))


def metadata(data: bytes) -> dict[str, str]:
    """What a safetensors file says of itself: 8 bytes of a length, and JSON of so many."""
    length = int.from_bytes(data[:8], "little")
    return dict(json.loads(data[8 : 8 + length]).get("__metadata__", {}))


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
