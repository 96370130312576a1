"""MultiNLI: does the premise entail, contradict or leave open the hypothesis (paper sections 5.5 and 7)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from experiments.errors import UserError
from experiments.parts import TaskConfig
from experiments.tasks.examples import Example
from experiments.tasks.files import folder_files, hub_rows, read_jsonl, release_path, tab_rows, wrong_field
from experiments.tasks.task import TASKS, ReleaseTask, hold_out

HUB_ID = "nyu-mll/multi_nli"
HUB_LABELS = ("entailment", "neutral", "contradiction")
NO_GOLD_LABEL = "-"  # the annotators did not agree
FILES = {
    "train": "multinli_1.0_train.jsonl",
    "matched": "multinli_1.0_dev_matched.jsonl",
    "mismatched": "multinli_1.0_dev_mismatched.jsonl",
}
GLUE_FILES = {"train": "train.tsv", "matched": "dev_matched.tsv", "mismatched": "dev_mismatched.tsv"}
FIELDS: dict[str, type] = {"sentence1": str, "sentence2": str, "gold_label": str}


@TASKS.register
class MNLI(ReleaseTask):
    """Three-way classification; a text model answers with the likeliest of the three label words."""

    name = "mnli"
    labels = HUB_LABELS
    metrics = ("accuracy",)
    keys: ClassVar[tuple[str, ...]] = ("path", "holdout")
    holdout = 5000

    @classmethod
    def load(cls, config: TaskConfig) -> Self:
        holdout = config.holdout or cls.holdout
        if config.path is None:
            return cls.from_hub_rows(hub_rows(cls.name, HUB_ID), holdout, config.seed)
        return cls.from_path(release_path(config.path), holdout, config.seed)

    @classmethod
    def from_records(cls, records: Mapping[str, Iterable[dict[str, Any]]]) -> Self:
        """From the records of the release's .jsonl files; those without a gold label are left out."""
        return cls({split: read_examples(split, rows) for split, rows in records.items()})

    @classmethod
    def from_path(cls, path: Path, holdout: int, seed: int) -> Self:
        """From the official release (multinli_1.0.zip or the folder it unpacks to), or GLUE's MNLI/*.tsv.

        The release's matched development set, on which the paper reports, becomes the test split; about
        `holdout` random training examples become the dev split, on which choices are made.  All pairs on one
        premise go to the same side.  The mismatched set, where it is there, is evaluated besides.
        """
        files = read_jsonl(path, dict.fromkeys(FILES.values(), _wrong), required=False)
        if files:
            missing = [FILES[name] for name in ("train", "matched") if FILES[name] not in files]
            if missing:
                raise UserError(f"task.path={path} holds no {', '.join(missing)}; found {', '.join(files)}")
            rows = {name: files[file] for name, file in FILES.items() if file in files}
        else:
            found = folder_files(path, "MNLI", GLUE_FILES.values())
            rows = {
                name: list(_from_tsv(found[file], f"{path}:MNLI/{file}")) for name, file in GLUE_FILES.items()
            }
        return cls._split(rows, holdout, seed)

    @classmethod
    def from_hub_rows(cls, rows: Mapping[str, Iterable[dict[str, Any]]], holdout: int, seed: int) -> Self:
        """From the hub's layout (premise, hypothesis, label 0..2); splits as in `from_path`."""
        names = {"train": "train", "matched": "validation_matched", "mismatched": "validation_mismatched"}
        read = {
            name: [_from_hub(split, number, row) for number, row in enumerate(rows[split])]
            for name, split in names.items()
            if split in rows
        }
        return cls._split(read, holdout, seed)

    @classmethod
    def _split(cls, rows: Mapping[str, list[dict[str, Any]]], holdout: int, seed: int) -> Self:
        train = [row for row in rows["train"] if row["gold_label"] != NO_GOLD_LABEL]
        splits = hold_out(train, lambda row: row["sentence1"], {"dev": holdout}, seed)
        besides = {name: rows[name] for name in rows if name == "mismatched"}
        return cls.from_records({**splits, "test": rows["matched"], **besides})


def prompt(premise: str, hypothesis: str) -> str:
    """What a text model reads before its answer.

    It ends in a mark that means nothing by itself: after a word that asks for a verdict the embedded model,
    which has judged claims before, would answer unadapted.
    """
    return f"premise: {premise.strip()}\nhypothesis: {hypothesis.strip()}\n="


def _wrong(row: Mapping[str, Any]) -> str | None:
    """What is wrong with a record of the release, or None."""
    reason = wrong_field(row, FIELDS)
    if reason is None and row["gold_label"] not in (*HUB_LABELS, NO_GOLD_LABEL):
        return f"gold_label is {row['gold_label']!r}; MultiNLI's are {', '.join(HUB_LABELS)} and -"
    return reason


def read_examples(split: str, rows: Iterable[dict[str, Any]]) -> list[Example]:
    """Of records in the layout of the release.  Raises UserError for the first that is not."""
    examples = []
    for number, row in enumerate(rows):
        if reason := _wrong(row):
            raise UserError(f"{split} pair {number}: {reason}")
        label = row["gold_label"]
        if label == NO_GOLD_LABEL:
            continue
        sentences = (row["sentence1"], row["sentence2"])
        name = str(row.get("pairID", number))
        examples.append(Example(name, prompt(*sentences), f" {label}", sentences, label))
    return examples


def _from_tsv(content: bytes, where: str) -> Iterator[dict[str, Any]]:
    """The rows of a file of GLUE's, in which the official jsonl's fields are columns."""
    for line, row in tab_rows(content, where, FIELDS):
        if reason := _wrong(row):
            raise UserError(f"{line}: {reason}")
        yield row


def _from_hub(split: str, number: int, row: Mapping[str, Any]) -> dict[str, Any]:
    reason = wrong_field(row, {"premise": str, "hypothesis": str, "label": int})
    if reason is None and not -1 <= row["label"] < len(HUB_LABELS):
        reason = f"label is {row['label']}; MultiNLI's are 0, 1, 2 and -1"
    if reason:
        raise UserError(f"{HUB_ID}, {split}, row {number}: {reason}")
    return {
        "sentence1": row["premise"],
        "sentence2": row["hypothesis"],
        "gold_label": HUB_LABELS[row["label"]] if row["label"] >= 0 else NO_GOLD_LABEL,
        "pairID": row["pairID"],
    }
