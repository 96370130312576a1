"""`python -m analysis report`: the page, put together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, get_args

from analysis.claims.judgement import Judgement
from analysis.defaults import DEFAULT_MARGIN, DEFAULT_TARGETS
from analysis.errors import AnalysisError
from analysis.figures.words import listed
from analysis.provenance import stem_of
from analysis.reading.run import Run
from analysis.registry import SELECTION, Made, Place, command, make_each
from analysis.report import origin
from analysis.report.blocks import blocks, judged, picture, title_of
from analysis.report.curves import curves, histories
from analysis.report.gaps import gaps
from analysis.report.runs import costs, each_run, letters, totals
from analysis.report.words import (
    MARKS,
    by_claim,
    by_origin,
    counted,
    effect,
    environment,
    pieces,
    slug,
    style,
)
from analysis.result import Drawing, Result, csv_bytes

if TYPE_CHECKING:
    from analysis.selection import Selection

TEMPLATE = "report/page.html.j2"


@command(
    "report",
    "one HTML page with all of these, learning curves, costs and provenance",
    selects=(*SELECTION, "split", "wandb", "project"),
    every_task=True,
)
def make(selection: Selection, margin: float = DEFAULT_MARGIN, made: Made | None = None) -> Result:
    """The page, with a CSV of what each run cost and the learning curves as figures of their own.

    Whatever cannot be made is named on the page, with the reason.

    Args:
        margin: what counts as equal accuracy, in points.
        made: results of the other commands on this selection, not to be made again; what it lacks is added.

    Raises:
        AnalysisError: the selection names settings that the study does not have.
    """
    outcomes = make_each(selection, {"margin": margin}, {} if made is None else made)
    runs = runs_of(selection)
    history, without = histories([run for run in runs if run.settings["method"] != "none"])
    tasks = [one.task for one in selection.each_task() if one.task]
    drawings = _learning(runs, tasks, history)
    frame = costs(runs)
    page = _render(selection, margin, outcomes, runs, tasks, drawings, without, frame)
    stem = stem_of(selection, "report", split=True)
    lacking = [key for key, outcome in outcomes.items() if isinstance(outcome, AnalysisError)]
    return Result(
        stem if margin == DEFAULT_MARGIN else f"{stem}-margin{margin:g}",
        frame,
        {
            "study": selection.study.name,
            "task": selection.task or tasks,
            "checkpoint": selection.checkpoint,
            "split": selection.split,
            "margin": margin,
            "runs": [run.id for run in runs],
            "left_out": [name for name, _ in selection.study.left_out],
            "without_history": without,
            "not_made": [" ".join(filter(None, key)) for key in lacking],
        },
        drawings={f"-curves-{task}" if len(tasks) > 1 else "-curves": d for task, d in drawings.items()},
        texts={".html": page, **({"-curves.csv": csv_bytes(history).decode()} if drawings else {})},
        terminal=_summary(judged(outcomes), lacking),
    )


def runs_of(selection: Selection) -> list[Run]:
    """The runs of the selection's tasks and seeds, whatever their method and settings."""
    return [
        run
        for run in selection.study.runs
        if selection.task in (None, run.settings["task"])
        and (selection.seeds is None or run.settings["seed"] in selection.seeds)
    ]


def _learning(runs: Sequence[Run], tasks: Iterable[str], history: Any) -> dict[str, Drawing]:
    drawn = {
        task: curves(task, [run for run in runs if run.settings["task"] == task], history) for task in tasks
    }
    return {task: drawing for task, drawing in drawn.items() if drawing}


def _summary(judgements: Sequence[Judgement], lacking: Sequence[tuple[str, str | None]]) -> str:
    """For the terminal: the verdicts, and what the page says is missing."""
    lines = [f"{task}: {told}" for task, told in counted(judgements).items()]
    names = [f"{title_of(command)}{f' on {task}' if task else ''}" for command, task in lacking]
    return "\n".join([*lines, *([f"not in the report, which says why: {', '.join(names)}"] if names else [])])


def _render(
    selection: Selection,
    margin: float,
    made: Made,
    runs: Sequence[Run],
    tasks: Sequence[str],
    learning: dict[str, Drawing],
    without: dict[str, str],
    frame: Any,
) -> str:
    templates = environment()
    templates.filters |= {"slug": slug, "by_origin": by_origin, "by_claim": by_claim, "counted": counted}
    templates.filters |= {"effect": effect, "pieces": pieces}
    template = templates.get_template(TEMPLATE)
    try:
        trained, untold = origin.training_commands(selection, runs), ""
    except AnalysisError as error:
        trained, untold = [], str(error)
    shows = "Line charts of the training loss, and of dev where it was evaluated, of every run on"
    return template.render(
        style=style(),
        study=selection.study.name,
        about=_about(selection, runs, tasks),
        tasks=tasks,
        several=len(tasks) > 1,
        marks=MARKS,
        blocks={place: blocks(made, place) for place in get_args(Place)},
        learning={task: picture(drawing, f"{shows} {task}") for task, drawing in learning.items()},
        without=without,
        totals=totals(frame) if runs else None,
        each=each_run(runs, frame, selection.checkpoint) if runs else None,
        left_out=selection.study.left_out,
        gaps=gaps(selection, made),
        settings=[origin.shared_settings(runs), origin.differing_settings(runs)] if runs else [],
        sources=[*([origin.sources(runs)] if runs else []), origin.analysis_sources()],
        trained=trained,
        untold=untold,
        command=origin.analysis_command(selection, margin),
    )


def _about(selection: Selection, runs: Sequence[Run], tasks: Sequence[str]) -> str:
    """The sentence under the title."""
    if not runs:
        return "No run of this study is finished."
    models = sorted({origin.model_name(run) for run in runs})
    size = _size(runs) if len(models) == 1 else ""
    seeds = sorted({run.settings["seed"] for run in runs})
    told = listed(seeds)
    if len(seeds) > 2 and seeds == [*range(seeds[0], seeds[-1] + 1)]:
        told = f"{seeds[0]} to {seeds[-1]}"
    return (
        f"{len(runs):,} finished run{'s' * (len(runs) > 1)} of {listed(models)}{size} on "
        f"{listed(tasks)}, seed{'s' * (len(seeds) > 1)} {told}. Figures and Table 7 are of the runs that "
        f"adapt {selection.targets}{' (the default)' * (selection.targets == DEFAULT_TARGETS)}; "
        f"{selection.checkpoint} checkpoint, {selection.split} split.{_chosen(selection)}"
    )


def _chosen(selection: Selection) -> str:
    """Which runs --choose has left for what is compared; learning curves and costs are of all."""
    told = listed([f"{key} = {value}" for key, value in selection.choice.items()])
    return f" Verdicts, tables and figures take only runs with {told}." if told else ""


def _size(runs: Sequence[Run]) -> str:
    """ " (d = 256, 4 layers)", of the first run that adapts a weight that reads the residual stream."""
    for letter in ("q", "k", "v", "up"):
        run = next((run for run in runs if letter in letters(run)), None)
        if run is not None:
            try:
                adapter = run.adapter()
            except AnalysisError:  # an archive may have left it out
                return ""
            layers = adapter.layers
            return f" (d = {adapter.shape(layers[0], letter)[1]}, {layers[-1] + 1} layers)"
    return ""
