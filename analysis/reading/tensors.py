"""What is read of a selection's runs: their layers, the factors and directions of dW, and W.

Nothing here imports torch before a tensor is read.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from analysis.errors import AnalysisError
from analysis.reading.run import Run
from analysis.selection import Selection

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from analysis.geometry.subspaces import Directions
    from lora.saving import Factors


def layers(selection: Selection, run: Run) -> tuple[int, ...]:
    """The layers that the run adapts, from 0."""
    return run.adapter(selection.checkpoint).layers


def one_layer(selection: Selection, run: Run) -> int:
    """The layer to look at, from 0: the chosen one, or the paper's relative place (`middle_layer`).

    Raises:
        AnalysisError: the run does not adapt the chosen layer.
    """
    there = layers(selection, run)
    if selection.layer is None:
        return there[middle_layer(len(there))]
    if selection.layer not in there:
        raise AnalysisError(
            f"--layer {selection.layer + 1}: {run.id} adapts the layers {there[0] + 1} to {there[-1] + 1}"
        )
    return selection.layer


def some_layers(selection: Selection, run: Run) -> tuple[int, ...]:
    """The paper's four relative places (`four_layers`), from 0."""
    there = layers(selection, run)
    return tuple(there[place] for place in four_layers(len(there)))


def middle_layer(count: int) -> int:
    """The layer, from 0, at the relative depth of the paper's: the 48th of 96."""
    return max(1, count // 2) - 1


def four_layers(count: int) -> tuple[int, ...]:
    """First, one third, two thirds and last, from 0: the paper's 1, 32, 64 and 96 of 96.

    Up to four layers are all there are; more give four different ones.
    """
    if count <= 4:
        return tuple(range(count))
    return tuple(number - 1 for number in (1, round(count / 3), round(2 * count / 3), count))


def factors(selection: Selection, run: Run, layer: int, letter: str) -> Factors:
    """A and B of one projection, on the device."""
    return _moved(selection, run.adapter(selection.checkpoint)[layer, letter])


def directions(selection: Selection, run: Run, layer: int, letter: str) -> Directions:
    """The directions of one projection in the chosen basis."""
    from analysis.geometry import subspaces

    initial = _moved(selection, run.initial()[layer, letter]) if selection.basis == "A-A0" else None
    return subspaces.directions(factors(selection, run, layer, letter), selection.basis, initial)


def weight(selection: Selection, run: Run, layer: int, letter: str) -> Float[Tensor, "d_out d_in"]:
    """W0 of one projection, on the device; that of every run that `check_model` passed with this one."""
    return run.base(selection.base).projection(layer, letter).to(selection.device)


def _moved(selection: Selection, found: Factors) -> Factors:
    device = selection.device
    return dataclasses.replace(found, A=found.A.to(device), B=found.B.to(device))
