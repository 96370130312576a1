"""What a command prints, on any terminal: what its encoding does not have is written in other letters.

Standard library alone, so that a page of help costs nothing.
"""

from __future__ import annotations

import codecs
import io
import os
import sys
import unicodedata
from collections.abc import Callable

BROKEN = 1
"""The exit status where standard output could not take what was printed."""

_PLAIN = {
    "±": "+/-",
    "×": "x",
    "−": "-",
    "–": "-",
    "—": "-",
    "…": "...",
    "‖": "||",
    "✓": "+",
    "✗": "-",
    "Δ": "d",
    "φ": "phi",
}
"""This project's symbols in ASCII, as its formulas in code have them."""


def spoken(main: Callable[[], int]) -> int:
    """The exit status of a command's `main`, whatever its standard output is.

    A character that the output's encoding lacks (ASCII, Latin-1, a Windows code page), or a file name that
    is no text, never stops a command. A reader that has what it wanted, such as head, ends it without a
    word; an output that is full ends it with one line.
    """
    speak_plainly()
    try:
        status = main()
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        if not isinstance(error, BrokenPipeError):
            print(f"error: {error}", file=sys.stderr)
        status = BROKEN
        # Nothing is left to fail at exit.
        if sys.stdout is not None:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return status


def speak_plainly() -> None:
    """Let standard output and error take every text; their encodings stay what they are."""
    codecs.register_error("plain", _plain)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="plain")


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(_in_ascii(character) for character in text), error.end


def _in_ascii(character: str) -> str:
    """The project's spelling, else the letters without accents, else a question mark."""
    if character in _PLAIN:
        return _PLAIN[character]
    return unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode() or "?"
