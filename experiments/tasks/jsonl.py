"""Data of one's own: text to be continued (prompt, target), or to be classified (text, text2, label)."""

from __future__ import annotations

import json
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from experiments.errors import UserError, nearest
from experiments.identity import content_identity
from experiments.metrics import METRICS, metric
from experiments.parts import DECODING, TaskConfig
from experiments.tasks.examples import Example
from experiments.tasks.rows import Row, local_rows, remote_rows
from experiments.tasks.task import TASKS, Task, held_out, hold_out

GENERATION, CLASSIFICATION = ("prompt", "target"), ("text", "text2", "label")
METRICS_OF = {"text": ("exact_match", "token_f1"), "labels": ("accuracy", "macro_f1")}
"""By what is judged; the first counts unless task.metric names another."""
Read = tuple[str, Example]
"""An example, and where its row stands."""


@TASKS.register
class JSONL(Task):
    """Files with a row an example; the columns say whether text is generated or a label chosen.

    What is not there of dev and test is held out of the training rows, all rows with one input on one side.
    """

    name = "jsonl"
    labels: tuple[str, ...] | None = None
    metrics: tuple[str, ...] = METRICS_OF["text"]
    keys = ("path", "hub", "columns", "template", "metric", "holdout", *DECODING)

    @classmethod
    def check(cls, config: TaskConfig) -> None:
        super().check(config)
        if (config.path is None) == (config.hub is None):
            given = "both are given" if config.path else "neither is given"
            raise UserError(f"task=jsonl takes task.path=FILE_OR_FOLDER or task.hub=owner/name; {given}")
        _Form.check(config)
        if config.metric is not None:
            metric(config.metric).require()

    @classmethod
    def source(cls, config: TaskConfig) -> str | None:
        place = None if config.path is None else Path(config.path).expanduser().resolve()
        return None if place is None or not place.exists() else content_identity(place)

    @classmethod
    def load(cls, config: TaskConfig) -> Self:
        rows = local_rows(config.path) if config.path else remote_rows(cls.name, str(config.hub))
        form = _Form.of(config, *rows["train"][0])
        read = {split: form.examples(of_split) for split, of_split in rows.items()}
        labels = _labels(read) if form.label else None
        missing = [split for split in ("dev", "test") if split not in read]
        if config.holdout and not missing:
            raise UserError(f"task.holdout={config.holdout} has no meaning: there are both dev and test")
        train = read.pop("train")
        counts = dict.fromkeys(missing, held_out(config, len(train)))
        read |= hold_out(
            train,
            lambda one: one[1].prompt,
            counts,
            config.seed,
            label=lambda one: one[1].gold if labels else None,
        )
        task = cls({split: [example for _, example in examples] for split, examples in read.items()})
        task.labels = labels
        task.metrics = _metrics(config.metric, labels)
        return task


def _metrics(chosen: str | None, labels: tuple[str, ...] | None) -> tuple[str, ...]:
    """The names of what data with these labels, or of text, is judged by, first what counts."""
    kind = "labels" if labels else "text"
    if chosen is None:
        return METRICS_OF[kind]
    if metric(chosen).judges != kind:
        valid = [name for name, one in METRICS.items() if one.judges == kind]
        raise UserError(
            f"task.metric={chosen} judges {metric(chosen).judges}, and in this data {kind} "
            f"{'are' if labels else 'is'} to be judged; "
            f"valid are {', '.join(valid)}, or one of your own with judges = {kind!r}"
        )
    metric(chosen, labels).require()
    return tuple(dict.fromkeys([chosen, *METRICS_OF[kind]]))


def _labels(read: Mapping[str, Sequence[Read]]) -> tuple[str, ...]:
    """Those of the training rows, sorted.  Raises UserError for one alone, and for a row with another."""
    labels = sorted({example.gold for _, example in read["train"]})
    if len(labels) < 2:
        raise UserError(
            f"every label is {labels[0]!r} ({read['train'][0][0]} and after it); to classify takes two"
        )
    for where, example in (one for examples in read.values() for one in examples):
        if example.gold not in labels:
            raise UserError(
                f"{where}: label is {example.gold!r}, which no training row has; theirs are "
                f"{', '.join(labels[:20])}{nearest(example.gold, labels)}"
            )
    return tuple(labels)


