"""What scripts/benchmark_costs.py has measured: costs.json in a study's folder, or any file of that form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.errors import AnalysisError
from analysis.reading.files import is_file, read_json

if TYPE_CHECKING:
    from analysis.reading.study import Study

FILE = "costs.json"
FORMAT = 1
FLOAT = 4
"""Bytes of a number: parameters are float32, whatever products are computed in."""
FULL, LORA = "full", "lora"
Seconds = Mapping[str, tuple[float, ...]]
"""By candidate, one a round; the rounds of all candidates are the same."""


@dataclass(frozen=True)
class Forward:
    """Forward passes at one of the settings of the paper's Table 1.

    Attributes:
        paper: (batch, length) there.
        batch, length: as scaled to this model and machine.
        added: parameters by candidate.
        seconds: of a pass.
    """

    paper: tuple[int, int]
    batch: int
    length: int
    added: Mapping[str, int]
    seconds: Seconds


@dataclass(frozen=True)
class Step:
    """Bytes of a training step of one method.

    Attributes:
        total, trainable: parameters.
        activations: kept for the backward pass.
        peak: the most that was allocated at one time, weights included.
    """

    method: str
    batch: int
    length: int
    total: int
    trainable: int
    weights: int
    gradients: int
    optimizer: int
    activations: int
    peak: int

    @property
    def size(self) -> tuple[int, int]:
        return self.batch, self.length


@dataclass(frozen=True, eq=False)
class Costs:
    """A whole file.

    Attributes:
        model: name, kind, layers, width, parameters.
        device: in words; `gpu` where it is one.
        lora: rank and targets, of what is trained.
        machine: what the numbers depend on.
        quick: it was a trial, which measures nothing.
        forwards: from the largest input to the smallest.
        merged: whether a merged model has the base's "modules", "parameters" and "operators".
        steps: of all methods at one size, then of full fine-tuning and LoRA at others.
        storage: bytes by method.
        training: (batch, length) of the steps that were timed; `training_seconds` by method.
        switching: seconds of "load", "file", "memory" and "merged"; `adapters`: bytes of the two adapters.
    """

    name: str
    model: Mapping[str, Any]
    device: str
    gpu: bool
    precision: str
    lora: Mapping[str, Any]
    machine: Mapping[str, Any]
    quick: bool
    forwards: tuple[Forward, ...]
    merged: Mapping[str, bool]
    steps: tuple[Step, ...]
    storage: Mapping[str, int]
    training: tuple[int, int]
    training_seconds: Seconds
    switching: Seconds
    adapters: tuple[int, ...]

    @cached_property
    def by_method(self) -> dict[str, Step]:
        """The steps of all methods, at the size that they share."""
        return {step.method: step for step in self.steps if step.size == self.steps[0].size}

    @cached_property
    def pairs(self) -> list[tuple[Step, Step]]:
        """Full fine-tuning and LoRA at each size, by tokens."""
        lora = {step.size: step for step in self.steps if step.method == LORA}
        found = [(step, lora[step.size]) for step in self.steps if step.method == FULL]
        return sorted(found, key=lambda pair: (pair[0].batch * pair[0].length, pair[0].length))

    def activations(self, method: str) -> tuple[float, float, float]:
        """(k, a, c): a step keeps k + batch * (a length + c length^2) bytes for the backward pass.

        k is what is made of the weights alone (LoRA's factors, stacked), c of the attention weights where
        they are kept.  By least squares of relative errors over the sizes.
        """
        steps = [step for step in self.steps if step.method == method]
        terms = np.array([[1, s.batch * s.length, s.batch * s.length**2] for s in steps], dtype=float)
        measured = np.array([s.activations for s in steps], dtype=float)
        found = np.linalg.lstsq(terms / measured[:, None], np.ones(len(steps)), rcond=None)[0]
        k, a, c = (float(value) for value in found)
        return k, a, c

    def formula(self, method: str, batch: float, length: float) -> float:
        """Bytes of the peak at any size: weights, moments, and gradients or activations.

        As the backward pass goes on, gradients come and activations go, so that the larger of them counts.
        """
        step = self.by_method[method]
        k, a, c = self.activations(method)
        kept = k + batch * (a * length + c * length**2)
        return FLOAT * (step.total + 2 * step.trainable) + max(FLOAT * step.trainable, kept)


def costs_file(study: Study) -> Path:
    """Where a study's costs are, if they were measured."""
    return study.root / study.name / FILE


def has_costs(study: Study) -> bool:
    return is_file(costs_file(study))


def read_costs(path: Path) -> Costs:
    """Read what was measured.

    Raises:
        AnalysisError: the file cannot be read, or is no such file, or not a whole one.
    """
    record = read_json(path)
    if record.get("format") != FORMAT or "latency" not in record:
        raise AnalysisError(
            f"{path}: no file of scripts/benchmark_costs.py of format {FORMAT}; make one with --out"
        )
    try:
        costs = Costs(
            name=path.name,
            **{name: record[name] for name in ("model", "device", "gpu", "precision", "lora", "machine")},
            quick=record["quick"],
            forwards=tuple(_forward(one) for one in record["latency"]["settings"]),
            merged=record["latency"]["merged"],
            steps=tuple(Step(**one) for one in record["memory"]),
            storage=record["storage"],
            training=(record["speed"]["batch"], record["speed"]["length"]),
            training_seconds=_seconds(record["speed"]["seconds"]),
            switching=_seconds(record["switching"]["seconds"]),
            adapters=tuple(record["switching"]["bytes"]),
        )
        assert {FULL, LORA} <= costs.by_method.keys() & costs.storage.keys() & costs.training_seconds.keys()
        assert costs.forwards
        assert costs.pairs
    except (AssertionError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise AnalysisError(
            f"{path} is damaged: {type(error).__name__} {error}".rstrip() + "; measure again"
        ) from None
    return costs


def _forward(one: Mapping[str, Any]) -> Forward:
    paper = one["paper"]["batch"], one["paper"]["length"]
    return Forward(paper, one["batch"], one["length"], one["added"], _seconds(one["seconds"]))


def _seconds(given: Mapping[str, Any]) -> Seconds:
    seconds = {name: tuple(map(float, values)) for name, values in given.items()}
    if len({len(values) for values in seconds.values()}) != 1 or not all(
        value > 0 for values in seconds.values() for value in values
    ):
        raise ValueError("seconds are not those of the same rounds")
    return seconds
