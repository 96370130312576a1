"""Where a base model's files are: a folder, the Hugging Face hub (its local cache first), or this repository.

Files are found one by one, so that only those that are read are ever downloaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from analysis.errors import AnalysisError
from analysis.reading.files import read_json
from experiments.errors import UserError
from experiments.identity import CONFIG, DEQUANTISED, checkpoint_folder

EMBEDDED = "embedded"


@dataclass(frozen=True)
class Checkpoint:
    """A base model's files.

    Attributes:
        source: a folder, a hub id or "embedded", as it was given.
        folder: where config.json lies.
        revision: the hub's commit, which all files are taken from; None for a folder.
    """

    source: str
    folder: Path
    revision: str | None

    @classmethod
    def find(cls, source: str | Path, revision: str | None = None) -> Checkpoint:
        """Find the checkpoint; from the hub, only config.json is read.

        Args:
            source: a folder, a hub id such as "gpt2-medium", or "embedded".
            revision: the hub's branch, tag or commit; None is main. A folder has none.

        Raises:
            AnalysisError: there is no such folder, it holds no config.json (or a PEFT adapter), the hub does
                not give it, or the embedded weights are damaged.
        """
        name = str(source)
        if name == EMBEDDED:
            return cls(name, _embedded(), None)
        try:
            folder = checkpoint_folder(name)
        except UserError as error:
            raise AnalysisError(str(error)) from None
        if folder is not None:
            return cls(name, folder, None)
        config = _from_hub(name, (CONFIG,), revision)
        if config is None:
            raise AnalysisError(f"{name}: the hub has no {CONFIG} there; give a model, not an adapter")
        return cls(name, config.parent, config.parent.name)  # .../snapshots/<commit>/config.json

    @classmethod
    def at_hand(cls, source: str, revision: str | None = None) -> Checkpoint | None:
        """As `find`, of what is on this machine alone: the hub is asked nothing; None if it is not there."""
        folder = Path(source).expanduser()
        if (folder / CONFIG).is_file() or source == EMBEDDED:
            return cls.find(source)
        if folder.is_absolute() or source.count("/") > 1:
            return None
        from huggingface_hub import try_to_load_from_cache
        from huggingface_hub.errors import HFValidationError

        try:
            cached = try_to_load_from_cache(source, CONFIG, revision=revision)
        except HFValidationError:
            return None
        found = Path(cached) if isinstance(cached, str) else None
        return None if found is None else cls(source, found.parent, found.parent.name)

    @classmethod
    def recorded(cls, model: Mapping[str, Any]) -> str:
        """Where a run's base model is now: the folder, hub id or "embedded" of the `model` in its run.json.

        A folder is looked for where it was, then under the name that it was given by, which may be relative.

        Raises:
            AnalysisError: it was a folder, and is gone.
        """
        name: str = model["name"]
        if name == EMBEDDED or model["sha256"] is None:
            return name
        places = [Path(place).expanduser() for place in (model.get("path"), name) if place]
        for place in places:
            if (place / CONFIG).is_file():
                return str(place)
        raise AnalysisError(
            f"{places[0]}: there is no such folder any more, and the run was trained from it; say where it "
            "is now (--base FOLDER, or base(FOLDER))"
        )

    def file(self, *names: str) -> Path | None:
        """The first of the files that the checkpoint has, or None; from the hub, downloaded if need be.

        Raises:
            AnalysisError: the hub does not answer.
        """
        if self.revision is not None:
            return _from_hub(self.source, names, self.revision)
        return next((self.folder / name for name in names if (self.folder / name).is_file()), None)

    @cached_property
    def config(self) -> SimpleNamespace:
        """config.json, as `lora.architectures` wants it.

        Raises:
            AnalysisError: it is damaged.
        """
        from lora.architectures import plain_config

        return plain_config(read_json(self.folder / CONFIG))

    @property
    def dequantised_from(self) -> str | None:
        """The format whose rounding the weights carry; None where they were not quantised."""
        form = getattr(self.config, DEQUANTISED, None)
        return None if form is None else str(form)


def _embedded() -> Path:
    from experiments.embedded.checkpoint import FOLDER, verify

    try:
        verify()
    except (OSError, ValueError) as error:
        raise AnalysisError(str(error)) from None
    return FOLDER


def _from_hub(repository: str, names: tuple[str, ...], revision: str | None) -> Path | None:
    """The first of the files that is cached, else the first that the hub has, else None."""
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import RemoteEntryNotFoundError  # a LocalEntryNotFoundError: no network

    unknown = []  # whether the hub has them; a file known to be absent is neither a path nor None
    try:
        for name in names:
            cached = try_to_load_from_cache(repository, name, revision=revision)
            if isinstance(cached, str):
                return Path(cached)
            if cached is None:
                unknown.append(name)
        for name in unknown:
            try:
                return Path(hf_hub_download(repository, name, revision=revision))
            except RemoteEntryNotFoundError:
                continue
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise AnalysisError(
            f"{repository}: {' or '.join(names)} is not in the local cache, and the hub did not give it; "
            f"where there is a network run `hf download {repository}` and give the folder ({reason})"
        ) from None
    return None
