"""The planted study."""

from tests.analysis.planted import planted

__all__ = ["planted"]
