"""Words of the page's template: text as HTML, anchors, and what stands beside a verdict."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from importlib.resources import files
from typing import TYPE_CHECKING

from markupsafe import Markup, escape

from analysis.claims.judgement import SMALL_P, Judgement, Verdict

if TYPE_CHECKING:
    from jinja2 import Environment

MARKS: dict[Verdict, str] = {"supported": "✓", "contradicted": "✗", "undecided": "?", "not testable": "–"}
"""A sign for each verdict, which stands beside its name."""

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


def environment() -> Environment:
    """Of the pages' templates, whose names are paths in this package; what is undefined is an error."""
    import jinja2

    found = jinja2.Environment(
        loader=jinja2.PackageLoader("analysis", ""),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    found.filters["prose"] = prose
    return found


def style() -> str:
    """The pages' style sheet."""
    return files("analysis.report").joinpath("page.css").read_text(encoding="utf-8")


def slug(*words: str | None) -> str:
    """A name for an anchor: letters, digits and hyphens; different words, different names."""
    text = "-".join(word for word in words if word)
    return re.sub(r"[^A-Za-z0-9-]", lambda found: f"_{ord(found[0]):x}", text)


def by_origin(judgements: Sequence[Judgement]) -> dict[bool, list[Judgement]]:
    """The paper's claims (False), and those made since (True) where there are any."""
    found: dict[bool, list[Judgement]] = {}
    for one in judgements:
        found.setdefault(one.since, []).append(one)
    return found


def by_claim(judgements: Sequence[Judgement]) -> dict[str, list[Judgement]]:
    """Claim by claim, a judgement a task."""
    names = dict.fromkeys(found.claim for found in judgements)
    return {name: [found for found in judgements if found.claim == name] for name in names}


def counted(judgements: Sequence[Judgement]) -> dict[str, str]:
    """By task, how many claims have each verdict, in words."""
    tasks = dict.fromkeys(found.task for found in judgements)
    counts = {task: Counter(found.verdict for found in judgements if found.task == task) for task in tasks}
    return {
        task: ", ".join(f"{found[verdict]} {verdict}" for verdict in MARKS if found[verdict])
        for task, found in counts.items()
    }


def effect(found: Judgement) -> str:
    """The value, with its interval; empty where there is none."""
    value, interval = found.cells["value"], found.cells["interval"]
    return f"{value} ({interval})" if interval else value


def pieces(found: Judgement) -> list[str]:
    """What else there is to say of the effect, in short pieces."""
    cells = found.cells
    told = [f"{word} {cells[word]}" for word in ("wanted", "paper") if cells[word]]
    if cells["p"]:
        told.append(f"p < {SMALL_P}" if found.p_holm < SMALL_P else f"p = {cells['p']}")
    if found.seeds is not None:
        told.append(f"{found.seeds} seed{'s' * (found.seeds != 1)}")
    if found.needed is not None:
        told.append(f"{cells['more seeds']} more would decide")
    return told
