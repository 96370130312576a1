"""Which examples make up each training batch: random, of similar lengths, the same for a seed."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

# Examples are sorted by length within this many batches, then the batches are shuffled: little padding,
# while which examples meet in a batch stays random.
BATCHES_SORTED_TOGETHER = 32


def training_batches(lengths: Sequence[int], batch_size: int, seed: int) -> Iterator[list[int]]:
    """Endless batches of indices into `lengths`; each epoch visits every example once, in a new order.

    The last batch of an epoch may be smaller.
    """
    rng = random.Random(f"batches/{seed}")
    while True:
        order = list(range(len(lengths)))
        rng.shuffle(order)
        for start in range(0, len(order), batch_size * BATCHES_SORTED_TOGETHER):
            chunk = sorted(
                order[start : start + batch_size * BATCHES_SORTED_TOGETHER], key=lambda index: lengths[index]
            )
            batches = [chunk[i : i + batch_size] for i in range(0, len(chunk), batch_size)]
            rng.shuffle(batches)
            yield from batches


def batches_per_epoch(examples: int, batch_size: int) -> int:
    return -(-examples // batch_size)


def evaluation_batches(lengths: Sequence[int], batch_size: int) -> Iterator[list[int]]:
    """All indices once, of similar lengths together."""
    order = sorted(range(len(lengths)), key=lambda index: lengths[index])
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]