@dataclass(frozen=True)
class _Form:
    """How a row becomes an example.

    Attributes:
        columns: the column of each field that the rows have.
        template: of the prompt, or None.
    """

    columns: dict[str, str]
    template: str | None

    @property
    def label(self) -> bool:
        return "label" in self.columns

    @staticmethod
    def check(config: TaskConfig) -> None:
        """Raise UserError where template or columns cannot be meant, whatever the data is."""
        fields = (*GENERATION, *CLASSIFICATION)
        for field in dict(config.columns or ()):
            if field not in fields:
                raise UserError(
                    f"task.columns names {field}, which is no field; valid are {', '.join(fields)}"
                    f"{nearest(field, fields)}"
                )
        if config.template is not None:
            _names(config.template)
            if "prompt" in dict(config.columns or ()):
                raise UserError("task.template builds the prompt; leave prompt out of task.columns")

    @classmethod
    def of(cls, config: TaskConfig, where: str, row: Mapping[str, Any]) -> Self:
        """As the first training row has it.

        Raises:
            UserError: it has too little, or both target and label, or no use for a column that is named.
        """
        columns = {field: field for field in (*GENERATION, *CLASSIFICATION) if field in row}
        named = dict(config.columns or ())
        if "label" in named and "target" not in named:
            columns.pop("target", None)
        if "target" in named and "label" not in named:
            columns.pop("label", None)
        columns |= named
        if "label" in columns and "target" in columns:
            raise UserError(
                f"{where} has both a target and a label; say which is meant: "
                "'task.columns={target: target}' or 'task.columns={label: label}'"
            )
        wanted = {"text", "label"} if "label" in columns else {"prompt", "target"}
        missing = wanted - columns.keys() - ({"prompt", "text"} if config.template else set())
        if missing:
            parted = next((sign for sign in ";|\t" if len(row) == 1 and sign in next(iter(row))), None)
            if parted is not None:
                raise UserError(
                    f"{where} has one column, {next(iter(row))!r}: its fields are parted by {parted!r}; save "
                    "it with commas, or as .tsv with tabs"
                )
            example = "text: ..., label: ..." if "label" in columns else "prompt: ..., target: ..."
            raise UserError(
                f"{where} has {', '.join(row)}, and {' and '.join(sorted(missing))} is wanted; a row has "
                "prompt and target to generate text, or text and label to classify it: name yours by "
                f"'task.columns={{{example}}}', or build the prompt by task.template"
            )
        fields = CLASSIFICATION if "label" in columns else GENERATION
        if unused := [field for field in named if field not in fields]:
            how = "label to be chosen" if "label" in columns else "target to be generated"
            raise UserError(
                f"task.columns names {unused[0]}, and these rows have a {how}, of which the fields are "
                f"{', '.join(fields)}"
            )
        return cls({field: name for field, name in columns.items() if field in fields}, config.template)

    def examples(self, rows: Sequence[Row]) -> list[Read]:
        """Of the rows of a split.  Raises UserError for the first that is not as it should be."""
        answer = self.columns["label" if self.label else "target"]
        if rows and not any(answer in row for _, row in rows):
            where, row = rows[0]
            raise UserError(
                f"{where} lacks {answer}, and so does every row beside it; it has {', '.join(row)}"
                f"{nearest(answer, row)} (a release's test rows often have none: leave their file out)"
            )
        return [(where, self._example(where, str(number), row)) for number, (where, row) in enumerate(rows)]

    def _example(self, where: str, number: str, row: Mapping[str, Any]) -> Example:
        found = {}
        for field, column in self.columns.items():
            if field in ("prompt", "text") and self.template and column not in row:
                continue
            found[field] = _text(where, row, column, field == "label")
            if not found[field].strip():
                raise UserError(f"{where}: {column} is empty")
        sentences = tuple(found[field] for field in ("text", "text2") if field in found)
        prompt = found.get("prompt") or "\n".join([*sentences, "="])
        if self.template is not None:
            columns = {name: _text(where, row, name, asks="task.template") for name in _names(self.template)}
            prompt = self.template.format(**columns)
        if not prompt.strip():
            raise UserError(f"{where}: its prompt is empty")
        if self.label and "text2" in row and "text2" not in self.columns:
            raise UserError(
                f"{where} has text2, which the first training row has not; give it to all or none"
            )
        answer = found["label" if self.label else "target"].strip()
        # Most tokenizers write a word with the blank before it; after a line's end there is none.
        blank = "" if not self.label and prompt[-1].isspace() else " "
        return Example(number, prompt, blank + answer, sentences or (prompt,), answer)


def _names(template: str) -> tuple[str, ...]:
    """The columns that a template names.  Raises UserError where it is none."""
    try:
        pieces = [piece[1:] for piece in string.Formatter().parse(template) if piece[1] is not None]
        named = [name or "" for name, form, conversion in pieces if not form and not conversion]
        if len(named) < len(pieces) or not named or not all(name.isidentifier() for name in named):
            raise ValueError("a column stands in braces by its name alone")
    except ValueError as error:
        raise UserError(
            f"task.template={template!r} is not valid: {error}; write text with {{column}} in it, and "
            "{{ and }} for braces"
        ) from error
    return tuple(dict.fromkeys(named))


def _text(where: str, row: Mapping[str, Any], column: str, label: bool = False, asks: str = "") -> str:
    """The value of a column, a number or true and false as JSON writes them."""
    if column not in row:
        why = f", which {asks} names" if asks else ""
        raise UserError(f"{where} lacks {column}{why}; it has {', '.join(row)}{nearest(column, row)}")
    value = row[column]
    if isinstance(value, str):
        return value
    if isinstance(value, int) or (isinstance(value, float) and not label and value - value == 0):
        return json.dumps(value)
    said = "null" if value is None else repr(value)[:60]
    wanted = "a text, an integer, or true or false" if label else "a text or a number"
    raise UserError(f"{where}: {column} is {said}; it must be {wanted}")
