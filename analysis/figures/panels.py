"""One heat map of phi(i, j) as numbers: the grid, its null, what is blanked and what is not determined."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from analysis.errors import AnalysisError

if TYPE_CHECKING:
    import pandas as pd

    from analysis.subspaces import Directions

BEYOND = 2.0
"""Cells with a z-score above this are outlined: phi > mean + 2 standard deviations of the null."""

Grid = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Panel:
    """phi(i, j) for i = 1..n1 (rows) and j = 1..n2 (columns).

    Attributes:
        title: what stands above it.
        phi: (n1, n2), NaN where a subspace is not defined (beyond the numerical rank, or dW = 0).
        mean: (n1, n2), the null's mean max(i, j)/d (PAPER 5.4).
        z: (n1, n2), phi in the null's standard deviations from its mean; NaN where these are 0.
        arbitrary_i: (n1,), True where singular values i and i + 1 nearly agree: the top i are arbitrary.
        arbitrary_j: (n2,), the same for j.
        shown: (n1, n2), False where the figure leaves the cell blank.
        labels: what the panel compares, in the CSV: layer (from 1), weight, ranks, seeds, ...
    """

    title: str
    phi: Grid
    mean: Grid
    z: Grid
    arbitrary_i: Flags
    arbitrary_j: Flags
    shown: Flags
    labels: Mapping[str, Any]

    @property
    def shape(self) -> tuple[int, int]:
        return self.phi.shape[0], self.phi.shape[1]

    @property
    def d(self) -> int:
        """The dimension of the space: the null's mean of phi(1, 1) is 1/d."""
        return round(1 / float(self.mean[0, 0]))

    @property
    def beyond_null(self) -> Flags:
        """(n1, n2), the cells to outline."""
        return self.shown & (np.nan_to_num(self.z, nan=0.0) > BEYOND)

    def values(self, z: bool) -> Grid:
        return self.z if z else self.phi

    def undefined(self, z: bool) -> Flags:
        """(n1, n2), cells that should have a value and have none."""
        return self.shown & np.isnan(self.values(z))


def similarity(
    rows: Directions, columns: Directions, title: str, labels: Mapping[str, Any], top: int | None = None
) -> Panel:
    """phi between the top i of `rows` and the top j of `columns`, both in R^d.

    Args:
        top: how many of `rows` to compare with; all by default.

    Raises:
        AnalysisError: the two lie in spaces of different dimension.
    """
    from analysis.nulls import phi_null, z_scores
    from analysis.similarity import phi_grid

    d = rows.vectors.shape[1]
    if columns.vectors.shape[1] != d:
        raise AnalysisError(
            f"{title}: directions of R^{d} and of R^{columns.vectors.shape[1]} have no common subspace; "
            f"compare the same projection of the same model"
        )
    count = rows.vectors.shape[0] if top is None else min(top, rows.vectors.shape[0])
    phi = _array(phi_grid(rows.vectors[:count], columns.vectors))
    n1, n2 = phi.shape
    null = phi_null(n1, n2, d)
    return Panel(
        title=title,
        phi=phi,
        mean=_array(null.mean),
        z=_array(z_scores(phi, d)),
        arbitrary_i=_arbitrary(rows)[:count],
        arbitrary_j=_arbitrary(columns),
        shown=np.ones(phi.shape, dtype=bool),
        labels=labels,
    )


def zoom(panel: Panel, size: int, title: str) -> Panel:
    """The first `size` columns and rows, with the cells above the diagonal (j > i) blank."""
    rows, columns = (min(size, count) for count in panel.shape)
    return replace(
        panel,
        title=title,
        phi=panel.phi[:rows, :columns],
        mean=panel.mean[:rows, :columns],
        z=panel.z[:rows, :columns],
        arbitrary_i=panel.arbitrary_i[:rows],
        arbitrary_j=panel.arbitrary_j[:columns],
        shown=np.tri(rows, columns, dtype=bool),
    )


def frame(panels: Iterable[Panel]) -> pd.DataFrame:
    """Every number of the panels, a row for each cell shown: labels, i, j, phi, null_mean, z, arbitrary."""
    import pandas as pd

    parts = []
    for panel in panels:
        i, j = np.nonzero(panel.shown)
        parts.append(
            pd.DataFrame(
                {
                    **dict(panel.labels),
                    "i": i + 1,
                    "j": j + 1,
                    "phi": panel.phi[i, j],
                    "null_mean": panel.mean[i, j],
                    "z": panel.z[i, j],
                    "arbitrary": (panel.arbitrary_i[i] | panel.arbitrary_j[j]).astype(int),
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def _arbitrary(directions: Directions) -> Flags:
    """(n,): between the last direction and what is left out there is no gap to judge."""
    close = np.zeros(directions.vectors.shape[0], dtype=bool)
    close[:-1] = np.asarray(directions.near_equal().cpu(), dtype=bool)
    return close


def _array(values: Any) -> Grid:
    return np.asarray(values.cpu() if hasattr(values, "cpu") else values, dtype=np.float64)
