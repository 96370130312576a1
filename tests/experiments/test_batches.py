"""Every example once an epoch, in an order that the seed alone decides, with little padding."""

from __future__ import annotations

import itertools
from itertools import chain, islice

from hypothesis import given
from hypothesis import strategies as st

from experiments.batches import batches_per_epoch, evaluation_batches, training_batches

LENGTHS = st.lists(st.integers(1, 60), min_size=1, max_size=200)


@given(LENGTHS, st.integers(1, 40), st.integers(0, 5))
def test_each_epoch_visits_every_example_once(lengths, batch_size, seed):
    per_epoch = batches_per_epoch(len(lengths), batch_size)
    batches = training_batches(lengths, batch_size, seed)
    for _ in range(2):
        epoch = list(islice(batches, per_epoch))
        assert sorted(chain(*epoch)) == list(range(len(lengths)))
        assert max(map(len, epoch)) <= batch_size


@given(LENGTHS, st.integers(1, 40))
def test_evaluation_visits_every_example_once(lengths, batch_size):
    assert sorted(chain(*evaluation_batches(lengths, batch_size))) == list(range(len(lengths)))


def test_seed_decides_the_order():
    lengths = [n % 37 + 1 for n in range(500)]
    first, again, other = (list(islice(training_batches(lengths, 8, s), 100)) for s in (0, 0, 1))
    assert first == again
    assert first != other
    assert first[:63] != first[63:]


def test_batches_hold_similar_lengths():
    lengths = [(n * 7919) % 60 + 1 for n in range(2048)]
    batches = list(islice(training_batches(lengths, 32, 0), 64))
    padding = sum(max(lengths[i] for i in b) * len(b) for b in batches) / sum(lengths)
    assert padding < 1.1
    assert max(lengths[i] for i in batches[0]) != max(lengths[i] for i in batches[-1])


def test_every_epoch_has_an_order_of_its_own():
    batches = training_batches([5] * 40, 4, seed=0)
    first, second = ([next(batches) for _ in range(10)] for _ in range(2))
    assert sorted(chain(*first)) == sorted(chain(*second)) == list(range(40))
    assert first != second
    assert {frozenset(batch) for batch in first} != {frozenset(batch) for batch in second}


def test_batches_of_similar_lengths_come_in_no_order_of_length():
    """And are similar, not equal: sorted are 32 batches at a time, so that which examples meet is random."""
    batches = training_batches(list(range(1024)), 8, seed=0)
    epoch = [next(batches) for _ in range(128)]
    spans = [max(batch) - min(batch) for batch in epoch]
    assert 20 < sum(spans) / len(spans) < 36  # 7 gaps of 4 on average; 7 if all were sorted together
    means = [sum(batch) for batch in epoch[:32]]
    rises = sum(one < two for one, two in itertools.pairwise(means))
    assert 8 < rises < 24
