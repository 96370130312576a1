"""A study: the runs that are analysed together, as a table, and each with its files.

Only finished and undamaged runs count; every other one is named with the reason. Opening a study reads
run.json files and the headers of adapters.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.defaults import DEFAULT_ROOT
from analysis.errors import AnalysisError, UsageError
from analysis.reading.files import is_file, is_folder, subfolders
from analysis.reading.manifest import is_archive, not_counting
from analysis.reading.needs import SWEPT, MissingRunsError, Need, commands, targets_name
from analysis.reading.run import LATER, Run, rank_name, read_run, row
from experiments.errors import OTHER_NAMES
from experiments.store import RunFolder
from lora.targets import parse_targets

if TYPE_CHECKING:
    from pandas import DataFrame

MANY = 12
"""Of more studies than these an error names the first ones."""


def load(study: str, root: str | Path = DEFAULT_ROOT) -> DataFrame:
    """The finished runs of a study, one row each; see `Study.frame`.

    Raises:
        AnalysisError: there is no such study.
    """
    return Study.open(study, root).frame


@dataclass(frozen=True, eq=False)
class Study:
    """A study's runs.

    Attributes:
        name: the study.
        root: the folder of studies.
        runs: the finished runs, by name.
        left_out: the other folders, each with the reason.
    """

    name: str
    root: Path
    runs: tuple[Run, ...]
    left_out: tuple[tuple[str, str], ...]

    @classmethod
    def open(cls, study: str, root: str | Path = DEFAULT_ROOT) -> Study:
        """Read the run.json files of a study and the headers of its adapters.

        A run is left out where it is unfinished or failed, where its folder cannot be read, where run.json
        is damaged, and where an adapter file is missing, truncated or not what run.json says. In an archive
        every file must be as it was made.

        Raises:
            AnalysisError: there is no such study, with the names of those there are, or it cannot be read.
        """
        root = Path(root)
        if not study or not is_folder(root / study):
            raise AnalysisError(_no_study(study, root))
        finished: list[Run] = []
        folders, broken = subfolders(root / study)
        damaged = broken | not_counting(root / study)
        left_out = [*damaged.items()]
        for path in folders:
            if path.name in damaged:
                continue
            try:
                finished.append(read_run(RunFolder(path)))
            except AnalysisError as error:
                left_out.append((path.name, str(error)))
        return cls(study, root, tuple(finished), tuple(left_out))

    @property
    def training_root(self) -> Path:
        """The folder of studies in which a missing run is to be trained: an archive counts no new run."""
        return DEFAULT_ROOT if is_archive(self.root / self.name) else self.root

    @cached_property
    def frame(self) -> DataFrame:
        """One row a run: run, path, the keys of `settings`, then what came out.

        trainable, adapter_parameters, head_parameters, bias_parameters and total are parameter counts; metric
        names the task's main metric, {split}_{checkpoint} ("dev_last", "test_best", ...) are its values,
        step_{checkpoint} the steps; seconds is the run's time. What a run does not have is missing.
        """
        import pandas

        rows = [row(run) for run in self.runs]
        keys = dict.fromkeys(["run", "path", *(key for run in self.runs for key in run.settings)])
        columns = list(keys | dict.fromkeys(key for values in rows for key in values)) if rows else []
        frame = pandas.DataFrame(rows, columns=columns or ["run", "path"])
        for name in columns:
            values = [values[name] for values in rows if values.get(name) is not None]
            if values and all(type(value) is int for value in values):
                frame[name] = frame[name].astype("Int64")  # stays whole where a run has none
        return frame

    def run(
        self,
        task: str | None = None,
        targets: str | Iterable[str] | None = None,
        rank: int | Mapping[str, int] | None = None,
        seed: int | None = None,
        method: str = "lora",
        **more: Any,
    ) -> Run:
        """The one run of these settings.

        Args:
            task, targets, rank, seed, method: as for run.py; None is any.
            more: any other key of `settings`, such as lr=0.01 or **{"task.train": 100}.

        Raises:
            AnalysisError: none matches, several do (names what they differ in), or a key is unknown.
        """
        chosen = {"task": task, "targets": targets, "rank": rank, "seed": seed, "method": method, **more}
        choice = self._choice({key: value for key, value in chosen.items() if value is not None})
        found = self._matching(choice)
        if not found:
            asked = ", ".join(f"{key}={value}" for key, value in choice.items())
            raise AnalysisError(f"study {self.name} has no run with {asked}; {self._there(choice)}")
        return self._only(found)

    def matching(self, **choice: Any) -> list[Run]:
        """The runs of these settings, in any number; keys as in `run`.

        Raises:
            AnalysisError: a key is unknown.
        """
        return self._matching(self._choice(choice))

    def require(self, needs: Sequence[Need], **choice: Any) -> list[Run]:
        """The LoRA runs that an analysis needs, one for each of `needs`, in their order.

        Args:
            choice: as in `run`; needed where the study has several runs of the same targets, rank and seed.

        Raises:
            MissingRunsError: some are not there; with the commands that train them as the study's other LoRA
                runs were.
            AnalysisError: a need matches several runs, or the study's runs leave open how to train a missing
                one.
        """
        chosen = self._choice({"method": "lora", **choice})
        found: list[Run] = []
        missing: dict[Need, None] = {}
        for need in needs:
            matching = self._matching(chosen | {key: getattr(need, key) for key in SWEPT})
            if matching:
                found.append(self._only(matching))
            else:
                missing[need] = None
        if missing:
            like = next((run.overrides for run in self._matching(chosen) if run.overrides), ())
            lines = commands(self.name, self.training_root, self._recipe(chosen), [*missing], like)
            raise MissingRunsError(self.name, [*missing], lines, archived=self.training_root != self.root)
        return found

    def full(self, letters: Iterable[str], **choice: Any) -> list[Run]:
        """The run of full fine-tuning of each seed, by seed; there may be none.

        Its `targets` only tell of which projections such a run keeps dW: of runs that differ in nothing else,
        the one that keeps most of `letters` is taken.

        Args:
            choice: as in `run`.

        Raises:
            AnalysisError: they differ in other settings than seed and targets, or a key is unknown.
        """
        found = self._matching(self._choice({**choice, "method": "full"}))
        differing = _differences(found, but=("seed", "targets", "model"))
        if differing:
            key, values = next(iter(differing.items()))
            value = next(value for value in values if value is not None)
            raise AnalysisError(
                f"study {self.name} has runs of full fine-tuning that differ in {_told(differing)}: choose "
                f"one kind, as in --choose full.{key}={value}"
            )
        wanted = set(letters)
        by_seed: dict[int, list[Run]] = {}
        for run in found:
            by_seed.setdefault(run.settings["seed"], []).append(run)
        return [self._keeps_most(by_seed[seed], wanted) for seed in sorted(by_seed)]

    def _keeps_most(self, found: Sequence[Run], letters: set[str]) -> Run:
        """Of runs that differ in `targets` alone, the one that keeps dW of most of `letters`."""
        kept: dict[str, list[Run]] = {}
        for run in found:
            kept.setdefault(run.settings["targets"], []).append(run)
        best = max(kept, key=lambda name: len(letters & {*parse_targets(name.replace("-", ","))}))
        return self._only(kept[best])

    def _recipe(self, choice: Mapping[str, Any]) -> dict[str, Any]:
        """The settings that the study's LoRA runs of this choice share, but for targets, rank and seed.

        Where there is no such run, the task and model of the study's other runs, if they agree.
        """
        like = self._matching(choice)
        if like:
            differing = {key: values for key, values in _differences(like).items() if key not in SWEPT}
            if differing:
                raise AnalysisError(
                    f"study {self.name} lacks runs that are needed, and those it has differ in "
                    f"{_told(differing)}; say which are meant, as in {_example(differing)}"
                )
            return {key: value for key, value in like[0].settings.items() if key not in SWEPT}
        others = _differences(self.runs)
        shared = {
            key: self.runs[0].settings[key] for key in ("task", "model") if self.runs and key not in others
        }
        return shared | dict(choice)

    def _matching(self, choice: Mapping[str, Any]) -> list[Run]:
        return [run for run in self.runs if all(run.setting(k) == value for k, value in choice.items())]

    def _only(self, found: Sequence[Run]) -> Run:
        if len(found) == 1:
            return found[0]
        differing = _differences(found)
        if not differing:
            names = ", ".join(run.id for run in found)
            raise AnalysisError(
                f"study {self.name} has one run in several folders: {names}; remove the copies"
            )
        raise AnalysisError(
            f"study {self.name} has {len(found)} such runs; they differ in {_told(differing)}: choose one, "
            f"as in {_example(differing)}"
        )

    def _choice(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The values in the words of `settings`."""
        known = dict.fromkeys(key for run in self.runs for key in run.settings)
        choice = {}
        for key, value in values.items():
            if known and key not in known and key not in (*SWEPT, "task", *LATER):
                close = [meant for meant in (OTHER_NAMES.get(key),) if meant in known]
                close = close or difflib.get_close_matches(key, known, n=1)
                valid = (name for name in known if name != "science_version")
                hint = f"did you mean {close[0]}?" if close else f"valid are {', '.join(valid)}"
                raise UsageError(f"{key} is not a setting of the runs of study {self.name}; {hint}")
            if key == "targets":
                value = targets_name(value)
            elif key == "rank" and isinstance(value, Mapping):
                value = rank_name(value)
            choice[key] = value
        return choice

    def _there(self, choice: Mapping[str, Any]) -> str:
        """The values that the study has for the keys of a choice."""
        if not self.runs:
            reasons = f" ({len(self.left_out)} left out: {self.left_out[0][1]})" if self.left_out else ""
            return f"it has no finished run{reasons}"
        values = {key: _values(self.runs, key) for key in choice}
        return "it has " + _told(
            {key: [v for v in several if v is not None] for key, several in values.items()}
        )


