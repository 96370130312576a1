"""SAMSum: the summary of a chat (paper section 5.5 and appendix C.1)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.errors import UserError
from experiments.tasks.files import json_document, named_files
from experiments.tasks.generation import GenerationTask, Group, filled, records
from experiments.tasks.task import TASKS

FILES = {"train": "train.json", "dev": "val.json", "test": "test.json"}


@TASKS.register
class SAMSum(GenerationTask):
    """One summary a chat.  Its utterances stand one a line, and an empty line ends them."""

    name = "samsum"
    metrics = ("rouge1", "rouge2", "rougeL")
    ending = "\n\n"
    origin = f"its corpus.7z, unpacked, is a folder with {', '.join(FILES.values())}"

    @classmethod
    def read(cls, path: Path) -> Mapping[str, Sequence[Group]]:
        if path.suffix == ".7z":
            raise UserError(
                f"task.path={path} is an archive of 7-Zip; unpack it (7z x {path.name}) and give the folder"
            )
        files = named_files(path, FILES.values())
        return {
            split: list(_groups(json_document(files[name], f"{path}:{name}"), f"{path}:{name}"))
            for split, name in FILES.items()
            if name in files
        }


def _groups(content: Any, where: str) -> Iterator[Group]:
    for record_at, record in records(content, where, {"dialogue": str, "summary": str}):
        dialogue = "\n".join(filled(record_at, "dialogue", record["dialogue"]).splitlines())
        yield Group(dialogue, (filled(record_at, "summary", record["summary"]),))
