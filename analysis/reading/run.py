"""A finished run: its record, its settings in one flat table, and its files."""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from analysis.defaults import CHECKPOINTS
from analysis.errors import AnalysisError
from analysis.reading.adapters import AdapterFactors, read_adapter, read_deltas
from analysis.reading.base_weights import BaseWeights
from analysis.reading.checkpoint import Checkpoint
from analysis.reading.files import read_header, unreadable
from analysis.reading.manifest import ARCHIVE, OUTLINE, outlined
from analysis.reading.needs import targets_name
from analysis.reading.projections import Projections
from experiments.store import (
    ADAPTER,
    ADAPTER_BEST,
    ADAPTER_INIT,
    DELTA,
    DELTA_BEST,
    FAILURE,
    FORMAT_VERSION,
    RUN,
    RunFolder,
)

if TYPE_CHECKING:
    from torch import Tensor

_ADAPTERS = dict(zip(CHECKPOINTS, (ADAPTER, ADAPTER_BEST), strict=True))
LATER: Mapping[str, Any] = {
    "dora": False,
    "lr_ratio": 1.0,
    "train": "both",
    "task.num_beams": 1,
    "task.length_penalty": 1.0,
    "task.no_repeat_ngram_size": 0,
}
"""Settings that are in no record at these values: the runs of before had none."""
_DELTAS = dict(zip(CHECKPOINTS, (DELTA, DELTA_BEST), strict=True))


@dataclass(frozen=True, eq=False)
class Run:
    """A finished run.

    Attributes:
        path: its folder.
        record: the content of run.json.
    """

    path: Path
    record: dict[str, Any]

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def overrides(self) -> tuple[str, ...]:
        """What was written after run.py to make it; nothing where no record says so."""
        return tuple(self.record.get("overrides") or ())

    @cached_property
    def settings(self) -> dict[str, Any]:
        """What `Study.run` chooses by; see `settings`."""
        return settings(self.record)

    def setting(self, name: str) -> Any:
        """Of `settings`, or what it is where a record does not tell it; None where the run has none."""
        return self.settings.get(name, LATER.get(name))

    @property
    def left_out(self) -> tuple[str, ...]:
        """The files that the run had and an archive of its study leaves out; none outside an archive."""
        return tuple(self.record.get(ARCHIVE, {}).get("left_out", ()))

    def adapter(self, checkpoint: str = "last") -> AdapterFactors:
        """The factors at the last step, or at the best evaluation on dev ("best"), read one by one.

        Of an archive without them: their shapes alone; a projection that is asked for is an error.

        Raises:
            AnalysisError: the run has none (another method than lora), or there is no such checkpoint.
        """
        path = self._file(_ADAPTERS, checkpoint, "lora")
        if path.name in self.left_out and OUTLINE in self.record[ARCHIVE]:
            ranks = self.record["config"]["rank"]
            return outlined(self.record[ARCHIVE][OUTLINE], ranks, lambda: self._absent(path.name))
        return read_adapter(self._present(path))

    def initial(self) -> AdapterFactors:
        """The factors at step 0: A0, and B = 0.

        Raises:
            AnalysisError: the run has none (another method than lora).
        """
        return read_adapter(self._present(self._file({"initial": ADAPTER_INIT}, "initial", "lora")))

    def deltas(self, checkpoint: str = "last") -> Projections[Tensor]:
        """dW of each target of full fine-tuning or DoRA, (d_out, d_in), read one by one.

        Raises:
            AnalysisError: the run has none (another method), or there is no such checkpoint.
        """
        method = "lora" if self.settings.get("dora") else "full"
        return read_deltas(self._present(self._file(_DELTAS, checkpoint, method)))

    def base(self, source: str | Path | None = None) -> BaseWeights:
        """W0 of the model that the run was trained from.

        Args:
            source: where it is now; if not given, where it was: the folder or hub id (at its commit) of
                run.json.

        Raises:
            AnalysisError: it cannot be found, or its weights are not those that run.json has the sha256 of.
        """
        told = self.record["model"]
        revision = told["revision"] if source is None else None
        base = BaseWeights.open(Checkpoint.recorded(told) if source is None else source, revision)
        found, expected = base.sha256(), told["sha256"]
        if expected is not None and not base.has_sha256(expected):
            raise AnalysisError(
                f"{base.checkpoint.source}: its weights have sha256 {_short(found)}, but {self.id} was "
                f"trained on {_short(expected)}, so its W is not the run's W0; give the folder of those "
                "weights to base()"
            )
        return base

    def verifies(self, source: str | Path | None = None) -> bool:
        """Whether what `base(source)` opens is known to be what the run was trained from.

        It is by its sha256, or, of a model from the hub, by its commit; a folder that is given in such a
        model's place can only be believed.
        """
        told = self.record["model"]
        if told["sha256"] is not None:
            return True
        return source is None and bool(re.fullmatch(r"[0-9a-f]{40}", told["revision"] or ""))

    def _file(self, files: Mapping[str, str], checkpoint: str, method: str) -> Path:
        if self.settings["method"] != method:
            raise AnalysisError(
                f"{self.id}: a run with method={self.settings['method']}; only method={method} leaves "
                f"{next(iter(files.values()))}"
            )
        if checkpoint not in files:
            raise AnalysisError(f"checkpoint {checkpoint!r} is unknown; valid are {', '.join(files)}")
        return self.path / files[checkpoint]

    def _present(self, path: Path) -> Path:
        return self._absent(path.name) if path.name in self.left_out else path

    def _absent(self, name: str) -> NoReturn:
        raise AnalysisError(
            f"{self.id}: an archive without {name}; read the study that it was made from, or archive that "
            "with --adapters and the name of this figure or table"
        )


