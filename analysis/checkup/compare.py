"""`python -m analysis compare A B [C ...]`: what adapters share, beside what unrelated ones would."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from analysis.errors import AnalysisError, UsageError
from analysis.geometry.dimensions import shared_dimension
from analysis.geometry.nulls import phi_null
from analysis.geometry.similarity import phi_grid
from analysis.geometry.svd import ThinSVD, delta_svd
from analysis.reading.base_weights import BaseWeights
from analysis.reading.pairs import Adapter, Pair, check_whole, open_adapter, uneven_scales
from analysis.result import Cell, Row, Table
from lora.formats import KOHYA
from lora.targets import LETTERS

if TYPE_CHECKING:
    import pandas as pd

    from lora.saving import Factors

Place = tuple[int | None, str]
"""A projection: its layer and letter, or where that is unknown its module's whole name."""

SAME, SCALED, UNRELATED = "same dW", "same dW at another scale", ""
COPIES = {"identical": "the same factors", "permuted": "permuted factors", "refactored": "rotated factors"}
BEGAN = "same initialisation"
CERTAIN = 6
"""Standard deviations of chance from which a cosine is one of the same initialisation, if above `ALIGNED`."""
ALIGNED = 0.2
SCALE_COLUMNS = ("norm_ratio", "relation", "ratio")
"""What depends on the scales of the two, beside sums over several projections."""
COARSEST = 0.15
"""The largest relative error that two dW of one adapter may have, however coarsely they are stored."""


@dataclass(frozen=True, eq=False)
class Compared:
    """One projection of two adapters.

    Attributes:
        first, second: which of the adapters, from 0.
        place: the projection.
        row: its numbers, by the names of the CSV's columns.
        right, left: phi for all i and j of the right and left singular vectors of dW.
        chance: by side what random subspaces would have.
    """

    first: int
    second: int
    place: Place
    row: dict[str, Any]
    right: np.ndarray = field(repr=False)
    left: np.ndarray = field(repr=False)
    chance: Mapping[str, np.ndarray] = field(repr=False)


