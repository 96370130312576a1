"""What the command line and the library choose by: the names, and what is taken where nothing is said.

Nothing here imports torch.
"""

from __future__ import annotations

from pathlib import Path

DEFAULT_ROOT = Path("outputs")
"""The folder of studies: run.py's."""

BASES = ("A", "dW-right", "dW-left", "B", "A-A0")
"""Whose singular vectors, by name; captions and tables name the one used (`analysis.geometry.subspaces`)."""

CHECKPOINTS = ("last", "best")
"""The last step, or the best evaluation on dev."""

SPLITS = ("dev", "test")
"""Whose answers, where accuracies are compared."""

DEFAULT_TARGETS, DEFAULT_BASIS, DEFAULT_CHECKPOINT, DEFAULT_SPLIT = "qv", "A", "last", "test"

DEFAULT_DEVICE = "cpu"
"""The one that every machine has."""

DEFAULT_MARGIN = 1.0
"""Accuracies that differ by less count as equal, in points."""
WHOLE_BELOW = 1024
"""Up to this smaller dimension of W a check-up decomposes matrices of its size unasked."""
