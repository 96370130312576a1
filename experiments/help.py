"""The page that `python run.py --help` prints, made from what declares keys and choices."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from experiments import config
from experiments.config import CONF, RunConfig
from experiments.keys import about, choices_of, keys
from experiments.methods import METHODS
from experiments.overrides import config_dir

WIDTH, COLUMN = 110, 26

PAGE = """\
Train one run of the LoRA paper's Section 7 (which weights, which rank, what the update does), or with -m a
sweep.  The default model and tasks are part of the project: no network and no GPU are needed.

  python run.py [key=value ...]              one run
  python run.py -m [key=value,value ...]     a sweep over all combinations, then a table
  python run.py -m +experiment=table6        a sweep of the paper's; other keys change it, as in seed=0,1

Examples
  python run.py                                            LoRA, q and v, r=8, on generated SQL questions
  python run.py -m rank=1,2,4,8 targets=qv                 the main sweep
  python run.py -m +experiment=table5 task=sql seed=0,1,2  which weights at an equal budget, three seeds
  python run.py -m +experiment=table6 lr=5e-3,1e-2,2e-2    which rank, each at three learning rates
  python run.py method=full task=nli                       full fine-tuning, on inference
  python run.py 'rank={{q: 4, v: 8}}'                        another rank for each letter
  python run.py model=gpt2-medium task=wikisql             the paper's GPT-2 on the real WikiSQL, from the hub
  python run.py model=hf model.name=FOLDER task=mnli task.path=multinli_1.0.zip
  python run.py -m model=hf model.name=FOLDER task=jsonl task.path=mine.jsonl rank=1,4,16    your own data
  python run.py wandb.mode=disabled study=trial            without Weights & Biases, in outputs/trial
  python run.py -m rank=1,2,4,8 --dry-run                  the plan alone: what is missing, what it costs

{method}

{task}

{model}

Experiments (into study=section7, or of claims made since the paper into study=since, where what they share is
trained once; the head of each file in conf/experiment says what it asks, what it costs and what to expect)
{experiments}

LoRA
{lora}

Training (defaults may differ by model)
{training}

Sweeps
  hydra.launcher.workers=N  processes of one thread each; else one an idle core or GPU, and never more than
                          memory holds.  1 is this process itself, where a debugger works
  hydra/launcher=slurm    one Slurm job a run (pip install -e '.[slurm]'; hydra.launcher.partition=...);
                          also submitit_slurm, submitit_local, joblib ('.[joblib]') and Hydra's basic
  hydra/sweeper=tune      a search for the best on dev ('.[tune]'): 'lr=tag(log,interval(1e-3,3e-2))'

Keeping
{keeping}

Results: outputs/<study>/<name>-<hash>/ with run.json (metrics, counts, versions), adapter.safetensors,
predictions.jsonl and history.jsonl.  HYDRA_FULL_ERROR=1 shows tracebacks; --cfg job shows the resolved
configuration; --config-dir FOLDER adds your own files for model, task and experiment (with --help they are
listed too); --hydra-help Hydra's own flags.
Then: python -m analysis grid --study <study> (which of its adapters will do); python -m analysis --help
"""


def help_page(arguments: Sequence[str] = ()) -> str:
    """The page; at most `WIDTH` columns.

    Args:
        arguments: of the command line, whose --config-dir may have more files of a group.
    """
    own, _ = config_dir(arguments)
    places = [own, CONF] if own else [CONF]
    defaults = default_values()
    lines = [*_lines(RunConfig, defaults)]

    def of(section: str) -> str:
        return "\n".join(line for where, line in lines if where == section)

    def group(name: str, section: str, choices: Mapping[str, str]) -> str:
        field = keys(RunConfig)[name]
        chosen = defaults[name] if name == "method" else defaults[name]["name"]
        head = textwrap.fill(f"{section}: {field.description}; {name}={chosen} unless given", WIDTH)
        offered = "\n".join(_line(f"{name}={choice}", text) for choice, text in choices.items())
        return "\n".join(filter(None, [head, offered, of(section)]))

    return PAGE.format(
        method=group("method", config.METHOD, {name: one.label for name, one in METHODS.items()}),
        task=group("task", config.TASK, _heads("task", places)),
        model=group("model", config.MODEL, _heads("model", places)),
        experiments="\n".join(
            _line(f"+experiment={name}", text) for name, text in _heads("experiment", places).items()
        ),
        lora=of(config.LORA),
        training=of(config.TRAINING),
        keeping=of(config.KEEPING),
    )


def default_values() -> dict[str, Any]:
    """The values of conf/config.yaml and of the files that it names for model and task, as written."""
    values = _read("config")
    for choice in values.pop("defaults"):
        for group, name in choice.items() if isinstance(choice, dict) else ():
            if group == "task":
                values["task"] = _read(f"task/{name}")
            elif group == "model":
                values |= _read(f"model/{name}")
    return values


def _lines(declared: type[Any], values: Mapping[str, Any], within: str = "") -> Iterator[tuple[str, str]]:
    """(section, lines) of each key that has a text or choices, those of its parts in its place."""
    fields = keys(declared)
    if declared is RunConfig:
        fields = {**fields, "budget": config.BUDGET}
    for name, field in fields.items():
        part = field.annotation
        if dataclasses.is_dataclass(part):
            yield from _lines(part, values[name], f"{within}{name}.")
        elif name != "method":
            text = ": ".join(filter(None, [_or(choices_of(field)), field.description]))
            default = _written(values.get(name, field.default))
            if default == "null" and declared is RunConfig:
                default = _written(values["model"].get("budget", {}).get(name))
            if text:
                yield about(field, "section"), _line(f"{within}{name}={default}", text)


def _line(name: str, text: str) -> str:
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent=f"  {name}  ".ljust(COLUMN),
        subsequent_indent=" " * COLUMN,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _written(value: Any) -> str:
    """A default as one would write it; "..." where it follows from other keys."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return "..." if str(value).startswith("${") else str(value)


def _or(words: tuple[str, ...]) -> str:
    return " or ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def _heads(group: str, places: Sequence[Path]) -> dict[str, str]:
    """The choices of a group, each with the first sentence of its file; of one name the last place's."""
    files = {file.stem: file for place in places for file in (place / group).glob("*.yaml")}
    heads = {}
    for name, file in sorted(files.items()):
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
        first = next((line for line in lines if "@package" not in line), "")
        said = first.removeprefix("# ").partition(".  ")[0].removesuffix(".") if first[:1] == "#" else ""
        heads[name] = said or f"of {file}"
    return heads


def _read(name: str) -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load((CONF / f"{name}.yaml").read_text(encoding="utf-8"))
    return values
