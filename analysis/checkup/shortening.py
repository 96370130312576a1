"""Long names of modules for a narrow place, cut where they are alike and not where they differ."""

from __future__ import annotations

import re
from collections.abc import Sequence


def shortened(names: Sequence[str], width: int) -> list[str]:
    """Names of about `width` characters at most, different where the names are.

    Of the long ones the words go that all of them have; where that is not enough the middle, so that both the
    beginning (which block) and the end (which module) stay. Where so few characters do not tell the names
    apart, more are taken.

    Args:
        names: of modules, words between dots or underscores.
    """
    words = {name: _words(name) for name in names if len(name) > width}
    short = {name for name in names if len(name) <= width}
    if not words:
        return [*names]
    common = set.intersection(*map(set, words.values())) if len(words) > 1 else set()
    tried = [{name: _without(own, common) for name, own in words.items()}]
    for allowed in range(width, max(map(len, words)) + 8, 8):
        for head in range(max(map(len, words.values()))):
            tried.append({name: _cut(own, head, allowed) for name, own in words.items()})
    usable = [found for found in tried if len({*found.values()} | short) == len(words) + len(short)]
    best = min(usable, key=lambda found: max(width, *map(len, found.values())), default={})
    return [best.get(name, name) for name in names]


def _words(name: str) -> list[str]:
    """Between dots, or underscores where there are none, each with the one behind it."""
    return re.findall(r"[^.]*\.|[^.]+" if "." in name else r"[^_]*_|[^_]+", name)


def _without(words: Sequence[str], common: set[str]) -> str:
    """An ellipsis for each run of common words; the last word stays."""
    kept = [
        word if word not in common or place == len(words) - 1 else "…" for place, word in enumerate(words)
    ]
    return re.sub("…+", "…", "".join(kept))


def _cut(words: Sequence[str], head: int, width: int) -> str:
    """The first `head` words, and as many of the last as fit; an ellipsis for what is gone."""
    first = "".join(words[:head]) + "…"
    last = ""
    for word in reversed(words[head:]):
        if last and len(first) + len(word) + len(last) > width:
            break
        last = word + last
    return first + last
