"""E2E: what a restaurant guide says of a restaurant, from its attributes (paper sections 5.4 and H.2)."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from experiments.errors import UserError
from experiments.tasks.files import named_files, utf8
from experiments.tasks.generation import GenerationTask, Group, consecutive, filled
from experiments.tasks.task import TASKS

LINES = {"train": "train.txt", "dev": "valid.txt", "test": "test.txt"}
CSV = {"train": "trainset.csv", "dev": "devset.csv", "test": "testset_w_refs.csv"}
HEADER = ["mr", "ref"]
SEPARATOR = "||"
ATTRIBUTE = re.compile(r"\s*([^,\[\]]+)\[([^\]]*)\]\s*(?:,|$)")


@TASKS.register
class E2E(GenerationTask):
    """Judged as the challenge judged: consecutive rows with one meaning representation are one input."""

    name = "e2e"
    metrics = ("bleu_lc", "nist", "meteor", "rouge_l", "cider")
    origin = (
        f"microsoft/LoRA has it in examples/NLG/data/e2e ({', '.join(LINES.values())}), "
        f"tuetschek/e2e-dataset as {', '.join(CSV.values())}"
    )

    @classmethod
    def read(cls, path: Path) -> Mapping[str, Sequence[Group]]:
        """From microsoft/LoRA's lines, or the challenge's own csv; of the first, where there are both."""
        files = named_files(path, {*LINES.values(), *CSV.values()})
        for names, read in ((LINES, _lines), (CSV, _rows)):
            found = {
                split: consecutive(read(files[name], f"{path}:{name}"))
                for split, name in names.items()
                if name in files
            }
            if found:
                return found
        return {}


def _lines(content: bytes, where: str) -> Iterator[tuple[str, str]]:
    """`name : Aromi | Type : pub||Aromi is a pub.`, one a line."""
    for number, line in enumerate(utf8(content, where).split("\n"), start=1):
        if not line.strip():
            continue
        parts = line.split(SEPARATOR)
        if len(parts) != 2:
            raise UserError(
                f"{where}, line {number} has {len(parts) - 1} times {SEPARATOR}; it must be "
                f"meaning representation{SEPARATOR}text"
            )
        line_at = f"{where}, line {number}"
        yield (
            filled(line_at, "the meaning representation", parts[0]),
            filled(line_at, "the text", parts[1]),
        )


def _rows(content: bytes, where: str) -> Iterator[tuple[str, str]]:
    """`"name[Aromi], eatType[pub]","Aromi is a pub."` below a header; written as `name : Aromi | ...`."""
    reader = csv.reader(io.StringIO(utf8(content, where), newline=""), strict=True)
    try:
        header = next(reader, [])
        if [name.strip().lower() for name in header] != HEADER:
            raise UserError(f"{where}, line 1: its header is {header}; it must be {', '.join(HEADER)}")
        for row in reader:
            if not row:
                continue
            line_at = f"{where}, line {reader.line_num}"
            if len(row) != len(HEADER):
                raise UserError(f"{line_at} has {len(row)} fields; it must have {len(HEADER)}")
            yield _attributes(line_at, row[0]), filled(line_at, "ref", row[1])
    except csv.Error as error:
        raise UserError(f"{where}, line {reader.line_num} cannot be read: {error}") from error


def _attributes(where: str, text: str) -> str:
    found = ATTRIBUTE.findall(text)
    if not found or ATTRIBUTE.sub("", text).strip():
        raise UserError(
            f"{where}: mr is {text[:60]!r}; it must be attributes such as name[Aromi], food[French]"
        )
    return " | ".join(f"{name.strip()} : {value.strip()}" for name, value in found)
