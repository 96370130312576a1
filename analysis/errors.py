"""The error that analysis raises on purpose, and the kinds of it that some catch."""

from __future__ import annotations

from collections.abc import Sequence


class AnalysisError(ValueError):
    """What was given cannot be analysed: one line with what was given, what is valid and what to do."""


class LackingError(AnalysisError):
    """The study has not the runs that this is made of.

    Attributes:
        cells: targets and rank of the LoRA runs that it lacks, where these are known.
        methods: the other methods of which it lacks runs.
    """

    def __init__(
        self, message: str, cells: Sequence[tuple[str, int]] = (), methods: Sequence[str] = ()
    ) -> None:
        super().__init__(message)
        self.cells = tuple(cells)
        self.methods = tuple(methods)


class NotMeasuredError(AnalysisError):
    """A run has no score of the metric that is asked for."""


class UsageError(AnalysisError):
    """Arguments that do not go together, whatever the files say."""
