"""Small GLUE releases in the official layouts, made of words that the tests' tokenizers know."""

from __future__ import annotations

import random
from pathlib import Path

WORDS = [
    "a",
    "the",
    "dog",
    "cat",
    "man",
    "woman",
    "runs",
    "sleeps",
    "eats",
    "sees",
    "red",
    "old",
    "small",
    "big",
    "now",
    "here",
]
MNLI_COLUMNS = [
    *["index", "promptID", "pairID", "genre", "sentence1_binary_parse", "sentence2_binary_parse"],
    *["sentence1_parse", "sentence2_parse", "sentence1", "sentence2", "label1", "gold_label"],
]
HEADERS = {
    "CoLA": None,
    "SST-2": ["sentence", "label"],
    "MRPC": ["\ufeffQuality", "#1 ID", "#2 ID", "#1 String", "#2 String"],
    "QQP": ["id", "qid1", "qid2", "question1", "question2", "is_duplicate"],
    "QNLI": ["index", "question", "sentence", "label"],
    "RTE": ["index", "sentence1", "sentence2", "label"],
    "STS-B": [
        *["index", "genre", "filename", "year", "old_index", "source1", "source2"],
        *["sentence1", "sentence2", "score"],
    ],
    "MNLI": MNLI_COLUMNS,
}
SPLITS = {"MNLI": ("train", "dev_matched", "dev_mismatched")}


def row(folder: str, number: int, drawn: random.Random) -> list[str]:
    """One row, as the official file has it; its answer follows from the number."""
    one, two = (" ".join(drawn.choices(WORDS, k=6)) for _ in range(2))
    binary, entailed = str(number % 2), ["entailment", "not_entailment"][number % 2]
    index = str(number)
    if folder == "MNLI":
        label = ["entailment", "neutral", "contradiction"][number % 3]
        return [index, index, f"{index}e", "fiction", *["( x )"] * 4, one, two, label, label]
    return {
        "CoLA": ["gj04", binary, "" if number % 2 else "*", one],
        "SST-2": [one, binary],
        "MRPC": [binary, index, index, one, two],
        "QQP": [index, index, index, one, two, binary],
        "QNLI": [index, one, two, entailed],
        "RTE": [index, one, two, entailed],
        "STS-B": [index, *["x"] * 6, one, two, f"{number % 51 / 10:.3f}"],
    }[folder]


def write_glue(root: Path, train: int = 40, dev: int = 12, seed: int = 0) -> Path:
    """`root`/TASK/{train,dev}.tsv of the paper's eight tasks, MNLI among them."""
    for folder, header in HEADERS.items():
        (root / folder).mkdir(parents=True)
        for split in SPLITS.get(folder, ("train", "dev")):
            drawn = random.Random(f"{folder}/{split}/{seed}")
            count = train if split == "train" else dev
            lines = [] if header is None else [header]
            lines += [row(folder, number, drawn) for number in range(count)]
            text = "".join("\t".join(line) + "\n" for line in lines)
            (root / folder / f"{split}.tsv").write_text(text, encoding="utf-8")
    return root