def settings(record: Mapping[str, Any]) -> dict[str, Any]:
    """The scientific configuration in a record, flat, under the names that run.py gives the keys.

    task and model are names, and what belongs to them is task.train, model.max_length, ...; targets is "qv",
    or "q-up"; rank is one number, or "q4-v8" where letters differ.
    """
    flat: dict[str, Any] = {}
    for key, value in record["config"].items():
        if key == "model":
            flat |= {"model": record["model"]["name"]}
            flat |= {f"model.{name}": below for name, below in value.items()}
        elif key == "task":
            flat |= {"task": value["name"]}
            flat |= {f"task.{name}": below for name, below in value.items() if name != "name"}
        else:
            flat[key] = rank_name(value) if key == "rank" else value
    return flat


def rank_name(ranks: Mapping[str, int]) -> int | str:
    """Ranks by letter as `settings` has them: 8, or "q4-v8" where they differ."""
    values = set(ranks.values())
    return values.pop() if len(values) == 1 else "-".join(f"{letter}{rank}" for letter, rank in ranks.items())


def row(run: Run) -> dict[str, Any]:
    """The run's row in `analysis.reading.study.Study.frame`, which tells the columns."""
    record = run.record
    counts, metric = record["parameters"], record["metric"]
    values: dict[str, Any] = {"run": run.id, "path": str(run.path), **run.settings}
    values["trainable"] = counts["trainable"]
    values |= {f"{part}_parameters": counts[part] for part in ("adapter", "head", "bias")}
    values["total"] = counts["total"]
    values["metric"] = metric
    for checkpoint in CHECKPOINTS:
        for split, scores in record["metrics"][checkpoint].items():
            if isinstance(scores, Mapping):
                values[f"{split}_{checkpoint}"] = scores[metric]
        values[f"step_{checkpoint}"] = record["metrics"][checkpoint]["step"]
    values["seconds"] = record["timing"]["seconds"]
    if told := record.get("forgetting"):
        values |= {
            f"forgetting_{checkpoint}": told[checkpoint] - told["before"] for checkpoint in CHECKPOINTS
        }
    return values


def read_run(folder: RunFolder) -> Run:
    """The run of a folder.

    Raises:
        AnalysisError: it is not finished, damaged, or cannot be read; the message is the reason alone.
    """
    try:
        run = Run(folder.path, _record(folder))
        row(run)
        told = run.settings
        method = told["method"]
        if method == "lora":
            for name in _kept(run, *_ADAPTERS.values(), ADAPTER_INIT):
                _check_adapter(run, folder.file(name))
        if method == "full" or told.get("dora"):
            for name in _kept(run, *_DELTAS.values()):
                found = targets_name(read_deltas(folder.file(name)).letters)
                if found != told["targets"]:
                    raise AnalysisError(f"{name} is of {found}, {RUN} of {told['targets']}")
    except (AttributeError, KeyError, TypeError, RecursionError) as error:
        raise AnalysisError(f"{RUN} is damaged: {type(error).__name__} {error}") from None
    except OSError as error:
        raise AnalysisError(unreadable(error)) from None
    return run


def _kept(run: Run, *names: str) -> list[str]:
    return [name for name in names if name not in run.left_out]


def _record(folder: RunFolder) -> dict[str, Any]:
    path = folder.file(RUN)
    try:
        kind = path.stat().st_mode
    except FileNotFoundError:
        if path.is_symlink():
            raise AnalysisError(f"{RUN} is damaged: a link to what is not there") from None
        raise AnalysisError(_unfinished(folder)) from None
    if not stat.S_ISREG(kind):
        raise AnalysisError(f"{RUN} is damaged: it is no file")
    path.open("rb").close()  # without permission the record would be None, as a damaged one is
    record = folder.read()
    if record is None:
        raise AnalysisError(f"{RUN} is damaged: it is not the whole record of a finished run")
    if record.get("format") != FORMAT_VERSION:
        raise AnalysisError(
            f"{RUN} is of format {record.get('format')}; this code reads format {FORMAT_VERSION}"
        )
    return record


def _unfinished(folder: RunFolder) -> str:
    try:
        error = json.loads(folder.file(FAILURE).read_text(encoding="utf-8"))["error"]
    except (OSError, ValueError, KeyError, TypeError):
        return f"unfinished: no {RUN}"
    return f"failed: {error}"


def _check_adapter(run: Run, path: Path) -> None:
    header = read_header(path)
    ranks: dict[str, set[int]] = {}
    for (_, letter), (rank, _, _) in header.numbers.items():
        ranks.setdefault(letter, set()).add(rank)
    config = run.record["config"]
    expected = {letter: {rank} for letter, rank in config["rank"].items()}
    alphas = {alpha for _, alpha, _ in header.numbers.values()}
    size = run.record["parameters"]["adapter"]
    found = (ranks, alphas, header.scaling_rule, header.size)
    if found != (expected, {config["alpha"]}, config["scaling"], size):
        raise AnalysisError(
            f"{path.name} is not the adapter of {RUN}: it has ranks {_ranks(ranks)}, alpha "
            f"{'/'.join(f'{alpha:g}' for alpha in sorted(alphas))}, scaling {header.scaling_rule} and "
            f"{header.size} parameters, {RUN} {_ranks(expected)}, {config['alpha']:g}, {config['scaling']} "
            f"and {size}"
        )


def _ranks(ranks: Mapping[str, set[int]]) -> str:
    return " ".join(f"{letter}={'/'.join(map(str, sorted(values)))}" for letter, values in ranks.items())


def _short(digest: str | None) -> str:
    return "unknown" if digest is None else f"{digest[:12]}..."