def _no_study(study: str, root: Path) -> str:
    there = [path.name for path in subfolders(root)[0]] if is_folder(root) else []
    if study and is_file(root / study):
        return f"study {study!r}: {root / study} is a file; a study is a folder of runs"
    if not there:
        return f"study {study!r}: there are no studies in {root}; train one with python run.py, or give root"
    close = difflib.get_close_matches(study, there, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    more = f", and {len(there) - MANY} more" if len(there) > MANY else ""
    return (
        f"study {study!r}: there is no such folder in {root}; the studies there are "
        f"{', '.join(there[:MANY])}{more}{hint}"
    )


def _values(found: Iterable[Run], key: str) -> list[Any]:
    """The different values of a setting; None where a run does not have it."""
    values = list(dict.fromkeys(run.setting(key) for run in found))
    return sorted(values, key=lambda value: (isinstance(value, str), value is not None, value or 0))


def _differences(found: Sequence[Run], but: Sequence[str] = ()) -> dict[str, list[Any]]:
    """The settings in which runs differ, with their values; of another task or model not its details too."""
    keys = dict.fromkeys(key for run in found for key in run.settings if key not in but)
    values = {key: _values(found, key) for key in keys}
    differing = {key: several for key, several in values.items() if len(several) > 1}
    return {
        key: several
        for key, several in differing.items()
        if key.partition(".")[0] not in differing.keys() - {key}
    }


def _told(values: Mapping[str, Sequence[Any]]) -> str:
    return "; ".join(f"{key} ({', '.join(map(str, several))})" for key, several in values.items())


def _example(differing: Mapping[str, Sequence[Any]]) -> str:
    key, values = next(iter(differing.items()))
    value = next(value for value in values if value is not None)
    return f"{key}={value!r}" if "." not in key else f"**{{{key!r}: {value!r}}}"
