"""One heat map of phi(i, j) as numbers: the grid, its null, what is blanked and what is not determined."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from analysis.errors import AnalysisError

if TYPE_CHECKING:
    import pandas as pd

    from analysis.geometry.subspaces import Directions

QUANTILE = 0.99
"""Cells whose phi is at most this quantile of the null are hatched: not beyond chance."""

BEYOND = 2.0
"""Cells with a z-score above this are outlined in the figure of z."""

Grid = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class OtherLayers:
    """The second null: phi between the same two runs, but of different layers (`empirical_null`).

    Attributes:
        mean: (n1, n2), NaN where no pair of layers has a value.
        std: (n1, n2), over the pairs.
        pairs: how many pairs of layers.
    """

    mean: Grid
    std: Grid
    pairs: int


@dataclass(frozen=True)
class Panel:
    """phi(i, j) for i = 1..n1 (rows) and j = 1..n2 (columns).

    Attributes:
        title: what stands above it.
        d: the dimension of the space.
        phi: (n1, n2), NaN where a subspace is not defined (beyond the numerical rank, or dW = 0).
        mean: (n1, n2), the null's mean max(i, j)/d (PAPER 5.4).
        limit: (n1, n2), the null's `QUANTILE`.
        z: (n1, n2), phi in the null's standard deviations from its mean; NaN where these are 0.
        arbitrary_i: (n1,), True where singular values i and i + 1 nearly agree: the top i are arbitrary.
        arbitrary_j: (n2,), the same for j.
        shown: (n1, n2), False where the figure leaves the cell blank.
        labels: what the panel compares, in the CSV: layer (from 1), weight, ranks, seeds, ...
        others: the second null, where the figure has it.
    """

    title: str
    d: int
    phi: Grid
    mean: Grid
    limit: Grid
    z: Grid
    arbitrary_i: Flags
    arbitrary_j: Flags
    shown: Flags
    labels: Mapping[str, Any]
    others: OtherLayers | None = None

    @property
    def shape(self) -> tuple[int, int]:
        return self.phi.shape[0], self.phi.shape[1]

    @property
    def beyond_chance(self) -> Flags:
        """(n1, n2), where phi is above the null's `QUANTILE`."""
        return self.shown & (self.phi > self.limit)

    @property
    def outlined(self) -> Flags:
        """(n1, n2), where z is above `BEYOND`."""
        return self.shown & (self.z > BEYOND)

    def values(self, z: bool) -> Grid:
        return self.z if z else self.phi

    def undefined(self, z: bool) -> Flags:
        """(n1, n2), cells that should have a value and have none."""
        return self.shown & np.isnan(self.values(z))


def similarity(
    rows: Directions,
    columns: Directions,
    title: str,
    labels: Mapping[str, Any],
    others: OtherLayers | None = None,
) -> Panel:
    """phi between the top i of `rows` and the top j of `columns`, both in R^d.

    Raises:
        AnalysisError: the two lie in spaces of different dimension.
    """
    from analysis.geometry.nulls import phi_null, z_scores
    from analysis.geometry.similarity import phi_grid
    from analysis.geometry.svd import arbitrary_tops

    d = rows.vectors.shape[1]
    if columns.vectors.shape[1] != d:
        raise AnalysisError(
            f"{title}: directions of R^{d} and of R^{columns.vectors.shape[1]} have no common subspace; "
            f"compare the same projection of the same model"
        )
    phi = array(phi_grid(rows.vectors, columns.vectors))
    n1, n2 = phi.shape
    return Panel(
        title=title,
        d=d,
        phi=phi,
        mean=array(phi_null(n1, n2, d).mean),
        limit=_limit(n1, n2, d),
        z=array(z_scores(phi, d)),
        arbitrary_i=array(arbitrary_tops(rows.values), bool),
        arbitrary_j=array(arbitrary_tops(columns.values), bool),
        shown=np.ones(phi.shape, dtype=bool),
        labels=labels,
        others=others,
    )


def zoom(panel: Panel, size: int, title: str) -> Panel:
    """The first `size` columns and rows, with the cells above the diagonal (j > i) blank."""
    rows, columns = (min(size, count) for count in panel.shape)
    part = np.s_[:rows, :columns]
    others = panel.others
    return replace(
        panel,
        title=title,
        phi=panel.phi[part],
        mean=panel.mean[part],
        limit=panel.limit[part],
        z=panel.z[part],
        others=None if others is None else OtherLayers(others.mean[part], others.std[part], others.pairs),
        arbitrary_i=panel.arbitrary_i[:rows],
        arbitrary_j=panel.arbitrary_j[:columns],
        shown=np.tri(rows, columns, dtype=bool),
    )


def frame(panels: Iterable[Panel]) -> pd.DataFrame:
    """Every number of the panels, a row for each cell shown.

    labels, d, i, j, phi; null_mean, null_q99 (its `QUANTILE`) and z by the closed form; arbitrary: 1 where
    near-equal singular values leave the top i or the top j undetermined; and, where a panel has the second
    null, its other_layers_mean and other_layers_sd.
    """
    import pandas as pd

    parts = []
    for panel in panels:
        i, j = np.nonzero(panel.shown)
        columns = {
            **dict(panel.labels),
            "d": panel.d,
            "i": i + 1,
            "j": j + 1,
            "phi": panel.phi[i, j],
            "null_mean": panel.mean[i, j],
            f"null_q{round(100 * QUANTILE)}": panel.limit[i, j],
            "z": panel.z[i, j],
            "arbitrary": (panel.arbitrary_i[i] | panel.arbitrary_j[j]).astype(int),
        }
        if panel.others is not None:
            columns["other_layers_mean"] = panel.others.mean[i, j]
            columns["other_layers_sd"] = panel.others.std[i, j]
        parts.append(pd.DataFrame(columns))
    return pd.concat(parts, ignore_index=True)


@lru_cache(maxsize=16)
def _limit(n1: int, n2: int, d: int) -> Grid:
    """The null's `QUANTILE` for i = 1 .. n1 and j = 1 .. n2; many panels have the same."""
    from analysis.geometry.nulls import phi_quantile

    return array(phi_quantile(np.arange(1, n1 + 1)[:, None], np.arange(1, n2 + 1), d, QUANTILE))


def array(values: Any, dtype: Any = np.float64) -> NDArray[Any]:
    """A tensor, on any device, or an array as a numpy array."""
    return np.asarray(values.cpu() if hasattr(values, "cpu") else values, dtype=dtype)
