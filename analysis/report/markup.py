"""Words as HTML, for the page's template."""

from __future__ import annotations

import re

from markupsafe import Markup, escape

_SYMBOL = re.compile(r"(?<!\w)(Δ?)(?:(W)_(q|k|v|o|up|down)|(d)_(in|out))(?!\w)")
_CODE = re.compile(r"`([^`]+)`")
_EQUAL = re.compile(r"\b([a-zA-Z]) = (?=\w)")
_MINUS = re.compile(r"(?<![\w)])-(?=\d)")


def prose(text: str) -> Markup:
    """Escaped; W_q and d_out as symbols, `words` as code, a minus before a number, "r = 8" on one line."""
    code = _CODE.sub(r"<code>\1</code>", str(escape(text)))
    symbols = _SYMBOL.sub(r"\1<i>\2\4</i><sub>\3\5</sub>", code)
    kept = _EQUAL.sub("\\1\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}", symbols)
    return Markup(_MINUS.sub("\N{MINUS SIGN}", kept))


def slug(*words: str | None) -> str:
    """A name for an anchor: letters, digits and hyphens; different words, different names."""
    text = "-".join(word for word in words if word)
    return re.sub(r"[^A-Za-z0-9-]", lambda found: f"_{ord(found[0]):x}", text)
