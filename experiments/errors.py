"""The error for what a user can mend: shown as one line, without a traceback."""


class UserError(Exception):
    """The message names what was given, what is valid, and what to do."""
