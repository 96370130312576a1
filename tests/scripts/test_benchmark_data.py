"""The benchmark of the data runs, on a release of a few pairs, and repeats them as it says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_it_measures_a_small_release(tmp_path):
    from transformers import BertTokenizerFast

    rows = [
        {"sentence1": f"a dog {i}", "sentence2": "a cat", "gold_label": "neutral", "pairID": str(i)}
        for i in range(300)
    ]
    release = tmp_path / "release"
    release.mkdir()
    for name in ("train", "dev_matched"):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (release / f"multinli_1.0_{name}.jsonl").write_text(text)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "dog", "cat", *map(str, range(10))]
    words += [f"##{digit}" for digit in range(10)]
    vocabulary = {word: index for index, word in enumerate(words)}
    BertTokenizerFast(vocab=vocabulary).save_pretrained(tmp_path / "tokenizer")
    command = [sys.executable, ROOT / "scripts/benchmark_data.py", "--mnli", release]
    done = subprocess.run(
        [*command, "--pairs", "6500", "--tokenizer", tmp_path / "tokenizer", "--length", "16"],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.splitlines()
    assert lines[0] == "6,500 training pairs; MiB"
    names = ["no cache", "empty cache", "filled cache"]
    assert [
        re.split(r"\s{2,}", line)[0].partition("  ")[0].strip()[:12].strip() for line in lines[1:4]
    ] == names
    assert all(
        re.search(r"seconds +[\d.]+ +own +-?[\d.]+ +mapped +-?[\d.]+ +peak", line) for line in lines[1:4]
    )
    assert re.fullmatch(r"the cache holds [1-9]\d* MiB", lines[4])
