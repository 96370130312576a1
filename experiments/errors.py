"""The error for what a user can mend: shown as one line, without a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """The message names what was given, what is valid, and what to do."""


class HubError(UserError):
    """Data of the hub that is out of reach: there is no network, or no such data."""


def nearest(word: str, choices: Iterable[str]) -> str:
    """ " Did you mean ...?" where one choice is closer to the word than the others, else nothing."""
    close = difflib.get_close_matches(str(word), list(choices), n=2)
    alike = [difflib.SequenceMatcher(None, choice, str(word)).ratio() for choice in close]
    return f"; did you mean {close[0]}?" if len(set(alike)) == len(close) > 0 else ""
