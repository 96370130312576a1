"""Section 7 of the LoRA paper (Hu et al., arXiv 2106.09685) from finished runs; never trains.

    import analysis

    grid = analysis.phi(A1, A2)                         # eq. 4, all i and j; tensors or numpy arrays
    null = analysis.phi_null(*grid.shape, d=A1.shape[1])
    table7 = analysis.amplification(W, B, A, scaling)   # W before adaptation
    runs = analysis.load("study")                       # a pandas DataFrame, one row a finished run

Names are resolved on first use, so that `import analysis` imports neither torch nor matplotlib.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analysis.adapters import read_adapter, read_deltas
    from analysis.amplifying import (
        amplification,
        null_projected_norm,
        own_projected_norms,
        projected_norm,
        random_projected_norms,
    )
    from analysis.base_weights import BaseWeights
    from analysis.dimensions import (
        energy_rank,
        entropy_rank,
        intruder_dimensions,
        participation_ratio,
        shared_dimension,
        stable_rank,
    )
    from analysis.errors import AnalysisError
    from analysis.nulls import empirical_null, phi_null, phi_quantile, z_scores
    from analysis.similarity import phi, phi_grid
    from analysis.study import Study, load
    from analysis.subspaces import directions
    from analysis.svd import right_singular, thin_svd
    from analysis.weight_svd import top_directions

__all__ = [
    "AnalysisError",
    "BaseWeights",
    "Study",
    "amplification",
    "directions",
    "empirical_null",
    "energy_rank",
    "entropy_rank",
    "intruder_dimensions",
    "load",
    "null_projected_norm",
    "own_projected_norms",
    "participation_ratio",
    "phi",
    "phi_grid",
    "phi_null",
    "phi_quantile",
    "projected_norm",
    "random_projected_norms",
    "read_adapter",
    "read_deltas",
    "right_singular",
    "shared_dimension",
    "stable_rank",
    "thin_svd",
    "top_directions",
    "z_scores",
]

_AMPLIFICATION = (
    "amplification",
    "null_projected_norm",
    "own_projected_norms",
    "projected_norm",
    "random_projected_norms",
)
_SPECTRA = (
    "energy_rank",
    "entropy_rank",
    "intruder_dimensions",
    "participation_ratio",
    "shared_dimension",
    "stable_rank",
)
_HOME = {
    "AnalysisError": "analysis.errors",
    "BaseWeights": "analysis.base_weights",
    "directions": "analysis.subspaces",
    "top_directions": "analysis.weight_svd",
    **dict.fromkeys(("Study", "load"), "analysis.study"),
    **dict.fromkeys(_AMPLIFICATION, "analysis.amplifying"),
    **dict.fromkeys(("empirical_null", "phi_null", "phi_quantile", "z_scores"), "analysis.nulls"),
    **dict.fromkeys(("phi", "phi_grid"), "analysis.similarity"),
    **dict.fromkeys(("read_adapter", "read_deltas"), "analysis.adapters"),
    **dict.fromkeys(_SPECTRA, "analysis.dimensions"),
    **dict.fromkeys(("right_singular", "thin_svd"), "analysis.svd"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'analysis' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
