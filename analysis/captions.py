"""Sentences for captions: which runs something is made of, and whose W."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from analysis.reading.run import Run
from analysis.selection import Selection

_OF_METHOD = ("method", "targets", "rank", "seed", "model")
"""Settings in which runs of full fine-tuning and LoRA's may differ without a word."""


def lora_sentence(selection: Selection, runs: Sequence[Run]) -> str:
    """Study, task, model, checkpoint, and what LoRA's runs differ in besides rank and seed."""
    model = Path(runs[0].record["model"]["name"]).name  # of a folder, not where it lies
    text = (
        f"Study {selection.study.name}, task {selection.task}, model {model}, adapted {selection.targets}, "
        f"{selection.checkpoint} checkpoint."
    )
    values = {
        key: sorted({str(run.settings.get(key)) for run in runs})
        for key in runs[0].settings
        if key not in ("rank", "seed", "model")  # `check_model` has seen to the model, wherever it lies
    }
    differing = [f"{key} ({', '.join(several)})" for key, several in values.items() if len(several) > 1]
    return text + (f" The runs differ in {'; '.join(differing)}." if differing else "")


def full_sentence(selection: Selection, full: Sequence[Run], lora: Sequence[Run]) -> str:
    """The runs of full fine-tuning, and the settings that LoRA's have otherwise."""
    if not full:
        return "Full fine-tuning: no runs."
    seeds = ", ".join(str(run.settings["seed"]) for run in full)
    text = f"Full fine-tuning: {len(full)} run{'s' * (len(full) > 1)} (seed {seeds})"
    here, there = full[0].settings, [run.settings for run in lora]
    for key in here:
        values = sorted({str(settings.get(key, here[key])) for settings in there})
        if key not in _OF_METHOD and values != [str(here[key])]:
            text += f", {key} {here[key]} (LoRA {', '.join(values)})"
    kept = {letter for run in full for letter in run.deltas(selection.checkpoint).letters}
    lacking = [f"W_{letter}" for letter in selection.letters if letter not in kept]
    return text + (f"; no dW of {', '.join(lacking)} is kept." if lacking else ".")


def weight_sentence(selection: Selection, runs: Sequence[Run]) -> str:
    """Of what reads W: nothing where W is known to be the runs' W0, else why it is not."""
    if selection.verified(runs):
        return ""
    told = runs[0].record["model"]
    name, commit = Path(told["name"]).name, str(told["revision"])[:12]
    source = f"{name} as it is now" if selection.base is None else f"the folder {Path(selection.base).name}"
    return (
        f" W is read from {source}, unverified: of {name} ({commit}) the runs record no sha256 to "
        "compare with."
    )
