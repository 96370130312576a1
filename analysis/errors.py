"""The one error that analysis raises on purpose."""


class AnalysisError(ValueError):
    """What was given cannot be analysed: one line with what was given, what is valid and what to do."""
