"""What a file is, wherever it lies: hashes of contents; and where a model's files are."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from experiments.errors import UserError

SAFETENSORS, PICKLED = "model.safetensors", "pytorch_model.bin"
INDEX_SUFFIX = ".index.json"
CONFIG, ADAPTER_CONFIG = "config.json", "adapter_config.json"
"""Of a model, and of a PEFT adapter."""
DEQUANTISED = "dequantised_from"
"""The key of a config.json that names the format from which the weights were dequantised."""

# Files beside the weights that neither model nor tokenizer is made from.  Decoding is this suite's own.
_WITHOUT_EFFECT = (
    "generation_config.json",
    "trainer_state.json",
    "all_results.json",
    "train_results.json",
    "eval_results.json",
    "predict_results.json",
)


def checkpoint_folder(name: str) -> Path | None:
    """The folder that a model's name is, or None for a hub id.

    Raises:
        UserError: it is written as a folder is, and there is none; or the folder holds no model.
    """
    folder = Path(name).expanduser()
    if (folder / CONFIG).is_file():
        return folder
    if (folder / ADAPTER_CONFIG).is_file():
        base = None
        with contextlib.suppress(OSError, ValueError, AttributeError):
            settings = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))
            base = settings.get("base_model_name_or_path")
        raise UserError(
            f"{name}: a PEFT adapter, which has no W0; give its base model ({base or 'not named there'})"
        )
    if folder.is_dir():
        raise UserError(f"{name}: a folder without a {CONFIG}; give the folder of a Hugging Face checkpoint")
    if folder.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        raise UserError(
            f"{name}: there is no such folder; give the folder of a Hugging Face checkpoint, a hub id such "
            'as gpt2-medium, or "embedded"'
        )
    return None


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_identity(path: Path) -> str:
    """A hash of a file's content, read once for the same content."""
    stat = path.stat()
    return _sha256_of(path, stat.st_mtime_ns, stat.st_size)[:16]


@functools.cache
def content_identity(path: Path) -> str:
    """A hash of a file, or of a folder's files with their relative names; the same wherever it lies.

    Hidden files and texts for people (.md) are left out.
    """
    if path.is_file():
        return _digest([path], None)
    return _digest(sorted(p for p in path.rglob("*") if p.is_file() and _counts(p, path)), path)


@functools.cache
def checkpoint_identity(folder: Path) -> str:
    """A hash of what a checkpoint's model and tokenizer are made from; the same wherever the folder lies.

    That is, of the folder itself and not of those in it: the weights that are loaded (`weight_files`), and
    every .json, .txt and .model file (configuration and tokenizer) but for those known to have no effect.
    Texts for people, states of an optimizer, logs, and the same weights in a second format are left out.
    """
    weights = weight_files(folder)
    texts = (path for path in folder.iterdir() if path.is_file() and _describes(path))
    return _digest(sorted({*weights, *texts}), folder)


def weight_files(folder: Path) -> list[Path]:
    """The files that a checkpoint's weights are loaded from: safetensors before pickles, one before shards.

    Shards that are missing are left out, and so is the index itself; there may be none at all.
    """
    for name in (SAFETENSORS, PICKLED):
        if (folder / name).is_file():
            return [folder / name]
        try:
            shards = json.loads((folder / f"{name}{INDEX_SUFFIX}").read_text(encoding="utf-8"))["weight_map"]
            return sorted(path for path in (folder / shard for shard in {*shards.values()}) if path.is_file())
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
    return []


def weights_sha256(folder: Path) -> str:
    """What a run's record calls a checkpoint's weights: the file's sha256, or one over those of shards."""
    files = weight_files(folder)
    if len(files) == 1:
        stat = files[0].stat()
        return _sha256_of(files[0], stat.st_mtime_ns, stat.st_size)
    return hashlib.sha256(_lines(files, folder).encode()).hexdigest()


@functools.lru_cache
def _sha256_of(path: Path, modified: int, size: int) -> str:
    """Once for the same content: figures ask for one base many times."""
    return file_sha256(path)


def _digest(files: Iterable[Path], folder: Path | None) -> str:
    return hashlib.sha256(_lines(files, folder).encode()).hexdigest()[:16]


def _lines(files: Iterable[Path], folder: Path | None) -> str:
    """A line for each file: its name relative to the folder (none without one) and its sha256."""
    names = ((file.relative_to(folder).as_posix() if folder else "", file) for file in files)
    return "".join(f"{name}\0{file_sha256(file)}\n" for name, file in names)


def _counts(file: Path, folder: Path) -> bool:
    hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
    return not hidden and file.suffix != ".md"


def _describes(file: Path) -> bool:
    """Whether a file may describe a checkpoint's model or tokenizer."""
    name = file.name
    if name.startswith((".", "LICENSE", "requirements")) or name in _WITHOUT_EFFECT:
        return False
    return file.suffix in (".json", ".txt", ".model") and not name.endswith(INDEX_SUFFIX)
