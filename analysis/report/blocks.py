"""What the commands have made, as blocks of the page: each stands where its command is registered for."""

from __future__ import annotations

import base64
import dataclasses
import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from analysis.claims.judgement import Judgement
from analysis.registry import COMMANDS, Made, Place
from analysis.report.words import slug
from analysis.result import Drawing, Result, Table, rendered

DPI = 200
"""Of the images: as wide as the page on a usual screen, and half the bytes of those for print."""
Z_SUFFIX = "-z"


@dataclass(frozen=True)
class Picture:
    """A figure on the page.

    Attributes:
        source: a data URL.
        width, height: in pixels.
        alternative: what it shows, in words, for who cannot see it.
        caption: below it.
        reading: the rest of the caption, where that is how to read the figure; else empty.
    """

    source: str
    width: int
    height: int
    alternative: str
    caption: str
    reading: str


@dataclass(frozen=True)
class Block:
    """A command's result, of one task or of all.

    Attributes:
        anchor: its name in links.
        title: of its command.
        task: None where it is of all tasks.
        is_made: else the page says what is missing.
        answers, judgements: as the result's.
        pictures, tables: what is seen at once.
        z_scores: the picture of z-scores, folded.
        folded: tables that are long, or go on with columns of the one before.
    """

    anchor: str
    title: str
    task: str | None
    is_made: bool = True
    answers: Sequence[str] = ()
    judgements: Sequence[Judgement] = ()
    pictures: Sequence[Picture] = ()
    tables: Sequence[Table] = ()
    z_scores: Picture | None = None
    folded: Sequence[Table] = ()


def blocks(made: Made, place: Place) -> list[Block]:
    """All that stand in one place, in the order of their commands, then of tasks."""
    return [
        _block(name, task, outcome)
        if isinstance(outcome, Result)
        else Block(slug(name, task), title_of(name), task, is_made=False)
        for (name, task), outcome in made.items()
        if COMMANDS[name].place == place
    ]


def title_of(command: str) -> str:
    """In headings and links: the title that it is registered with, or its name."""
    return COMMANDS[command].title or command


def judged(made: Made) -> list[Judgement]:
    """The judgements of the claims; none where these could not be made."""
    results = (outcome for outcome in made.values() if isinstance(outcome, Result))
    return [found for result in results for found in result.judgements]


@functools.lru_cache(maxsize=128)
def image(drawing: Drawing) -> bytes:
    """The figure as PNG, for a screen."""
    return rendered(drawing, "png", drawing.caption.partition(".")[0], DPI)


def picture(drawing: Drawing, alternative: str) -> Picture:
    """The figure with its words."""
    data = image(drawing)
    width, height = (int.from_bytes(data[start : start + 4], "big") for start in (16, 20))  # of the header
    encoded = base64.b64encode(data).decode()
    lead = drawing.lead or drawing.caption
    reading = drawing.caption.removeprefix(lead).strip()
    return Picture(f"data:image/png;base64,{encoded}", width, height, alternative, lead, reading)


def _block(name: str, task: str | None, result: Result) -> Block:
    shows = f"{title_of(name)}: {COMMANDS[name].help}{f', task {task}' if task else ''}"
    drawn = {suffix: drawing for suffix, drawing in result.drawings.items() if suffix != Z_SUFFIX}
    z = result.drawings.get(Z_SUFFIX)
    tables = [*_noted_once(result.tables)]
    seen = [table for table, before in zip(tables, [None, *tables], strict=False) if _is_seen(table, before)]
    return Block(
        slug(name, task),
        title_of(name),
        task,
        answers=result.answers,
        judgements=result.judgements,
        pictures=[picture(drawing, shows) for drawing in drawn.values()],
        tables=seen,
        z_scores=picture(z, f"{shows}, as z-scores") if z else None,
        folded=[table for table in tables if table not in seen],
    )


def _is_seen(table: Table, before: Table | None) -> bool:
    return not table.long and (before is None or table.title != before.title)


def _noted_once(tables: Sequence[Table]) -> Iterator[Table]:
    """The tables, each note below the first that has it."""
    told: set[str] = set()
    for table in tables:
        yield dataclasses.replace(table, notes=tuple(note for note in table.notes if note not in told))
        told.update(table.notes)
