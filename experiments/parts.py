"""The parts of a run's configuration: model, task and logging.  Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ValidationInfo, field_validator
from pydantic.dataclasses import dataclass

from experiments.decoding import Decoding
from experiments.errors import UserError
from experiments.keys import (
    ALWAYS,
    CHANGED,
    KEEPING,
    MODEL,
    NEVER,
    ONLY_DECLARED,
    TASK,
    Integer,
    Number,
    Text,
    key,
)
from experiments.wandb_run import DEFAULT_PROJECT


def _tags(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    return tuple(map(str, value if isinstance(value, list | tuple) else [value]))


def _columns(value: Any) -> tuple[tuple[str, str], ...] | None:
    """Pairs, since a configuration is a key of caches."""
    pairs = value.items() if isinstance(value, Mapping) else value
    try:
        return None if value is None else tuple(sorted((str(field), str(name)) for field, name in pairs))
    except (TypeError, ValueError):
        raise UserError(
            f"task.columns={value} is not valid; give the column of each field: "
            "'task.columns={prompt: question, target: answer}'"
        ) from None


def _template(value: Any) -> Any:
    """With \\n and \\t, as they are typed in a shell, for a new line and a tab."""
    return value.replace("\\n", "\n").replace("\\t", "\t") if isinstance(value, str) else value


@dataclass(frozen=True, config=ONLY_DECLARED)
class ModelConfig:
    """`name` is "embedded", a hub id or a folder; what counts is its content."""

    name: Annotated[Text, key(MODEL, NEVER, "of model=hf: a hub id or a folder")]
    revision: Annotated[Text | None, key(MODEL, NEVER, "of a model on the hub; null: its latest")] = None
    max_length: Annotated[
        Integer | None, key(MODEL, ALWAYS, "tokens of an input; null: all it can", ge=8)
    ] = None


DECODING = ("num_beams", "length_penalty", "no_repeat_ngram_size", "max_new_tokens")
"""The keys of a task that say how its answers are generated."""


@dataclass(frozen=True, config=ONLY_DECLARED)
class TaskConfig:
    """`seed` generates or draws the examples.  Which other keys there are, each task says (`Task.keys`)."""

    name: Annotated[Text, key(TASK, ALWAYS)]
    path: Annotated[
        Text | None,
        key(
            TASK,
            NEVER,
            "of jsonl: a file or a folder of them, .jsonl, .csv, .tsv or .parquet; of a release: its archive "
            "or folder; null: the hub, where it is had from there",
        ),
    ] = None
    hub: Annotated[Text | None, key(TASK, NEVER, "of jsonl: owner/name[/configuration] on the hub")] = None
    columns: Annotated[
        tuple[tuple[str, str], ...] | None,
        BeforeValidator(_columns),
        key(TASK, NEVER, "of jsonl: whose names differ: 'task.columns={prompt: question, target: answer}'"),
    ] = None
    template: Annotated[
        Text | None,
        BeforeValidator(_template),
        key(TASK, NEVER, 'of jsonl: the prompt, from columns: task.template="{instruction}\\n{input}\\n"'),
    ] = None
    metric: Annotated[
        Text | None,
        key(
            TASK,
            ALWAYS,
            "of jsonl, what counts: exact_match (null), token_f1 or bleu of text, accuracy (null), f1, "
            "macro_f1 or matthews of labels, or yours: my_module:MyMetric",
        ),
    ] = None
    seed: Annotated[Integer, key(TASK, ALWAYS, "generates the examples, or draws them", ge=0)] = 0
    train: Annotated[Integer | None, key(TASK, ALWAYS, "training examples; null: all", ge=1)] = None
    dev: Annotated[
        Integer | None, key(TASK, ALWAYS, "dev examples, by which choices are made; null: all", ge=1)
    ] = None
    test: Annotated[Integer | None, key(TASK, ALWAYS, "test examples; null: all", ge=1)] = None
    holdout: Annotated[
        Integer | None,
        key(
            TASK,
            ALWAYS,
            "of mnli and the tasks of GLUE: training examples that serve as dev; of jsonl: as dev or as "
            "test, where there is none; null: a tenth, at most 1,000, of mnli 5,000",
            ge=1,
        ),
    ] = None
    num_beams: Annotated[
        Integer, key(TASK, CHANGED, "of text: answers followed at once; 1 is greedy, and cheap", ge=1)
    ] = 1
    length_penalty: Annotated[
        Number, key(TASK, CHANGED, "of a beam: log-probabilities are divided by (tokens)^length_penalty")
    ] = 1.0
    no_repeat_ngram_size: Annotated[
        Integer, key(TASK, CHANGED, "of text: tokens of which no sequence stands twice; 0: no limit", ge=0)
    ] = 0
    max_new_tokens: Annotated[
        Integer | None,
        key(TASK, CHANGED, "of text: tokens of an answer; null: twice the longest of train", ge=1),
    ] = None

    @field_validator("length_penalty")
    @classmethod
    def _of_beams(cls, penalty: float, read: ValidationInfo) -> float:
        """Without a beam nothing is compared, whatever the penalty: one run, one address."""
        return penalty if read.data.get("num_beams", 1) > 1 else 1.0

    @property
    def decoding(self) -> Decoding:
        return Decoding(**{name: getattr(self, name) for name in DECODING})


@dataclass(frozen=True, config=ONLY_DECLARED)
class WandbConfig:
    mode: Annotated[
        Literal["auto", "online", "offline", "disabled"],
        key(
            KEEPING,
            NEVER,
            "auto is online with an API key, else offline; offline runs go up with wandb sync "
            "outputs/<study>/.wandb/wandb/offline-run-*",
        ),
    ] = "auto"
    project: Annotated[Text, key(KEEPING, NEVER, "unless given, that of WANDB_PROJECT")] = DEFAULT_PROJECT
    entity: Annotated[Text | None, key(KEEPING, NEVER, "user or team; null: your own")] = None
    tags: Annotated[
        tuple[str, ...], BeforeValidator(_tags), key(KEEPING, NEVER, "such as 'wandb.tags=[a,b]'")
    ] = ()
