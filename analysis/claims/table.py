"""`python -m analysis claims`: the judgements as a table, a CSV, and the commands for what is missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from analysis.claims.accuracy import Answers
from analysis.claims.catalogue import ALPHA, CLAIMS, judge
from analysis.claims.evidence import missing_runs
from analysis.claims.judgement import VERDICTS, Judgement
from analysis.defaults import DEFAULT_MARGIN
from analysis.figures.words import basis_name
from analysis.provenance import provenance_of, stem_of, weight_sentence
from analysis.registry import SELECTION, command
from analysis.result import Cell, CommandLines, Result, Row, Table
from analysis.statistics.bootstrap import IN_WORDS
from analysis.tables.notes import normality_note
from analysis.tables.numbers import MISSING

if TYPE_CHECKING:
    import pandas as pd

    from analysis.reading.run import Run
    from analysis.selection import Selection


@command(
    "claims",
    "each claim of Section 7: supported, contradicted or undecided",
    selects=(*SELECTION, "split"),
    every_task=True,
    title="Verdicts",
    place="first",
)
def make(selection: Selection, margin: float = DEFAULT_MARGIN) -> Result:
    """The judgements of every claim on every task.

    Args:
        margin: what counts as equal accuracy, in points.

    Raises:
        AnalysisError: as `analysis.claims.judge`.
    """
    judgements = judge(selection, margin)
    commands, reasons = _commands(selection, judgements)
    missing = len({(found.task, need) for found in judgements for need in found.missing})
    lead = f"To train the {missing} run{'s' if missing > 1 else ''} that are missing:"
    lines = (*commands, *(f"# {reason}" for reason in reasons))
    names = {found.task for found in judgements}
    stem = stem_of(selection, "claims", split=True)
    return Result(
        stem if margin == DEFAULT_MARGIN else f"{stem}-margin{margin:g}",
        frame(judgements),
        {
            **provenance_of(
                selection,
                [run for run in selection.study.runs if run.settings["task"] in names],
                split=True,
                weights=True,
            ),
            "margin": margin,
            "alpha": ALPHA,
            "commands": commands,
        },
        tables=tables(selection, judgements, margin),
        judgements=judgements,
        commands=CommandLines(lead, lines) if missing else None,
    )


def tables(selection: Selection, judgements: Sequence[Judgement], margin: float) -> tuple[Table, ...]:
    """The claims of Section 7, then those made since where the study has what they are about.

    A row a claim, a group a task; below it what each claim and each number is.
    """
    of_paper = [found for found in judgements if not found.since]
    since = [found for found in judgements if found.since]
    made = [_table("Claims of Section 7", selection, of_paper, _general_notes(selection, of_paper, margin))]
    if since:
        made.append(_table("Claims made since", selection, since, _notes_since(selection)))
    return tuple(made)


def _table(
    title: str, selection: Selection, judgements: Sequence[Judgement], general: Sequence[str]
) -> Table:
    tasks = dict.fromkeys(found.task for found in judgements)
    several = len(tasks) > 1
    counts = Counter(found.verdict for found in judgements)
    told = ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS if counts[verdict])
    source = "source" if judgements[0].since else "section"
    return Table(
        title=f"{title} on study {selection.study.name}: {told}",
        labels=("task", source, "claim", "verdict") if several else (source, "claim", "verdict"),
        columns=tuple(judgements[0].cells),
        groups=tuple(
            tuple(_row(found, several) for found in judgements if found.task == task) for task in tasks
        ),
        notes=(*_claim_notes(judgements, several), *general),
    )


def frame(judgements: Sequence[Judgement]) -> pd.DataFrame:
    """One row a judgement, with the fields of `Judgement`."""
    import pandas as pd

    rows = [
        {
            **asdict(found),
            "missing": "; ".join(map(str, found.missing)),
            "commands": " ; ".join(found.commands),
        }
        for found in judgements
    ]
    counts = dict.fromkeys(("seeds", "examples", "needed", "needed_fewest", "needed_most"), "Int64")
    return pd.DataFrame(rows).astype({**counts, "margin": "float64"})


def _row(found: Judgement, several: bool) -> Row:
    labels = (found.section, found.claim, found.verdict)
    cells = tuple(Cell(text or MISSING) for text in found.cells.values())
    return Row((found.task, *labels) if several else labels, cells)


def _claim_notes(judgements: Sequence[Judgement], several: bool) -> list[str]:
    notes = []
    for claim in CLAIMS:
        found = [one for one in judgements if one.claim == claim.name]
        if not found:
            continue
        measured = next((one.statistic for one in found if one.statistic), "")
        sentences = [f"{claim.name}: {claim.statement}.", f"Value: {measured}." if measured else ""]
        sentences += [f"On {one.task}: {_lower(one.note)}" if several else one.note for one in found]
        notes.append(" ".join(filter(None, sentences)))
    return notes


def _lower(note: str) -> str:
    """Within a sentence; "W_q" stays as it is."""
    return note if note[1:2] in ("_", "") else note[0].lower() + note[1:]


def _notes_since(selection: Selection) -> list[str]:
    return [
        "Claims that others made after the paper, and what this study says of them. Intervals hold 95 %. "
        f"Accuracy: as above; {selection.split} split, {selection.checkpoint} checkpoint; no margin is "
        "granted, and p is corrected by Holm over a task's claims about accuracy made since. Learning rates "
        "and forgetting: Student's t over seeds, each claim by itself, at three seeds or more; a correlation "
        "is over settings, six at least, whose seeds are averaged. A claim with several parts is supported "
        "where all are, contradicted where one is; the part that settles it is shown.",
    ]


def _general_notes(selection: Selection, judgements: Sequence[Judgement], margin: float) -> list[str]:
    seed_values = {str(one.task): Answers(one, margin).seed_values() for one in selection.each_task()}
    intervals = (
        f"Intervals hold 95 %. Accuracy: paired {IN_WORDS}; {selection.split} split, {selection.checkpoint} "
        f"checkpoint; what counts as equal is {margin:g} point{'s' if margin != 1 else ''}, which a claim of "
        '"as good" grants (non-inferiority); p corrected by Holm over a task\'s claims about accuracy. Seed '
        f"effects are taken for normal.{normality_note(seed_values)} Geometry: Student's t over seeds, taken "
        "for normal too; all layers are taken, as this model's own, and each claim is tested by itself."
    )
    rule = (
        "A claim with several parts is supported where all are, contradicted where one is; the part that "
        "settles it is shown. With one seed an accuracy's interval is over examples alone, and nothing is "
        "decided; of geometry nothing is with fewer than three."
    )
    geometry = (
        f"Geometry of the runs that adapt {selection.targets}; directions: {basis_name(selection.basis)}."
    )
    layer = "" if selection.layer is None else f" Layer {selection.layer + 1} alone."
    used = _adapted(selection)
    return [intervals, rule, geometry + layer + (weight_sentence(selection, used) if used else "")]


def _adapted(selection: Selection) -> list[Run]:
    """The runs whose directions are held against W."""
    return [run for one in selection.each_task() for run in one.available()]


def _commands(selection: Selection, judgements: Sequence[Judgement]) -> tuple[list[str], list[str]]:
    """The lines that train all that is missing, task by task, and the reasons where there are none."""
    commands: list[str] = []
    reasons: list[str] = []
    for one in selection.each_task():
        missing = dict.fromkeys(
            need for found in judgements if found.task == one.task for need in found.missing
        )
        if missing:
            error = missing_runs(one, missing)
            commands += error.commands
            reasons += [error.reason] if error.reason else []
    return commands, reasons