@dataclass(frozen=True)
class _Scales:
    """Of an adapter: whether every scale is stated, and if not, whether one factor does not serve all."""

    stated: bool
    uneven: bool

    @classmethod
    def of(cls, pairs: Sequence[Pair]) -> _Scales:
        unstated = [pair for pair in pairs if not pair.stated]
        return cls(not unstated, bool(unstated) and uneven_scales(pairs))


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two or more adapters, every pair of them.

    Attributes:
        adapters: in the order that they were given in.
        compared: every shared projection of every pair of adapters.
        inner: (n, n), the sums of <dW_a, dW_b> over the projections that all share.
    """

    adapters: Sequence[Adapter]
    compared: Sequence[Compared] = field(repr=False)
    inner: np.ndarray = field(repr=False)

    @cached_property
    def numbers(self) -> pd.DataFrame:
        """One row a projection and pair of adapters."""
        import pandas as pd

        return pd.DataFrame([one.row for one in self.compared])

    @property
    def names(self) -> list[str]:
        """Short names, different from each other."""
        short = [Path(adapter.source).name or adapter.source for adapter in self.adapters]
        if len(set(short)) == len(short):
            return short
        return [f"{chr(ord('A') + number)}: {name}" for number, name in enumerate(short)]

    def of(self, first: int, second: int) -> list[Compared]:
        return [one for one in self.compared if (one.first, one.second) == (first, second)]

    def pairs(self) -> list[tuple[int, int]]:
        return [*itertools.combinations(range(len(self.adapters)), 2)]

    def agreement(self) -> pd.DataFrame:
        """The cosine of dW by label and layer, the mean over pairs of adapters."""
        numbers = self.numbers.dropna(subset=["layer"])
        table = numbers.pivot_table("cosine", "projection", "layer", aggfunc="mean")
        order = [letter for letter in LETTERS if letter in table.index]
        return table.reindex([*order, *(label for label in table.index if label not in LETTERS)])

    @cached_property
    def sentences(self) -> list[str]:
        found = [sentence for pair in self.pairs() for sentence in _sentences(self, *pair)]
        return [*found, *_merges(self)]

    @property
    def notes(self) -> list[str]:
        named = zip(self.names, self.adapters, strict=True)
        return [f"{name}: {note}" for name, adapter in named for note in adapter.notes]

    def marks(self, *numbers: int) -> str:
        """ "?" where a scale of one of these adapters is not stated, as far as what all share goes."""
        return "" if all(self._scales[number].stated for number in numbers) else "?"

    def marks_sums(self, *numbers: int) -> str:
        """ "?" where cosines over several projections of these adapters depend on a scale that is not stated.

        They do not where one factor serves all of an adapter's.
        """
        return "?" if any(self._scales[number].uneven for number in numbers) else ""

    @cached_property
    def _scales(self) -> list[_Scales]:
        return [_Scales.of([*adapter]) for adapter in self.adapters]

    def tables(self) -> list[Table]:
        matrices = [_matrix(self)] if len(self.adapters) > 2 else []
        return [*matrices, *(_by_label(self, *pair) for pair in self.pairs())]

    def title(self) -> str:
        return " and ".join(self.names) if len(self.names) == 2 else ", ".join(self.names)

    def record(self) -> dict[str, Any]:
        """For --json: everything, NaN as null; phi of each projection, and its chance, for all i and j."""
        return {
            "adapters": [
                {"source": one.source, "format": one.format, "scale_stated": scales.stated}
                for one, scales in zip(self.adapters, self._scales, strict=True)
            ],
            "depends_on_unstated_scale": []
            if all(scales.stated for scales in self._scales)
            else [*SCALE_COLUMNS, "inner_products"],
            "sentences": self.sentences,
            "notes": self.notes,
            "inner_products": self.inner.tolist(),
            "projections": [
                {key: _plain(value) for key, value in one.row.items()}
                | {f"phi_{side}": _plain_grid(getattr(one, side)) for side in ("right", "left")}
                | {f"phi_{side}_chance": _plain_grid(one.chance[side]) for side in ("right", "left")}
                for one in self.compared
            ],
        }

    def printed(self) -> str:
        lines = [self.title(), ""]
        lines += [f"- {sentence}" for sentence in [*self.sentences, *self.notes]]
        return "\n".join([*lines, "", "\n\n".join(table.terminal() for table in self.tables())])


def compare(paths: Sequence[str | Path], base: BaseWeights | str | Path | None = None) -> Comparison:
    """Two or more adapters, projection by projection, each pair of them.

    Args:
        paths: as for `open_adapter`.
        base: the model that they belong to, where names and shapes do not tell the letters.

    Raises:
        AnalysisError: fewer than two are given, one is no whole adapter, or two have no projection in common
            or are of different models.
    """
    if len(paths) < 2:
        raise UsageError(f"compare takes two adapters or more, and {len(paths)} is given")
    for path in paths:
        check_whole(path)
    adapters = [open_adapter(path, base) for path in paths]
    places = [_places(adapter) for adapter in adapters]
    compared: list[Compared] = []
    count = len(adapters)
    every = set.intersection(*(set(held) for held in places))
    inner = np.zeros((count, count))
    for first, second in itertools.combinations(range(count), 2):
        _check_model(adapters[first], adapters[second])
        for place, factors in _shared(adapters, places, first, second):
            thin = [delta_svd(one.B, one.A, one.scaling) for one in factors]
            product = _inner(*factors)
            pair = places[first][place]
            named = place if pair.letters else (pair.layer, pair.label)
            stated = pair.stated and places[second][place].stated
            compared.append(_compared(first, second, named, factors, thin, product, stated))
            if place in every:
                inner[first, second] += product
                inner[second, first] += product
                for number, one in ((first, thin[0]), (second, thin[1])):
                    if (first, second) == _first_pair(number):
                        inner[number, number] += float(one.S.square().nansum())
    return Comparison(adapters, compared, inner)


def _first_pair(number: int) -> tuple[int, int]:
    """The first pair of adapters that one is in."""
    return (0, 1) if number == 0 else (0, number)


def _places(adapter: Adapter) -> dict[Place, Pair]:
    found: dict[Place, Pair] = {}
    for pair in adapter:
        if pair.letters:
            found.update({(pair.layer, letter): pair for letter in pair.letters})
        else:
            found[None, pair.module] = pair
    return found


def _check_model(first: Adapter, second: Adapter) -> None:
    one, other = first.architectures, second.architectures
    if one and other and set(one).isdisjoint(other):
        raise AnalysisError(
            f"{first.source} is of a {' or '.join(one)} model and {second.source} of a {' or '.join(other)} "
            "one; compare adapters of one model"
        )


def _shared(
    adapters: Sequence[Adapter], places: Sequence[Mapping[Place, Pair]], first: int, second: int
) -> Iterator[tuple[Place, list[Factors]]]:
    """The projections that two adapters have both, with the factors of each."""
    names = [place for place in places[first] if place in places[second]]
    found = False
    read: dict[tuple[int, str], dict[str, Factors]] = {}
    for place in names:
        factors = []
        for number in (first, second):
            pair = places[number][place]
            if (number, pair.module) not in read:
                read = {key: value for key, value in read.items() if key[0] != number}  # one module at a time
                read[number, pair.module] = pair.factors()
            label = place[1] if pair.letters else pair.label
            if label in read[number, pair.module]:
                factors.append(read[number, pair.module][label])
        if len(factors) < 2:
            continue  # a fused module's letter on which dW does not act
        sizes = [(len(one.B), one.A.shape[1]) for one in factors]
        if sizes[0] != sizes[1]:
            raise AnalysisError(
                f"dW of {_name(place)} is {sizes[0]} in {adapters[first].source} and {sizes[1]} in "
                f"{adapters[second].source}; compare adapters of one model"
            )
        found = True
        yield place, factors
    if not found:
        one, other = (_name(next(iter(places[number]))) for number in (first, second))
        both = adapters[first], adapters[second]
        unread = any(adapter.format == KOHYA and adapter.inferred for adapter in both)
        raise AnalysisError(
            f"{adapters[first].source} and {adapters[second].source} have no projection in common: the one "
            f"adapts such as {one}, the other {other}"
            + "; kohya's names tell projections only beside the base model (--base MODEL, base=)"
            * unread
        )


def _inner(one: Factors, other: Factors) -> float:
    """<dW_1, dW_2> from the thin factors."""
    left, right = one.B.double().T @ other.B.double(), one.A.double() @ other.A.double().T
    return one.scaling * other.scaling * float((left * right).sum())


def _compared(
    first: int,
    second: int,
    place: Place,
    factors: Sequence[Factors],
    thin: Sequence[ThinSVD],
    inner: float,
    stated: bool,
) -> Compared:
    one, other = thin
    d_out, d_in = len(one.U), one.Vh.shape[1]
    norms = [float(svd.S.norm()) if svd.rank else 0.0 for svd in thin]
    cosine = inner / (norms[0] * norms[1]) if all(norms) else math.nan
    right, left = phi_grid(one.Vh, other.Vh), phi_grid(one.U.T, other.U.T)
    ranks = one.rank, other.rank
    whole = (ranks[0] - 1, ranks[1] - 1)
    relation, ratio = _relation(factors, norms, cosine)
    aligned, chance = _aligned(*factors)
    if relation == UNRELATED and aligned > max(ALIGNED, CERTAIN * chance) and _row_by_row(*factors):
        relation = BEGAN
    layer, label = place
    row = {
        "first": first,
        "second": second,
        "scale_stated": stated,
        "layer": layer,
        "projection": label,
        "rank_first": ranks[0],
        "rank_second": ranks[1],
        "cosine": cosine,
        "cosine_chance": 1 / math.sqrt(d_out * d_in),
        "norm_ratio": norms[1] / norms[0] if norms[0] else math.nan,
        "relation": relation,
        "ratio": ratio,
        "A_cosine": aligned,
        "A_chance": chance,
    }
    for side, grid, d, V in (
        ("right", right, d_in, (one.Vh, other.Vh)),
        ("left", left, d_out, (one.U.T, other.U.T)),
    ):
        row[f"phi_{side}"] = float(grid[whole]) if min(ranks) else math.nan
        row[f"phi_{side}_chance"] = max(ranks) / d if min(ranks) else math.nan
        row[f"top_{side}"] = float(grid[0, 0]) if min(ranks) else math.nan
        row[f"top_{side}_chance"] = 1 / d
        row[f"shared_{side}"] = shared_dimension(*V)
    chances = {
        side: phi_null(len(grid), grid.shape[1], d).mean.numpy() if grid.numel() else grid.numpy()
        for side, grid, d in (("right", right, d_in), ("left", left, d_out))
    }
    return Compared(first, second, place, row, right.numpy(), left.numpy(), chances)


def _relation(factors: Sequence[Factors], norms: Sequence[float], cosine: float) -> tuple[str, float]:
    """Whether dW is the same, up to a factor, and how the factors then differ; and that factor."""
    if not norms[0] or not norms[1]:
        return (SAME, 1.0) if norms[0] == norms[1] else (UNRELATED, math.nan)
    tolerance = _tolerance(1e-5, [one.stored or torch.float64 for one in factors])
    if math.sqrt(max(0.0, 1 - cosine**2)) > tolerance:
        return UNRELATED, math.nan
    ratio = math.copysign(norms[1] / norms[0], cosine)
    kind = SAME if abs(ratio - 1) <= tolerance else SCALED
    return f"{kind}: {COPIES[_difference(factors[0], factors[1], tolerance)]}", ratio


def _tolerance(least: float, stored: Sequence[torch.dtype]) -> float:
    """The relative error up to which two dW are the same: what rounding to the coarsest dtype may make.

    With 8 bits four times eps would be 0.5 or 1, which anything passes.
    """
    return max(least, min(COARSEST, 4 * max(torch.finfo(dtype).eps for dtype in stored)))


def _difference(one: Factors, other: Factors, tolerance: float) -> str:
    """How A and B differ where dW does not: "identical", "permuted" or "refactored"."""
    A, other_A = one.A.double(), other.A.double()
    if A.shape != other_A.shape:
        return "refactored"
    if (A - other_A).norm() <= tolerance * A.norm():
        return "identical"
    norms = A.norm(dim=1)[:, None] * other_A.norm(dim=1)
    cosines = (A @ other_A.T).abs() / norms.clamp_min(1e-300)
    best = cosines.max(dim=1)
    one_to_one = len(set(best.indices.tolist())) == len(A)
    return "permuted" if one_to_one and float(best.values.min()) > 1 - tolerance else "refactored"


def _aligned(one: Factors, other: Factors) -> tuple[float, float]:
    """The cosine of A and A' as they are stored, and its standard deviation for independent ones.

    Training moves A little from its first values: of one seed they stay alike entry by entry.
    """
    if one.A.shape != other.A.shape:
        return math.nan, math.nan
    A, other_A = one.A.double(), other.A.double()
    norm = float(A.norm() * other_A.norm())
    return (float((A * other_A).sum()) / norm if norm else math.nan), 1 / math.sqrt(A.numel())


def _row_by_row(one: Factors, other: Factors) -> bool:
    """Whether A and A', of one shape, are alike in most of their rows, as of one seed they stay.

    Two that learnt the same may share a leading direction or two, which ordered factors have in the same
    rows: so the half of the rows that agree the least has to agree too, and factors that an SVD has ordered,
    which their orthogonal rows tell, say nothing of a start; a single row does not either.
    """
    A, other_A = one.A.double(), other.A.double()
    if len(A) < 2 or _ordered(one) or _ordered(other):
        return False
    norms = (A.norm(dim=1) * other_A.norm(dim=1)).clamp_min(1e-300)
    least = ((A * other_A).sum(dim=1) / norms).sort().values[: len(A) // 2]
    return float(least.mean()) > max(ALIGNED, 3 / math.sqrt(len(least) * A.shape[1]))


def _ordered(factors: Factors) -> bool:
    """Whether the rows of A (r, d_in) are orthogonal up to rounding, as random and trained ones never are."""
    A = factors.A.double()
    unit = A / A.norm(dim=1, keepdim=True).clamp_min(1e-300)
    between = (unit @ unit.T).fill_diagonal_(0).abs().max()
    eps = torch.finfo(factors.stored or torch.float64).eps
    return float(between) < max(1e-5, 4 * eps / math.sqrt(A.shape[1]))


# ------------------------------------------------------------------------------------------- in words


def _sentences(seen: Comparison, first: int, second: int) -> Iterator[str]:
    one, other = seen.names[first], seen.names[second]
    numbers = seen.numbers
    numbers = numbers[(numbers["first"] == first) & (numbers["second"] == second)]
    count = len(numbers)
    kinds = Counter(numbers["relation"])
    for relation, number in kinds.most_common():
        if relation:
            rows = numbers[numbers["relation"] == relation]
            mark = "" if rows["scale_stated"].all() else "?"
            middle = rows["ratio"].dropna().median()
            scale = f", {middle:.4g}{mark} times as large in {other}" if relation.startswith(SCALED) else ""
            alike = ""
            if relation == BEGAN:
                mark = ""  # a start is that of A alone
                alike = (
                    f" (A of the two has cosine {_median(rows['A_cosine'])}, chance "
                    f"±{_median(rows['A_chance'])})"
                )
            told = relation.replace(":", f"{mark}:", 1)
            yield f"{one} and {other}: {told}{scale} in {number} of {count} shared projections{alike}."
    if sum(number for relation, number in kinds.items() if relation.startswith((SAME, SCALED))) == count:
        return
    numbers = numbers.dropna(subset=["cosine"])
    moved = len(numbers)
    if moved < count:
        yield f"{one} and {other}: dW = 0 in one or both in {count - moved} of {count} shared projections."
    if not moved:
        return
    cosine, chance = numbers["cosine"], 3 * numbers["cosine_chance"]
    yield (
        f"{one} and {other}: the cosine of dW is {cosine.median():.2g} ({cosine.min():.2g} to "
        f"{cosine.max():.2g}) in {moved} shared projections; by chance it is within "
        f"±{chance.median():.1g}, which {int((cosine.abs() > chance).sum())} exceed."
    )
    yield (
        "They share "
        + " and ".join(
            f"{_directions(numbers[f'shared_{side}'], where)} beyond chance (phi over all of them "
            f"{_median(numbers[f'phi_{side}'])}, chance {_median(numbers[f'phi_{side}_chance'])})"
            for side, where in (("right", "input"), ("left", "output"))
        )
        + ", medians."
    )


def _merges(seen: Comparison) -> Iterator[str]:
    """Linear dependences between adapters, over what all share; of copies the first stands for all.

    A dependence does not tell which of its members was made of the rest. One is called a merge where it alone
    lies in the cone of the others: of independent sources, with weights above 0.
    """
    if len(seen.adapters) < 3 or not seen.inner.diagonal().all():
        return
    scale: np.ndarray = np.sqrt(seen.inner.diagonal())
    gram = seen.inner / np.outer(scale, scale)
    tolerance = _tolerance(1e-4, [_stored(adapter) for adapter in seen.adapters])
    distinct: list[int] = []
    for number in range(len(gram)):
        if not distinct or np.abs(gram[number, distinct]).max() <= 1 - tolerance:
            distinct.append(number)
    if len(distinct) < 3:
        return
    bound = [i for i in distinct if _combined(gram, i, distinct, tolerance, False) is not None]
    if not bound:
        return
    made = [i for i in bound if _combined(gram, i, bound, tolerance, True) is not None]
    sources = [i for i in bound if i not in made]
    merges = {i: _combined(gram, i, sources, tolerance, True) for i in made}
    free = all(_combined(gram, i, sources, tolerance, False) is None for i in sources)
    if merges and free and all(weights is not None for weights in merges.values()):
        for i, weights in merges.items():
            assert weights is not None
            yield (
                f"{seen.names[i]} is a merge: dW = {_sum_of(seen, weights * scale[i] / scale)}, in the "
                "projections that all share; none of these is such a sum, with weights above 0, itself."
            )
        return
    first = bound[0]
    weights = _combined(gram, first, bound, tolerance, False)
    assert weights is not None
    names = ", ".join(seen.names[i] for i in bound)
    yield (
        f"{names} are linearly dependent in the projections that all share: dW of {seen.names[first]} = "
        f"{_sum_of(seen, weights * scale[first] / scale)}. Which of them was made of the others this does "
        "not tell."
    )


def _combined(
    gram: np.ndarray, one: int, members: Sequence[int], tolerance: float, positive: bool
) -> np.ndarray | None:
    """The weights (n,) with which the other members make up one of norm 1; None where they do not.

    `gram` (n, n) are the cosines of all. A weight of another sign is that of no merge where `positive`.
    """
    from scipy.optimize import nnls

    others = [i for i in members if i != one]
    if not others:
        return None
    values, vectors = np.linalg.eigh(gram[np.ix_(others, others)])
    kept = values > 1e-8
    root = np.sqrt(values[kept])[:, None] * vectors[:, kept].T  # root^T root = gram
    target = vectors[:, kept].T @ gram[others, one] / np.sqrt(values[kept])
    found = nnls(root, target)[0] if positive else np.linalg.lstsq(root, target, rcond=None)[0]
    left = 1 - 2 * found @ gram[others, one] + found @ gram[np.ix_(others, others)] @ found
    if math.sqrt(max(float(left), 0.0)) > tolerance:
        return None
    weights = np.zeros(len(gram))
    weights[others] = found
    return weights


def _sum_of(seen: Comparison, weights: np.ndarray) -> str:
    """Weights (n,) as a sum of the adapters by name, without those that take no part."""
    mark = seen.marks(*range(len(weights)))
    terms = [(weight, seen.names[i]) for i, weight in enumerate(weights) if abs(weight) > 1e-3]
    text = " ".join(f"{'-' if weight < 0 else '+'} {abs(weight):.3g}{mark} {name}" for weight, name in terms)
    return text.removeprefix("+ ")


def _stored(adapter: Adapter) -> torch.dtype:
    A, _ = adapter.pairs[0].read()
    return A.dtype


def _by_label(seen: Comparison, first: int, second: int) -> Table:
    numbers = seen.numbers
    numbers = numbers[(numbers["first"] == first) & (numbers["second"] == second)]
    columns = {
        "cosine": "cosine of dW",
        "phi_right": "phi, input",
        "phi_right_chance": "chance",
        "phi_left": "output",
        "phi_left_chance": "chance",
        "top_right": "phi(1, 1), input",
        "top_left": "output",
        "shared_right": "dimensions shared, input",
        "shared_left": "output",
    }
    rows = []
    table = seen.agreement()
    labels = [
        *table.index,
        *(label for label in dict.fromkeys(numbers["projection"]) if label not in table.index),
    ]
    for label in labels[:24]:
        part = numbers[numbers["projection"] == label]
        if len(part):
            rows.append(Row((label, str(len(part))), tuple(Cell(_median(part[name])) for name in columns)))
    return Table(
        f"{seen.names[first]} and {seen.names[second]}, medians by kind of projection",
        ("", "modules"),
        tuple(columns.values()),
        (tuple(rows),),
        (
            "phi is over all directions of dW, phi(1, 1) of the top ones (chance 1/d). Shared dimensions "
            "are those beyond the largest principal cosine of random subspaces (99 %); – where the ranks are "
            "too large for d.",
        ),
    )


def _matrix(seen: Comparison) -> Table:
    """Cosines of dW over the projections that all share, above the diagonal; norms on it."""
    scale = np.sqrt(seen.inner.diagonal())
    rows = []
    for i, name in enumerate(seen.names):
        cells = [
            Cell(f"{scale[i]:.3g}{seen.marks(i)}", strong=True)
            if i == j
            else Cell(
                f"{seen.inner[i, j] / (scale[i] * scale[j]):.3f}{seen.marks_sums(i, j)}"
                if scale[i] * scale[j]
                else "–"
            )
            for j in range(len(seen.names))
        ]
        rows.append(Row((name,), tuple(cells)))
    return Table(
        "Cosine of dW over what all share",
        ("",),
        tuple(seen.names),
        (tuple(rows),),
        ("On the diagonal stands ||dW||.",),
    )


def _median(values: Any) -> str:
    middle = values.median()
    return "–" if math.isnan(middle) else f"{middle:.2g}"


def _directions(counts: Any, where: str) -> str:
    middle = _median(counts)
    return f"{middle} {where} direction{'s' * (middle != '1')}"


def _name(place: Place) -> str:
    return place[1] if place[0] is None else f"{place[1]} of layer {place[0] + 1}"


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _plain_grid(grid: np.ndarray) -> list[list[float | None]]:
    return [[_plain(round(value, 5)) for value in row] for row in grid.tolist()]
