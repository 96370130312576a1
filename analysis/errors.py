"""The error that analysis raises on purpose, and the kinds of it that some catch."""


class AnalysisError(ValueError):
    """What was given cannot be analysed: one line with what was given, what is valid and what to do."""


class LackingError(AnalysisError):
    """The study has not the runs that this is made of."""


class NotMeasuredError(AnalysisError):
    """A run has no score of the metric that is asked for."""


class UsageError(AnalysisError):
    """Arguments that do not go together, whatever the files say."""
