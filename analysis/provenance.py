"""What a result says of where it is from: its files' names, its record, and sentences in its caption."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from analysis.defaults import DEFAULT_BASIS, DEFAULT_CHECKPOINT, DEFAULT_SPLIT, DEFAULT_TARGETS
from analysis.reading.checkpoint import Checkpoint
from analysis.reading.run import Run
from analysis.selection import Selection, tasks_of
from experiments.identity import DEQUANTISED

_OF_METHOD = ("method", "targets", "rank", "seed", "model")
"""Settings in which runs of full fine-tuning and LoRA's may differ without a word."""


def folder_of(selection: Selection, results: Path) -> Path:
    """Where results of the selection go: results/STUDY, or results/STUDY/TASK where the study has several."""
    study = results / selection.study.name
    return study / selection.task if selection.task and len(tasks_of(selection.study)) > 1 else study


def stem_of(
    selection: Selection,
    name: str,
    *,
    targets: bool = True,
    basis: bool = True,
    layer: bool = True,
    split: bool = False,
) -> str:
    """The files' name, with whatever was chosen otherwise than by default: nothing is overwritten.

    Args:
        targets, basis, layer, split: whether the result depends on them.
    """
    parts = [name]
    if targets and selection.targets != DEFAULT_TARGETS:
        parts.append(selection.targets)
    if basis and selection.basis != DEFAULT_BASIS:
        parts.append(selection.basis)
    if layer and selection.layer is not None:
        parts.append(f"layer{selection.layer + 1}")
    if selection.checkpoint != DEFAULT_CHECKPOINT:
        parts.append(selection.checkpoint)
    if split and selection.split != DEFAULT_SPLIT:
        parts.append(selection.split)
    if selection.seeds is not None:
        parts.append("seed" + "-".join(map(str, selection.seeds)))
    parts += [f"{key}{value}".replace("/", "_") for key, value in selection.choice.items()]
    return "-".join(parts)


def provenance_of(
    selection: Selection,
    runs: Iterable[Run],
    *,
    targets: bool = True,
    basis: bool = True,
    split: bool = False,
    weights: bool = False,
) -> dict[str, Any]:
    """What a result was made from; arguments as of `stem_of`, and whether it reads W."""
    used = list({run.id: run for run in runs}.values())
    return {
        "study": selection.study.name,
        "task": selection.task or tasks_of(selection.study),
        "model": used[0].record["model"],
        **({"W": _weights(selection, used)} if weights else {}),
        **({"targets": selection.targets} if targets else {}),
        **({"basis": selection.basis} if basis else {}),
        "checkpoint": selection.checkpoint,
        **({"split": selection.split} if split else {}),
        "runs": [run.id for run in used],
        "left_out": [name for name, _ in selection.study.left_out],
    }


def _weights(selection: Selection, runs: Sequence[Run]) -> dict[str, Any]:
    form = dequantised(selection, runs)
    told: dict[str, Any] = {"base": selection.base, "verified": _verified(selection, runs)}
    return told if form is None else told | {DEQUANTISED: form}


def _verified(selection: Selection, runs: Iterable[Run]) -> bool:
    """Whether W is known to be what these runs were trained from; see `Run.verifies`."""
    return all(run.verifies(selection.base) for run in runs)


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
    if tried := selection.rates_tried(runs):
        taken = sorted({run.settings["lr"] for run in runs})
        text += f" Learning rate: of {_rates(tried)}, each rank's best on dev ({_rates(taken)})."
        del values["lr"]
    differing = [f"{key} ({', '.join(several)})" for key, several in values.items() if len(several) > 1]
    return text + (f" The runs differ in {'; '.join(differing)}." if differing else "")


def _rates(rates: Iterable[float]) -> str:
    return ", ".join(f"{rate:g}" for rate in rates)


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
    if tried := selection.rates_tried(full):
        text += f", the best on dev of the learning rates {_rates(tried)}"
    kept = {letter for run in full for letter in run.deltas(selection.checkpoint).letters}
    lacking = [f"W_{letter}" for letter in selection.letters if letter not in kept]
    return text + (f"; no dW of {', '.join(lacking)} is kept." if lacking else ".")


def weight_sentence(selection: Selection, runs: Sequence[Run]) -> str:
    """Of what reads W: nothing where W is known to be the runs' W0, else why it is not."""
    rounded = _rounded_sentence(selection, runs)
    if _verified(selection, runs):
        return rounded
    told = runs[0].record["model"]
    name, commit = Path(told["name"]).name, str(told["revision"])[:12]
    source = f"{name} as it is now" if selection.base is None else f"the folder {Path(selection.base).name}"
    return (
        f" W is read from {source}, unverified: of {name} ({commit}) the runs record no sha256 to "
        f"compare with.{rounded}"
    )


def dequantised(selection: Selection, runs: Sequence[Run]) -> str | None:
    """The format that W was dequantised from; None where it was not, or its config.json is not here."""
    told = runs[0].record["model"]
    if selection.base is None and DEQUANTISED in told:
        return str(told[DEQUANTISED])
    checkpoint = Checkpoint.at_hand(str(selection.base or told.get("path") or told["name"]), told["revision"])
    return None if checkpoint is None else checkpoint.dequantised_from


def _rounded_sentence(selection: Selection, runs: Sequence[Run]) -> str:
    form = dequantised(selection, runs)
    return "" if form is None else f" {rounding_of_weights(form)}"


def rounding_of_weights(form: str) -> str:
    """What weights that were dequantised from a format are to be known by."""
    return (
        f"W was dequantised from {form}, so that it carries the noise of that rounding: its small singular "
        "values and their directions are not the published model's."
    )
