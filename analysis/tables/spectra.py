"""Spectra of dW: how many directions LoRA and full fine-tuning use, and how many of them seeds share.

Each projection has the effective ranks of dW (stable, entropy, 90 % of the energy), the intruder dimensions
of W + dW (arXiv 2410.21228), and for each pair of seeds the dimension that they share beyond chance: what
"W_q has a higher intrinsic rank than W_v" (paper, Section 7.2) becomes as a number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from analysis.figures.spectra import draw
from analysis.figures.words import basis_name
from analysis.provenance import full_sentence, lora_sentence, provenance_of, stem_of, weight_sentence
from analysis.reading import tensors
from analysis.registry import command
from analysis.result import Drawing, Result
from analysis.tables.spectra_numbers import (
    INTRUDER_K,
    INTRUDER_THRESHOLD,
    SHARED,
    SHARED_QUANTILE,
    Source,
    spectra_numbers,
)
from analysis.tables.spectra_tables import projections, shared_tables, summary

if TYPE_CHECKING:
    from analysis.selection import Selection

RANKS = (8, 64)


@command(
    "spectra",
    "effective ranks, intruder dimensions, shared dimension",
    title="Spectra of dW",
    place="folded",
)
def make(selection: Selection) -> Result:
    """The tables, a figure, and the CSV of every number.

    Raises:
        MissingRunsError: the study has no LoRA runs of these targets.
        AnalysisError: the runs are of different models, or several of full fine-tuning match.
    """
    lora = [Source(run, rank) for (rank, _), run in selection.every_run(RANKS, count=2).items()]
    full = [Source(run, None) for run in selection.full_runs()]
    runs = [source.run for source in (*lora, *full)]
    selection.check_model(runs)
    lora_runs, full_runs = runs[: len(lora)], runs[len(lora) :]
    drawn = tensors.one_layer(selection, runs[0])
    numbers = spectra_numbers(selection, lora, full, drawn)
    note = (
        f"{lora_sentence(selection, lora_runs)} LoRA: {len(lora)} runs. "
        f"{full_sentence(selection, full_runs, lora_runs)}"
        f"{weight_sentence(selection, runs)}"
    )
    tables = [summary(numbers, note)]
    shared = numbers[numbers["quantity"] == SHARED]
    if shared.empty:
        shared_note = "There is one seed, so no shared dimension."
    else:
        shared_note = (
            "Shared dimension: how many principal cosines between two seeds' subspaces exceed the "
            f"{SHARED_QUANTILE:.0%} quantile of the largest between random ones, so that by chance it is 0; "
            "it is not defined where dW = 0 or twice the rank exceeds d, where any two subspaces meet. "
            f"Directions: {basis_name(selection.basis)}."
        )
        tables += shared_tables(numbers, (shared_note, note))
    caption = (
        f"Spectra of ΔW. Left: singular values in layer {drawn + 1}, relative to the largest. Middle: how "
        "many directions hold 90 % of the energy (squared singular values). Right: the dimension that two "
        f"seeds share. Means over seeds, or pairs of them, where they are defined. {shared_note} {note}"
    )
    return Result(
        stem_of(selection, "spectra"),
        numbers,
        {
            **provenance_of(selection, runs, weights=True),
            "intruder_dimensions": {"k": INTRUDER_K, "threshold": INTRUDER_THRESHOLD},
            "shared_dimension": {"quantile": SHARED_QUANTILE},
            "singular_values_of_layer": drawn + 1,
        },
        drawings={"": Drawing(draw(numbers, drawn + 1), caption)},
        tables=[*tables, projections(numbers, note)],
    )
