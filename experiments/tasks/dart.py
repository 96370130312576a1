"""DART: what triples from tables say, in words (paper appendix F.1)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.errors import UserError
from experiments.tasks.files import json_document, release_files
from experiments.tasks.generation import GenerationTask, Group, filled, records, with_texts
from experiments.tasks.task import TASKS
from experiments.tasks.webnlg import written

FILE = re.compile(r"dart-.*-(train|dev|test)\.json")


@TASKS.register
class DART(GenerationTask):
    """Judged on all of the test set; an input is a record of the release with all its texts."""

    name = "dart"
    metrics = ("bleu_lc", "meteor", "ter")
    origin = "Yale-LILY/dart has it as dart-v1.1.1-full-train.json, -dev.json and -test.json"

    @classmethod
    def read(cls, path: Path) -> Mapping[str, Sequence[Group]]:
        found: dict[str, list[Group]] = {}
        for name, content in release_files(path, lambda name: bool(FILE.fullmatch(name.name))):
            where, split = f"{path}:{name}", FILE.fullmatch(name.name)[1]  # type: ignore[index]
            if split in found:
                raise UserError(f"task.path={path} holds more than one version's {split}; give one")
            found[split] = with_texts(_groups(json_document(content, where), where), where)
        return found


def _groups(content: Any, where: str) -> Iterator[Group]:
    for record_at, record in records(content, where, {"tripleset": list, "annotations": list}):
        triples = record["tripleset"]
        if not triples or any(
            not isinstance(triple, list) or [*map(type, triple)] != [str] * 3 for triple in triples
        ):
            raise UserError(f"{record_at}: tripleset is not a list of [subject, relation, object]")
        try:
            texts = [one["text"] for one in record["annotations"]]
        except (KeyError, TypeError) as error:
            raise UserError(f"{record_at}: an annotation has no text ({error!r})") from error
        yield Group(
            written([(subject, relation.lower(), object_) for subject, relation, object_ in triples]),
            tuple(filled(record_at, "a text", text) for text in texts),
        )
