"""WebNLG 2017: what triples of DBpedia say, in words (paper section 5.4 and appendix F.1)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree import ElementTree

from experiments.errors import UserError
from experiments.tasks.files import json_document, release_files, wrong_field
from experiments.tasks.generation import GenerationTask, Group, filled, with_texts
from experiments.tasks.task import TASKS

SEEN = (
    "Airport",
    "Astronaut",
    "Building",
    "City",
    "ComicsCharacter",
    "Food",
    "Monument",
    "SportsTeam",
    "University",
    "WrittenWork",
)
"""The categories of the training set; the test set has five more."""
GOOD = "good"
WITHOUT_TEXTS = ("no_lex", "unseen")
"""In the names of files of the release that repeat others: the inputs alone, or a part of them."""


@TASKS.register
class WebNLG(GenerationTask):
    """Judged on all of the test set, and on its seen and unseen categories apart, as the paper reports."""

    name = "webnlg"
    metrics = ("bleu_lc", "bleu_lc_seen", "bleu_lc_unseen", "meteor", "ter")
    origin = (
        "microsoft/LoRA has it in examples/NLG/data/webnlg_challenge_2017 (train.json, dev.json, test.json), "
        "the challenge as .xml files in folders train, dev and test"
    )

    @classmethod
    def read(cls, path: Path) -> Mapping[str, Sequence[Group]]:
        """From the json of microsoft/LoRA, or the challenge's own xml."""
        found: dict[str, list[Group]] = {}
        for name, content in release_files(path, lambda name: _split(name) is not None):
            where, split = f"{path}:{name}", str(_split(name))
            if name.suffix == ".json":
                if split in found:
                    raise UserError(f"task.path={path} holds more than one {name.name}; give one release")
                found[split] = with_texts(_of_json(json_document(content, where), where), where)
            else:
                found.setdefault(split, []).extend(with_texts(_of_xml(content, where), where))
        return found


def _split(name: PurePosixPath) -> str | None:
    """That of a file, which its own name or a folder above says; None where it is no data."""
    if name.suffix == ".json":
        return name.stem if name.stem in ("train", "dev", "test") else None
    if name.suffix != ".xml" or any(word in name.stem for word in WITHOUT_TEXTS):
        return None
    words = [name.stem.lower(), *(part.lower() for part in name.parts[-2::-1])]
    return next((split for word in words for split in ("train", "dev", "test") if word == split), None)


def _of_json(content: Any, where: str) -> Iterator[Group]:
    if not isinstance(content, dict) or not isinstance(content.get("entries"), list):
        raise UserError(f"{where} has no list of entries")
    for number, outer in enumerate(content["entries"], start=1):
        entry_at = f"{where}, entry {number}"
        entry = next(iter(outer.values()), None) if isinstance(outer, dict) and len(outer) == 1 else None
        if not isinstance(entry, dict):
            raise UserError(f"{entry_at} is not one object under its number")
        if reason := wrong_field(
            entry, {"category": str, "modifiedtripleset": list, "lexicalisations": list}
        ):
            raise UserError(f"{entry_at}: {reason}")
        try:
            triples = [(one["subject"], one["property"], one["object"]) for one in entry["modifiedtripleset"]]
            texts = [one["lex"] for one in entry["lexicalisations"] if one["comment"] == GOOD]
        except (KeyError, TypeError) as error:
            raise UserError(f"{entry_at} is not in the layout of WebNLG 2017: {error!r}") from error
        yield _group(entry_at, entry["category"], triples, texts)


def _of_xml(content: bytes, where: str) -> Iterator[Group]:
    try:
        entries = ElementTree.fromstring(content).iter("entry")
    except ElementTree.ParseError as error:
        raise UserError(f"{where} is not XML: {error}") from error
    for entry in entries:
        entry_at = f"{where}, entry {entry.get('eid')}"
        triples = [
            tuple((one.text or "").split(" | ")) for one in entry.iterfind("modifiedtripleset/mtriple")
        ]
        if any(len(triple) != 3 for triple in triples):
            raise UserError(f"{entry_at}: a triple is not subject | property | object")
        texts = [one.text for one in entry.iterfind("lex") if one.get("comment", GOOD) in (GOOD, "")]
        yield _group(entry_at, entry.get("category", ""), triples, texts)


def _group(where: str, category: str, triples: Sequence[tuple[str, ...]], texts: Sequence[Any]) -> Group:
    if not triples:
        raise UserError(f"{where} has no triple")
    return Group(
        written(triples),
        tuple(filled(where, "a text", text) for text in texts),
        "seen" if category in SEEN else "unseen",
    )


def written(triples: Sequence[Sequence[str]]) -> str:
    """As microsoft/LoRA writes them: `subject : property : object | ...`."""
    return " | ".join(" : ".join(part.strip() for part in triple) for triple in triples)
