"""Equal budgets: the rank at which a set of projections costs a given number of parameters.

    budget=18874368   so many parameters of A and B
    budget=q8         what W_q alone costs at r = 8 on the model at hand, 18,874,368 on the paper's

The paper's Table 5 gives 18M parameters to one type of weight at r = 8, to two at r = 4, to four at r = 2. An
adapter of rank r on W (d_out, d_in) has r (d_in + d_out) parameters, so with grouped-query attention, where
W_k and W_v are smaller than W_q, equal ranks are not equal budgets: W_k alone gets a higher rank than W_q
alone.

Within one set every letter has the same rank, as in the paper, and it is the one whose cost is nearest to the
budget; of two equally near the smaller, so that a tie is not decided by spending more.  Nothing here imports
torch.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from experiments.errors import UserError
from lora.targets import parse_targets, targets_name


@dataclass(frozen=True)
class BudgetedRank:
    """One set of letters at its rank.

    Attributes:
        targets: the letters, in the order q k v o gate up down.
        rank: of each of them.
        parameters: what that costs.
        budget: what it was to cost.
    """

    targets: tuple[str, ...]
    rank: int
    parameters: int
    budget: int

    @property
    def excess(self) -> float:
        """How far the cost is from the budget, as a share of it; negative below."""
        return self.parameters / self.budget - 1


def parameters_of(budget: Any, shapes: Mapping[str, tuple[int, int]], layers: int) -> int:
    """A budget as a number of parameters: given as one, or as letters with their rank ("q8", "qv4", "q-up8").

    Args:
        shapes, layers: as `parameters_per_rank`.

    Raises:
        UserError: it is neither, or a letter is unknown or has no shape.
    """
    if isinstance(budget, int) and not isinstance(budget, bool) and budget > 0:
        return budget
    words = re.fullmatch(r"([a-z]+(?:-[a-z]+)*)([1-9]\d*)", budget) if isinstance(budget, str) else None
    if words is None:
        raise UserError(
            f"budget={budget} is not valid; give a number of parameters, or letters with their rank, such as "
            "q8: what W_q alone costs at r=8"
        )
    try:
        return int(words[2]) * parameters_per_rank(words[1].replace("-", ","), shapes, layers)
    except UserError as error:
        raise UserError(f"budget={budget} is not valid: {error}") from error


def parameters_per_rank(
    targets: str | Iterable[str], shapes: Mapping[str, tuple[int, int]], layers: int
) -> int:
    """What one rank costs: the sum of d_in + d_out over letters and layers.

    Args:
        targets: letters, in any form that a run takes.
        shapes: letter -> W's (d_out, d_in).
        layers: how many are adapted.

    Raises:
        UserError: a letter is unknown or has no shape.
    """
    return layers * sum(sum(_shape(letter, shapes)) for letter in _letters(targets))


def rank_for_budget(
    budget: int, targets: str | Iterable[str], shapes: Mapping[str, tuple[int, int]], layers: int
) -> BudgetedRank:
    """The rank of `targets` whose cost is nearest to `budget` parameters.

    Args:
        budget: parameters of A and B in all layers; 18,874,368 in the paper's Table 5.
        targets, shapes, layers: as `parameters_per_rank`.

    Raises:
        UserError: the budget is nearer to nothing than to r = 1, or asks for more than a full rank; a letter
            is unknown or has no shape.
    """
    letters = _letters(targets)
    each = parameters_per_rank(letters, shapes, layers)
    rank = nearest_rank(budget, each)
    if rank < 1:
        raise UserError(
            f"a budget of {budget:,} is too small for targets={targets_name(letters)}: "
            f"r=1 costs {each:,} parameters"
        )
    full = min(min(_shape(letter, shapes)) for letter in letters)
    if rank > full:
        raise UserError(
            f"a budget of {budget:,} is too large for targets={targets_name(letters)}: it is rank {rank}, "
            f"and a full rank of {full} costs {each * full:,} parameters"
        )
    return BudgetedRank(letters, rank, each * rank, budget)


def nearest_rank(budget: int, each: int) -> int:
    """The rank whose cost, so many times what one rank costs, is nearest to the budget; a half goes down."""
    return (2 * budget + each - 1) // (2 * each)


def _letters(targets: str | Iterable[str]) -> tuple[str, ...]:
    try:
        return parse_targets(targets)
    except ValueError as error:
        raise UserError(str(error)) from error


def _shape(letter: str, shapes: Mapping[str, tuple[int, int]]) -> tuple[int, int]:
    if letter not in shapes:
        raise UserError(f"targets: no shape is given for {letter!r}; there are {', '.join(shapes)}")
    return shapes[letter]
