"""What the data of MultiNLI costs a process: seconds and memory, the first time and from the cache.

    python scripts/benchmark_data.py --mnli multinli_1.0.zip --tokenizer FOLDER [--pairs 392702]

repeats the release's training pairs up to the official number, then encodes them for an encoder in processes
of their own: without a cache, with an empty one, and with one that another process has filled.  Memory is the
process's own (not shared with others) after encoding, and the most that it ever took.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

PAIRS = 392_702
TRAIN, MATCHED = "multinli_1.0_train.jsonl", "multinli_1.0_dev_matched.jsonl"


def write_release(source: Path, pairs: int, folder: Path) -> None:
    """A release with so many training pairs, each premise beyond the real ones marked by its round."""
    from experiments.tasks.files import read_jsonl

    files = read_jsonl(source, dict.fromkeys((TRAIN, MATCHED), lambda row: None))
    rows = files[TRAIN]
    with (folder / TRAIN).open("w", encoding="utf-8") as file:
        for number in range(pairs):
            row, again = rows[number % len(rows)], number // len(rows)
            row = row if not again else {**row, "sentence1": f"{row['sentence1']} {again}"}
            file.write(json.dumps(row) + "\n")
    with (folder / MATCHED).open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in files[MATCHED])


def memory() -> dict[str, float]:
    """MiB: of this process alone, of its files' pages that others may share, and the most of both."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    told = dict(line.split(":", 1) for line in status.splitlines())
    names = {"own": "RssAnon", "mapped": "RssFile", "peak": "VmHWM"}
    return {name: int(told[key].split()[0]) / 1024 for name, key in names.items()}


def measure(release: Path, tokenizer: Path, length: int) -> dict[str, float]:
    """Seconds and memory of loading and encoding all splits, libraries apart."""
    from transformers import AutoTokenizer

    from experiments.class_objective import ClassObjective
    from experiments.parts import TaskConfig
    from experiments.tasks import load_task

    loaded = AutoTokenizer.from_pretrained(str(tokenizer))
    before, start = memory(), time.perf_counter()
    task = load_task(TaskConfig("mnli", path=str(release)))
    objective = ClassObjective(loaded, task, length)
    batches = sum(len(objective.encoded(split)[0].ids) for split in task.splits)
    seconds = time.perf_counter() - start
    assert batches
    after = memory()
    return {"seconds": seconds} | {name: after[name] - before[name] for name in after}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--mnli", type=Path, required=True, help="the release, or a part of it")
    parser.add_argument("--tokenizer", type=Path, required=True, help="the folder of a BERT's tokenizer")
    parser.add_argument("--pairs", type=int, default=PAIRS, help="training pairs")
    parser.add_argument("--length", type=int, default=128, help="tokens of an input")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    if asked.alone:
        print(json.dumps(measure(asked.mnli, asked.tokenizer, asked.length)))
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        release, cache = Path(temporary) / "release", Path(temporary) / "cache"
        release.mkdir()
        write_release(asked.mnli, asked.pairs, release)
        unwritable = Path(temporary) / "file"
        unwritable.touch()
        print(f"{asked.pairs:,} training pairs; MiB")
        for what, folder in (
            ("no cache", unwritable / "below"),
            ("empty cache", cache),
            ("filled cache", cache),
        ):
            command = [sys.executable, __file__, "--mnli", str(release), "--tokenizer", str(asked.tokenizer)]
            done = subprocess.run(
                [*command, "--length", str(asked.length), "--alone"],
                env={**os.environ, "LORA_SECTION7_CACHE": str(folder)},
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            found = json.loads(done.stdout)
            print(f"{what:14}" + "".join(f"{name} {value:8.1f}   " for name, value in found.items()))
        size = sum(file.stat().st_size for file in cache.rglob("*") if file.is_file())
        print(f"the cache holds {size / 2**20:.0f} MiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
