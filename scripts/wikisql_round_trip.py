"""Does every gold query of WikiSQL come back from the text that a model is to write?

    python scripts/wikisql_round_trip.py data.tar.bz2

A query is written in the plain form, or with quotes where that would not read back, and parsed again.  It
comes back where both are the same by the official rule of logical form (conditions in any order, values as
texts in lower case).  Prints the counts of each split, and what does not come back with the reason.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

from experiments.errors import UserError
from experiments.tasks.query import Query, QueryError, parse
from experiments.tasks.task import Example
from experiments.tasks.wikisql import WikiSQL


def lost(example: Example) -> str | None:
    """Why the example's query does not come back; None where it does."""
    header, query = example.gold.header, example.gold.query
    try:
        found = parse(example.target, header)
    except QueryError as error:
        return str(error)
    return None if found.matches(query) else f"{example.target!r} reads as {found}, not as {query}"


def unchanged(example: Example) -> bool:
    """Whether it comes back to the letter: order and case of the conditions too, values as texts."""
    found, query = parse(example.target, example.gold.header), example.gold.query
    return found == Query(query.sel, query.agg, tuple((c, o, str(v)) for c, o, v in query.conds))


def main() -> int:
    command = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    command.add_argument("release", type=Path, help="data.tar.bz2, or the folder that it unpacks to")
    try:
        task = WikiSQL.from_path(command.parse_args().release)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    total: Counter[str] = Counter()
    for split in task.splits:
        counts: Counter[str] = Counter()
        for example in task.examples(split):
            reason = lost(example)
            counts["queries"] += 1
            counts["come back"] += reason is None
            counts["to the letter"] += reason is None and unchanged(example)
            if reason is not None:
                print(f"{split} {example.id}: {reason}")
        print(f"{split:5}  {told(counts)}", flush=True)
        total += counts
    print(f"{'all':5}  {told(total)}")
    return int(total["come back"] < total["queries"])


def told(counts: Counter[str]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items())


if __name__ == "__main__":
    sys.exit(main())
