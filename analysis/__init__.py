"""Section 7 of the LoRA paper (Hu et al., arXiv 2106.09685) from finished runs; never trains.

    import analysis

    grid = analysis.phi(A1, A2)                         # eq. 4, all i and j; tensors or numpy arrays
    null = analysis.phi_null(*grid.shape, d=A1.shape[1])
    table7 = analysis.amplification(W, B, A, scaling)   # W before adaptation
    runs = analysis.load("study")                       # a pandas DataFrame, one row a finished run
    print(analysis.inspect("my-adapter").printed())     # of any adapter on disk; also compare and resize

Names are resolved on first use, so that `import analysis` imports neither torch nor matplotlib.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analysis.checkup.compare import compare
    from analysis.checkup.inspect import inspect
    from analysis.checkup.resize import from_full, resize
    from analysis.errors import AnalysisError
    from analysis.geometry.amplification import (
        amplification,
        null_projected_norm,
        own_projected_norms,
        projected_norm,
        random_projected_norms,
    )
    from analysis.geometry.dimensions import (
        energy_rank,
        entropy_rank,
        intruder_dimensions,
        participation_ratio,
        shared_dimension,
        stable_rank,
    )
    from analysis.geometry.nulls import empirical_null, phi_null, phi_quantile, z_scores
    from analysis.geometry.similarity import phi, phi_grid
    from analysis.geometry.subspaces import directions
    from analysis.geometry.svd import right_singular, thin_svd
    from analysis.geometry.weight_svd import top_directions
    from analysis.reading.adapters import read_adapter, read_deltas
    from analysis.reading.base_weights import BaseWeights
    from analysis.reading.pairs import open_adapter
    from analysis.reading.study import Study, load

__all__ = [
    "AnalysisError",
    "BaseWeights",
    "Study",
    "amplification",
    "compare",
    "directions",
    "empirical_null",
    "energy_rank",
    "entropy_rank",
    "from_full",
    "inspect",
    "intruder_dimensions",
    "load",
    "null_projected_norm",
    "open_adapter",
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
    "resize",
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
    "BaseWeights": "analysis.reading.base_weights",
    "directions": "analysis.geometry.subspaces",
    "top_directions": "analysis.geometry.weight_svd",
    **dict.fromkeys(("Study", "load"), "analysis.reading.study"),
    **dict.fromkeys(_AMPLIFICATION, "analysis.geometry.amplification"),
    **dict.fromkeys(("empirical_null", "phi_null", "phi_quantile", "z_scores"), "analysis.geometry.nulls"),
    **dict.fromkeys(("phi", "phi_grid"), "analysis.geometry.similarity"),
    **dict.fromkeys(("read_adapter", "read_deltas"), "analysis.reading.adapters"),
    **dict.fromkeys(_SPECTRA, "analysis.geometry.dimensions"),
    "compare": "analysis.checkup.compare",
    "inspect": "analysis.checkup.inspect",
    "open_adapter": "analysis.reading.pairs",
    **dict.fromkeys(("from_full", "resize"), "analysis.checkup.resize"),
    **dict.fromkeys(("right_singular", "thin_svd"), "analysis.geometry.svd"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'analysis' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
