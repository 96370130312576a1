"""What is done beside runs: `python -m experiments score` judges another system's predictions."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from experiments.errors import UserError
from experiments.terminal import spoken


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python -m experiments", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True)
    score = commands.add_parser("score", help="score predictions of another system in the official format")
    score.add_argument("task", choices=["wikisql"])
    score.add_argument("predictions", type=Path, metavar="PRED.jsonl")
    score.add_argument("--gold", type=Path, required=True, help="the release's {split}.jsonl")
    score.add_argument("--tables", type=Path, help="its {split}.tables.jsonl, whose rows are queried")
    score.add_argument("--db", type=Path, help="its {split}.db, which is queried instead")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 0, or 2 for files that cannot be scored."""
    given = parser().parse_args(arguments)
    from experiments.scoring import score_wikisql

    try:
        print(score_wikisql(given.predictions, given.gold, given.tables, given.db))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(spoken(main))
