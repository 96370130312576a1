"""`python -m analysis report`: the page, put together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from analysis.choices import DEFAULT_MARGIN, DEFAULT_TARGETS
from analysis.errors import AnalysisError
from analysis.figures.words import listed
from analysis.output import Drawing, Result, csv_bytes
from analysis.report import origin
from analysis.report.adapted import letters
from analysis.report.costs import costs, each_run, totals
from analysis.report.curves import curves
from analysis.report.gaps import gaps
from analysis.report.histories import histories
from analysis.report.markup import prose, slug
from analysis.report.parts import Made, Part, gather
from analysis.report.pictures import FIGURES, figures_of, picture, unmade
from analysis.report.verdicts import counted, glance
from analysis.run import Run

if TYPE_CHECKING:
    from analysis.selection import Selection

TEMPLATE, STYLE = "page.html.j2", "page.css"
TITLES = {
    "table5": "Table 5",
    "table6": "Table 6",
    "table7": "Table 7",
    "baselines": "Baselines",
    "claims": "the claims",
    **{name: title for name, (title, _) in FIGURES.items()},
}
MANY_RUNS = 24
"""More are folded."""


def make(selection: Selection, margin: float = DEFAULT_MARGIN, made: Made | None = None) -> Result:
    """The page, with a CSV of what each run cost and the learning curves as figures of their own.

    Whatever cannot be made is named on the page, with the reason.

    Args:
        margin: what counts as equal accuracy, in points.
        made: results of the other commands on this selection, not to be made again; what it lacks is added.

    Raises:
        AnalysisError: the selection names settings that the study does not have.
    """
    made = {} if made is None else made
    parts = gather(selection, {"margin": margin}, made)
    runs = runs_of(selection)
    history, without = histories([run for run in runs if run.settings["method"] != "none"])
    tasks = [one.task for one in selection.each_task() if one.task]
    drawings = _learning(runs, tasks, history)
    frame = costs(runs)
    page = _render(selection, margin, parts, runs, tasks, drawings, without, frame)
    stem = selection.stem("report", split=True)
    lacking = [part for part in parts if part.result is None]
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
            "not_made": [" ".join(filter(None, (part.command, part.task))) for part in lacking],
        },
        drawings={f"-curves-{task}" if len(tasks) > 1 else "-curves": d for task, d in drawings.items()},
        texts={".html": page, **({"-curves.csv": csv_bytes(history).decode()} if drawings else {})},
        terminal=_summary(parts, lacking),
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


def _summary(parts: Sequence[Part], lacking: Sequence[Part]) -> str:
    """For the terminal: the verdicts, and what the page says is missing."""
    claims = next((part.result for part in parts if part.command == "claims"), None)
    lines = [f"{task}: {told}" for task, told in counted(glance(claims)).items()] if claims else []
    names = [f"{TITLES[part.command]}{f' on {part.task}' if part.task else ''}" for part in lacking]
    return "\n".join([*lines, *([f"not in the report, which says why: {', '.join(names)}"] if names else [])])


def _render(
    selection: Selection,
    margin: float,
    parts: Sequence[Part],
    runs: Sequence[Run],
    tasks: Sequence[str],
    learning: dict[str, Drawing],
    without: dict[str, str],
    frame: Any,
) -> str:
    from importlib.resources import files

    import jinja2

    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters |= {"prose": prose, "slug": slug}
    folder = files("analysis.report")
    template = environment.from_string(folder.joinpath(TEMPLATE).read_text(encoding="utf-8"))
    claims = next((part.result for part in parts if part.command == "claims"), None)
    seen = glance(claims) if claims else []
    try:
        trained, untold = origin.training_commands(selection, runs), ""
    except AnalysisError as error:
        trained, untold = [], str(error)
    return template.render(
        style=folder.joinpath(STYLE).read_text(encoding="utf-8"),
        study=selection.study.name,
        about=_about(selection, runs, tasks),
        tasks=tasks,
        several=len(tasks) > 1,
        verdicts=seen,
        counts=counted(seen),
        claim_notes=claims.tables[0].notes if claims else (),
        accuracy={
            part.command: part.result.tables
            for part in parts
            if part.command in ("table5", "table6", "baselines") and part.result
        },
        tables={task: _tables(parts, task) for task in tasks},
        figures={task: figures_of(parts, task, spectra=False) for task in tasks},
        spectra={task: figures_of(parts, task, spectra=True) for task in tasks},
        unmade={task: unmade(parts, task) for task in tasks},
        titles=TITLES,
        learning={
            task: picture(
                drawing, f"Line charts of the training loss and the dev metric of every run on {task}"
            )
            for task, drawing in learning.items()
        },
        without=without,
        totals=totals(frame) if runs else None,
        each=each_run(runs, frame, selection.checkpoint) if runs else None,
        many=len(runs) > MANY_RUNS,
        left_out=selection.study.left_out,
        gaps=gaps(selection, parts, TITLES, claims.numbers if claims else None),
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


def _tables(parts: Sequence[Part], task: str) -> dict[str, Sequence[Any]]:
    """Table 7 and the spectra's tables of one task."""
    return {
        part.command: part.result.tables
        for part in parts
        if part.task == task and part.command in ("table7", "spectra") and part.result
    }
