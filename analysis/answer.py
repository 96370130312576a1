"""Which weights, which rank? The smallest cell that is not worse than the best by more than a margin.

    decision = decide({"q": outcomes, "qv": others}, margin=0.01)
    answer(grid, 0.01, selection).sentences

A cell is *within* the margin where its true mean is above that of the truly best cell minus the margin, and
*worse* where it is not. Which cell is truly best is not known, and to take the highest for it would owe
something to luck; so none is taken (as in Hsu, Multiple Comparisons, 1996, ch. 4):

- Within is shown where it is shown against *each* other cell, for one of them is the best: the largest of
  the one-sided p-values counts (an intersection-union test; Berger, Technometrics 24:295, 1982), corrected
  by Holm for the number of cells that are not ruled out: of the others it is not claimed.
- Worse is shown where it is shown of all others together by Simes' test (Biometrika 73:751, 1986), which
  looks for *some* that are better: of n p-values in order, the least of n p_(k) / k. It wants them positively
  dependent, which they are: all share the runs of one cell. That many cells are ruled out needs no
  correction: one of them is the true answer, and only where that one is ruled out has anything gone wrong.

Each at half of `alpha`. So in at most `alpha` of the studies is the smallest cell within the margin not among
those that are named: the smallest that is shown to be, and the smaller ones that are not ruled out.

Tests are of paired runs on the same examples, over seeds and examples (`statistics.compare`). The choice of a
learning rate on dev is in none of them.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from analysis.cells import CHOSEN_ON
from analysis.defaults import DEFAULT_MARGIN
from analysis.errors import AnalysisError
from analysis.grid import FEWEST_SEEDS, Grid, GridCell, grids
from analysis.reading.needs import SWEPT, Need, command, commands
from analysis.reading.run import Run
from analysis.reading.study import Study
from analysis.statistics import Comparison, Needed, Outcomes, compare, holm, one_more, seeds_needed
from analysis.statistics.bootstrap import RESAMPLES

if TYPE_CHECKING:
    from analysis.selection import Selection

ALPHA = 0.05
FEASIBLE = 100
"""More seeds than so many are not asked for."""
ENOUGH_SEEDS = 3
"""That a study of one seed is told to have: two tell of the spread, but hardly how large it is."""

MOST_NAMED = 4
"""Of undecided cells, the smallest first."""

Key = TypeVar("Key", bound=Hashable)


# --------------------------------------------------------------------------------------------- the procedure


@dataclass(frozen=True)
class Decision(Generic[Key]):
    """What is shown of cells.

    Attributes:
        top: the cell with the highest mean; the first of equal ones.
        within: the cells that are shown to be within the margin.
        worse: by cell that is ruled out, the comparison with the cell that it is most clearly worse than.
        against_top: each cell minus `top`, with the p-value of minus the margin.
        hardest: by cell, the comparison with the cell that it is least clearly within the margin of.
    """

    top: Key
    within: frozenset[Key]
    worse: Mapping[Key, tuple[Key, Comparison]]
    against_top: Mapping[Key, Comparison]
    hardest: Mapping[Key, tuple[Key, Comparison]]


def decide(
    cells: Mapping[Key, Outcomes], margin: float, *, alpha: float = ALPHA, resamples: int = RESAMPLES
) -> Decision[Key]:
    """Compare each cell with the others, by the rule above.

    Args:
        cells: two or more, each of two or more seeds.
        margin: in the metric's own unit, above 0.

    Raises:
        AnalysisError: too few cells or seeds, a margin not above 0, or cells with different examples.
    """
    if not margin > 0:
        raise AnalysisError(f"margin={margin:g} is not valid; give one above 0")
    if len(cells) < 2 or any(len(cell.seeds) < FEWEST_SEEDS for cell in cells.values()):
        raise AnalysisError("a comparison needs two cells or more, each with two seeds or more")
    means = {key: cell.mean for key, cell in cells.items()}
    highest_first = sorted(cells, key=lambda key: -means[key])
    level = alpha / 2
    p_within: dict[Key, float] = {}
    worse: dict[Key, tuple[Key, Comparison]] = {}
    against_top: dict[Key, Comparison] = {}
    hardest: dict[Key, tuple[Key, Comparison]] = {}
    for key in cells:
        p_within[key] = 0.0
        beaten_by: list[tuple[float, Key, Comparison]] = []
        for other in (one for one in highest_first if one != key):
            is_lower = means[other] - means[key] > margin
            is_open = p_within[key] <= level  # what is above the level is not shown, whatever else there is
            if not is_open and (key in worse or not is_lower):
                break
            found = compare(cells[key], cells[other], reference=-margin, resamples=resamples)
            if other == highest_first[0]:
                against_top[key] = found
            p_worse = found.p_value / 2 if is_lower else 1 - found.p_value / 2
            if is_open and 1 - p_worse >= p_within[key]:
                p_within[key], hardest[key] = 1 - p_worse, (other, found)
            beaten_by.append((p_worse, other, found))
            if is_lower and key not in worse and _simes([p for p, *_ in beaten_by], len(cells) - 1) <= level:
                worse[key] = min(beaten_by, key=lambda one: one[0])[1:]
    claimable = [key for key in cells if key not in worse]
    adjusted = dict(zip(claimable, holm([p_within[key] for key in claimable]), strict=True))
    within = frozenset(key for key, p in adjusted.items() if p <= level)
    return Decision(highest_first[0], within, worse, against_top, hardest)


def _simes(p_values: Sequence[float], n: int) -> float:
    """Of n p-values, of which those that are not given count as 1."""
    return min(n * p / k for k, p in enumerate(sorted(p_values), start=1))


# ------------------------------------------------------------------------------------------------ the answer


@dataclass(frozen=True, eq=False)
class Answer:
    """What a grid says of the smallest weights and rank that will do.

    Attributes:
        grid: of cells with a rank.
        margin: in the metric's own unit.
        compared: the cells with several seeds, the smallest first.
        alone: those with one seed, of which nothing is said.
        decision: None where fewer than two are compared.
        smallest: the smallest cell that is shown to be within the margin; None where none is.
        undecided: the smaller ones that are not ruled out, the smallest first; all, where none is shown.
        needed: what would decide the first of `undecided`.
        rival: the cell that it would have to be compared with.
        commands: lines that train that many seeds.
    """

    grid: Grid
    margin: float
    compared: tuple[GridCell, ...]
    alone: tuple[GridCell, ...]
    decision: Decision[GridCell] | None
    smallest: GridCell | None
    undecided: tuple[GridCell, ...]
    needed: Needed | None
    rival: GridCell | None
    commands: tuple[str, ...]

    @property
    def sentences(self) -> str:
        """The answer in words, but for the commands."""
        title = f"{self.grid.title}: "
        if self.all_alike:
            return title + self._alike()
        if self.decision is None:
            return title + self._numbers_alone()
        parts = [self._what_is_shown(self.decision), self._what_is_ruled_out(self.decision)]
        parts += [self._what_would_decide(), self._on_dev(self.decision.top)]
        if self.alone:
            names = ", ".join(cell.name for cell in self.alone)
            parts.append(f"Not compared, for one seed decides nothing: {names}.")
        return title + " ".join(part for part in parts if part)

    @property
    def all_alike(self) -> bool:
        """Whether several cells have not one example between them on which some run does otherwise."""
        import numpy as np

        cells = (*self.compared, *self.alone)
        rows = [row for cell in cells for row in cell.result.outcomes.scores]
        return len(cells) > 1 and all(np.array_equal(row, rows[0]) for row in rows)

    def status(self, cell: GridCell) -> str:
        """ "within", "worse" or "undecided"; empty where nothing is said."""
        if self.decision is None or cell not in self.compared:
            return ""
        if cell in self.decision.within:
            return "within"
        return "worse" if cell in self.decision.worse else "undecided"

    def to_highest(self, cell: GridCell) -> str:
        """The difference to the highest mean, with its interval; empty where nothing is said."""
        if self.decision is None or cell not in self.compared:
            return ""
        return "highest" if cell is self.decision.top else self._difference(cell, self.decision.top)

    def _alike(self) -> str:
        """What one score for all says: all is right, or nothing was learned."""
        first = (*self.compared, *self.alone)[0]
        outcomes = first.result.outcomes
        same = f"every run of these cells scores the same on every example, {self._value(first)} in all"
        if (outcomes.scores == outcomes.bounds[1]).all():
            return (
                f"{same}: the {outcomes.examples:,} examples are too easy to tell the cells apart. The "
                f"smallest is {first.name}, {_parameters(first)}; whether it falls short elsewhere only "
                "harder examples would tell."
            )
        return (
            f"{same}: none has learned anything that the metric sees, so that nothing is compared, here or "
            "in any figure. Its predictions.jsonl has what each run answered; train for more steps, or at "
            "another rate."
        )

    def _what_is_shown(self, decision: Decision[GridCell]) -> str:
        top, by = decision.top, self._by()
        if self.smallest is None and len(self.undecided) == len(self.compared):
            smallest = self.undecided[:1]
            told = (
                "and no other is smaller"
                if smallest == (top,)
                else f"the smallest, which may do as well, {self._listed(smallest)}"
            )
            return (
                f"none of {len(self.compared)} is shown to be within {by} of the best, and none to be worse "
                f"by more. The highest is {top.name}, {_parameters(top)}: {self._value(top)}; {told}."
            )
        if self.smallest is None:
            one_of = "one of " if len(self.undecided) > 1 else ""
            return (
                f"none of {len(self.compared)} is shown to be within {by} of the best. The highest is "
                f"{top.name}, {_parameters(top)}: {self._value(top)}. The smallest that is not worse by more "
                f"than {by} is {one_of}{self._listed(self.undecided)}."
            )
        what = f"{self.smallest.name}, {_parameters(self.smallest)}, is"
        if self.smallest is top:
            the_best, how = "the best", f"; it is the highest itself, {self._value(top)}"
        else:
            the_best, how = (
                f"the best ({self._value(top)}, {top.name})",
                f": {self.to_highest(self.smallest)}",
            )
        if not self.undecided:
            return f"{what} the smallest that is not worse than {the_best} by more than {by}{how}."
        return (
            f"{what} not worse than {the_best} by more than {by}{how}. Undecided is whether a smaller one is "
            f"not either: {self._listed(self.undecided)}."
        )

    def _what_is_ruled_out(self, decision: Decision[GridCell]) -> str:
        """Every cell that is smaller than those named."""
        first = self.undecided[0] if self.undecided else self.smallest
        smaller = [cell for cell in self.compared if first and cell.result.trainable < first.result.trainable]
        if first is None or not smaller:
            return ""
        nearest = max(smaller, key=lambda cell: cell.result.mean.mean)
        other = decision.worse[nearest][0]
        if decision.against_top[nearest].high < -self.margin:
            other = decision.top
        against = "" if other is decision.top else f" against {other.name}"
        told = f"{nearest.name}{against}: {self._difference(nearest, other)}"
        if len(smaller) == 1:
            return f"The only one smaller than {first.name} is worse by more than that, {told}."
        are = "Both" if len(smaller) == 2 else f"All {len(smaller)}"
        return f"{are} smaller than {first.name} are worse by more than that, the nearest {told}."

    def _what_would_decide(self) -> str:
        if self.needed is None or self.rival is None:
            return ""
        return f"{self.undecided[0].name} against {self.rival.name}: {self.needed.reason}."

    def _on_dev(self, top: GridCell) -> str:
        """Which one would be picked on dev, and what it is worth elsewhere."""
        scored = [(cell.result.dev, cell) for cell in self.compared if cell.result.dev is not None]
        if len(scored) < len(self.compared):
            return ""
        best = max(value for value, _ in scored)
        highest = [cell for value, cell in scored if value == best]
        if top in highest:
            more = len(highest) - 1
            others = f", as {'is' if more == 1 else 'are'} {more} more" if more else ""
            return f"On {CHOSEN_ON} {top.name} is the highest too{others}."
        picked = highest[0]
        if len(highest) > 1:
            return (
                f"On {CHOSEN_ON} {len(highest)} are equally high; the smallest, {picked.name}, has here "
                f"{self._value(picked)}."
            )
        return f"On {CHOSEN_ON} the highest is {picked.name}, which here has {self._value(picked)}."

    def _numbers_alone(self) -> str:
        cells = sorted((*self.compared, *self.alone), key=lambda cell: cell.result.trainable)
        top = max(cells, key=lambda cell: cell.result.mean.mean)
        if len(cells) == 1:
            return f"{top.name}, {_parameters(top)}: {self._value(top)}. There is nothing to compare it with."
        near = [cell for cell in cells if top.result.mean.mean - cell.result.mean.mean <= self.margin]
        told = f"the highest is {top.name}, {_parameters(top)}: {self._value(top)}."
        if near[0] is not top:
            told += (
                f" Of those that measure within {self._by()} of it {near[0].name}, {_parameters(near[0])}, "
                f"is the smallest: {self._value(near[0])}."
            )
        return (
            f"{told} One seed decides nothing: it does not tell how much another would give, and which cell "
            f"is highest owes something to luck. {ENOUGH_SEEDS} seeds or more of each would tell."
        )

    def _by(self) -> str:
        metric, margin = self.grid.metric, self.grid.metric.scale * self.margin
        if not metric.share:
            return f"{margin:g} {metric.title}"
        return "a point" if margin == 1 else f"{margin:g} points"

    def _value(self, cell: GridCell) -> str:
        return self.grid.result.number(cell.result.mean.mean)

    def _difference(self, cell: GridCell, other: GridCell) -> str:
        """ "-2.7 [-3.4, -1.9]"."""
        assert self.decision is not None
        if other is self.decision.top:
            found = self.decision.against_top[cell]
        else:
            found = self.decision.worse[cell][1]
        metric = self.grid.metric
        value, low, high = (
            f"{metric.scale * number:+.{metric.decimals}f}"
            for number in (found.difference, found.low, found.high)
        )
        return f"{value} [{low}, {high}]"

    def _listed(self, cells: Sequence[GridCell]) -> str:
        assert self.decision is not None
        told = [
            f"{cell.name} ({_parameters(cell)}"
            + (")" if cell is self.decision.top else f"; {self._difference(cell, self.decision.top)})")
            for cell in cells[:MOST_NAMED]
        ]
        more = len(cells) - len(told)
        return ", ".join(told) + (f" and {more} more that are no smaller" if more else "")


HOW_SURE = (
    "Differences are to the highest, with 95% intervals over seeds and examples. The words are tested "
    "against every cell compared, so that no best is picked by luck, and corrected for their number "
    f"(within: Holm; worse: Simes): in at most {ALPHA:.0%} of studies is the smallest cell within the margin "
    "not among those named."
)


def _parameters(cell: GridCell) -> str:
    return f"{cell.result.trainable:,} parameters"


def answer(grid: Grid, margin: float, selection: Selection) -> Answer | None:
    """The grid's answer; None where it has no cell with a rank.

    Args:
        margin: in the metric's own unit.
        selection: that the grid is of, whose runs say how to train more.
    """
    if not grid.cells:
        return None
    ordered = sorted(grid.cells, key=lambda cell: (cell.result.trainable, -cell.result.mean.mean))
    compared = tuple(cell for cell in ordered if cell.seeds >= FEWEST_SEEDS)
    alone = tuple(cell for cell in ordered if cell.seeds < FEWEST_SEEDS)
    if len(compared) < 2:
        commands = _commands(selection, ordered, ENOUGH_SEEDS)
        missing = commands if len(ordered) > 1 else ()
        return Answer(grid, margin, compared, alone, None, None, (), None, None, missing)
    decision = decide({cell: cell.result.outcomes for cell in compared}, margin)
    smallest = next((cell for cell in compared if cell in decision.within), None)
    undecided = tuple(
        cell
        for cell in compared
        if cell not in decision.worse
        and cell not in decision.within
        and (smallest is None or cell.result.trainable < smallest.result.trainable)
    )
    needed, rival = None, None
    lines: tuple[str, ...] = ()
    if undecided:
        first = undecided[0]
        rival, found = decision.hardest[first]
        is_near = found.difference > -margin
        ruled_out = len(decision.worse)
        family = len(compared) - (ruled_out if is_near else 1)  # at worst: Simes asks for less
        needed = seeds_needed(found, alpha=ALPHA / family)  # two-sided, so that each side has half of it
        needed = one_more(needed) if needed.more_seeds == 0 else needed
        if needed.more_seeds is not None and needed.more_seeds <= FEASIBLE:
            paired = len({*first.result.outcomes.seeds} & {*rival.result.outcomes.seeds})
            lines = _commands(selection, (first, rival), paired + needed.more_seeds)
    return Answer(grid, margin, compared, alone, decision, smallest, undecided, needed, rival, lines)


def of_study(name: str, root: Path) -> list[str]:
    """The answer to each task and model of a study, in sentences.

    Raises:
        AnalysisError: there is no such study, or it has no finished run.
    """
    from analysis.selection import Selection

    selection = Selection.of_tasks(Study.open(name, root))
    found = [answer(grid, DEFAULT_MARGIN / grid.metric.scale, selection) for grid in grids(selection)]
    return [made.sentences for made in found if made]


def _commands(selection: Selection, cells: Sequence[GridCell], count: int) -> tuple[str, ...]:
    """The lines that train, as before, what these cells lack of `count` seeds that all of them have.

    First the seeds that some have already, then new ones: runs are compared by pairs of a seed.
    """
    study = selection.study
    by_id = {run.id: run for run in study.runs}
    groups: dict[str, tuple[Run, list[Need]]] = {}
    lines = []
    there = [{*cell.result.outcomes.seeds} for cell in cells]
    shared, some = set.intersection(*there), set.union(*there)
    after = itertools.count(max(some) + 1)
    wanted = [*sorted(shared), *sorted(some - shared), *itertools.islice(after, count)][:count]
    for cell, has in zip(cells, there, strict=True):
        run = by_id[cell.result.runs[-1]]
        seeds = [seed for seed in wanted if seed not in has]
        if not seeds:
            continue
        recipe = {key: value for key, value in run.settings.items() if key not in SWEPT}
        if cell.rank is None:
            ranks = ", ".join(f"{letter}: {rank}" for letter, rank in run.record["config"]["rank"].items())
            swept: dict[str, list[Any]] = {
                "targets": [cell.targets],
                "rank": [f"{{{ranks}}}"],
                "seed": [*seeds],
            }
            lines.append(command(study.name, study.training_root, recipe, swept, run.overrides))
            continue
        needs = groups.setdefault(repr(sorted(recipe.items(), key=str)), (run, []))[1]
        needs += [Need(cell.targets, cell.rank, seed) for seed in seeds]
    for run, needs in groups.values():
        recipe = {key: value for key, value in run.settings.items() if key not in SWEPT}
        lines += commands(study.name, study.training_root, recipe, needs, run.overrides)
    return tuple(lines)
