"""Summarise a study by method, targets and rank: mean and standard deviation over seeds, and the gap closed.

    python scripts/embedded_table.py --study embedded-table --out results/embedded-table

Writes runs.csv (one line a run, with its hash and commit) and table.md.  "Gap closed" is the share of the way
from the base model to full fine-tuning, on the same split.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from experiments.store import runs

Key = tuple[str, str]
ORDER = ["base model", "full fine-tuning", "biases"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=Path, default=Path("outputs"))
    parser.add_argument("--study", required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    folders = runs(arguments.root, arguments.study)
    records = [record for run in folders if (record := run.read())]
    if not records:
        sys.exit(f"no finished run in {arguments.root / arguments.study}")
    if len(records) < len(folders):
        unfinished = ", ".join(run.id for run in folders if run.read() is None)
        sys.exit(f"not finished, repeat the sweep or remove them: {unfinished}")
    _check_comparable(records)
    rows = [_row(record) for record in records]
    arguments.out.mkdir(parents=True, exist_ok=True)
    with (arguments.out / "runs.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    table = _table(rows)
    (arguments.out / "table.md").write_text(table, encoding="utf-8")
    print(table)


def _check_comparable(records: list[dict[str, Any]]) -> None:
    """A row of the table is one configuration at several seeds, or the mean means nothing."""
    configurations: dict[Key, dict[str, Any]] = {}
    for record in records:
        row = _row(record)
        configuration = {key: value for key, value in record["config"].items() if key != "seed"}
        if configurations.setdefault((row["task"], row["what"]), configuration) != configuration:
            sys.exit(
                f"{row['id']} differs from another {row['what']} in more than its seed; remove one of the two"
            )


def _row(record: dict[str, Any]) -> dict[str, Any]:
    config, metric, last = record["config"], record["metric"], record["metrics"]["last"]
    if config["method"] == "lora":
        ranks = sorted(set(config["rank"].values()))
        what = f"LoRA {config['targets']} r={'/'.join(map(str, ranks))}"
    else:
        what = {"none": ORDER[0], "full": ORDER[1], "bias": ORDER[2]}[config["method"]]
    return {
        "id": record["id"],
        "task": config["task"]["name"],
        "what": what,
        "seed": config["seed"],
        "metric": metric,
        "dev": last["dev"][metric],
        "test": last["test"][metric],
        "execution_test": last["test"].get("execution_accuracy", ""),
        "trainable": record["parameters"]["trainable"],
        "seconds": round(record["timing"]["seconds"], 1),
        "model": config["model"]["identity"],
        "lr": config.get("lr", ""),
        "steps": last["step"],
        "precision": record["precision"],
        "torch": record["versions"]["torch"],
        "git_commit": record["git_commit"],
    }


def _table(rows: list[dict[str, Any]]) -> str:
    cells: dict[Key, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        cells[row["task"], row["what"]].append(row)
    lines = []
    for task in dict.fromkeys(row["task"] for row in rows):
        names = sorted(
            {what for t, what in cells if t == task},
            key=lambda w: (w not in ORDER, ORDER.index(w) if w in ORDER else 0, w),
        )
        metric = cells[task, names[0]][0]["metric"].replace("_", " ")
        lines += [
            f"| {task} | trainable | {metric}, dev | test | gap closed (test) | seconds a run |",
            "|---|---|---|---|---|---|",
        ]
        base, full = (_mean(cells.get((task, name), []), "test") for name in ORDER[:2])
        for name in names:
            group = cells[task, name]
            closed = ""
            if base is not None and full is not None and name not in ORDER[:2]:
                closed = f"{(_mean(group, 'test') - base) / (full - base):.0%}"  # type: ignore[operator]
            scores = [_spread([row[split] for row in group]) for split in ("dev", "test")]
            seconds = statistics.mean(row["seconds"] for row in group)
            trainable = f"{group[0]['trainable']:,}"
            lines.append(f"| {name} | {trainable} | {' | '.join(scores)} | {closed} | {seconds:.0f} |")
        lines.append("")
    return "\n".join(lines)


def _mean(group: list[dict[str, Any]], split: str) -> float | None:
    return statistics.mean(row[split] for row in group) if group else None


def _spread(values: list[float]) -> str:
    mean = f"{100 * statistics.mean(values):.1f}"
    return f"{mean} ± {100 * statistics.stdev(values):.1f} (n={len(values)})" if len(values) > 1 else mean


if __name__ == "__main__":
    main()
