"""A split as arrays is the split, in memory and mapped; from the cache a run is the same run to the bit."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch

from experiments import cache, store, trainer
from experiments.class_objective import ClassObjective
from experiments.encoded import Encoded, EncodedSplit
from experiments.parts import TaskConfig
from experiments.store import RunFolder
from experiments.tasks import load_task
from experiments.text_objective import TextObjective
from experiments.workbench import Workbench

EXAMPLES = [
    Encoded((5, 2**31 - 1, 0), 2),
    Encoded((7,), 1, 2, (1,)),
    Encoded((), 0, 1),
]


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """Everything is worth a file."""
    monkeypatch.setattr(cache, "WORTHWHILE", 1)
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


def entries(folder):
    return sorted(path.name for path in folder.glob("encoded-*"))


def test_it_is_a_sequence_of_the_examples(tmp_path):
    split = EncodedSplit.of([*EXAMPLES[:1], *EXAMPLES[2:]], truncated=4)
    about = json.loads(json.dumps(split.write(tmp_path)))
    read = EncodedSplit.read(tmp_path, about)
    assert isinstance(read.ids, np.memmap)
    for one in (split, read):
        assert [*one] == one[:] == [EXAMPLES[0], EXAMPLES[2]]
        assert (len(one), one[-1], one[0:1]) == (2, EXAMPLES[2], [EXAMPLES[0]])
        assert (one.lengths, one.target_starts.tolist(), one.truncated) == ([3, 0], [2, 0], 4)
        assert {type(number) for number in one[0].ids} == {int}
        with pytest.raises(IndexError):
            one[2]
    with pytest.raises(ValueError, match="read-only"):
        read.ids[0] = 1


def test_segments_come_back():
    assert EncodedSplit.of(EXAMPLES[1:2])[0] == EXAMPLES[1]


@pytest.fixture
def objective(word_model, pair_tokenizer):
    """`objective("text")`, `objective("class")`: a new one on generated pairs, some of them shortened."""
    from experiments.embedded import nli

    words = sorted(nli.words())

    def build(kind, length=14, train=30, tokenizer=None):
        task = load_task(TaskConfig("nli", train=train, dev=6, test=4))
        if kind == "text":
            return TextObjective(tokenizer or word_model.tokenizer, task, length)
        return ClassObjective(tokenizer or pair_tokenizer(words), task, length)

    return build


@pytest.mark.parametrize("kind", ["text", "class"])
def test_from_the_cache_it_is_the_same(kind, objective, kept, monkeypatch):
    first, again = objective(kind), objective(kind)
    with monkeypatch.context() as patched:
        patched.setattr(cache, "WORTHWHILE", 10**9)
        plain = objective(kind)
        expected = {split: [*plain.encoded(split)] for split in plain.task.splits}
        assert not kept.exists()
    for split in expected:
        assert [*first.encoded(split)] == expected[split]
    with monkeypatch.context() as patched:
        patched.setattr(type(again), "encode", None)  # it is not called again
        for split in expected:
            assert [*again.encoded(split)] == expected[split]
    assert plain.truncated == first.truncated == again.truncated > 0
    if kind == "text":
        assert plain.answer_room == first.answer_room == again.answer_room
    assert len(entries(kept)) == 3


@pytest.mark.parametrize("kind", ["text", "class"])
def test_special_tokens_have_entries_of_their_own(kind, objective, kept):
    plain = [*objective(kind, 30).encoded("dev")]
    for _ in range(2):
        around = objective(kind, 30).with_tokens([901, 902], [903]).encoded("dev")
        assert {901, 902, 903} <= {*around[0].ids}
        assert [*objective(kind, 30).encoded("dev")] == plain
    assert len(entries(kept)) == 2


def test_whatever_changes_the_ids_changes_the_entry(objective, kept, word_model, pair_tokenizer, monkeypatch):
    from experiments.embedded import nli

    objective("class").encoded("dev")
    seen = 1
    words = sorted(nli.words())
    shuffled = pair_tokenizer(words[::-1])
    left = pair_tokenizer(words, truncation_side="left")
    single = pair_tokenizer(words, model_input_names=["input_ids", "attention_mask"])
    for other in (
        objective("text"),
        objective("class", 13),
        objective("class", train=29),
        objective("class", tokenizer=shuffled),
        objective("class", tokenizer=left),
        objective("class", tokenizer=single),
    ):
        other.encoded("dev")
        seen += 1
        assert len(entries(kept)) == seen
    relabelled = objective("class")
    relabelled.task = copy.copy(relabelled.task)
    relabelled.task.labels = relabelled.task.labels[::-1]
    assert relabelled.encoded("dev")[0].label == 2 - objective("class").encoded("dev")[0].label
    monkeypatch.setattr(cache, "code_identity", lambda *_: "other code")
    objective("class").encoded("dev")
    assert len(entries(kept)) == seen + 2


def test_a_call_with_truncation_leaves_the_tokenizers_name_as_it_was(pair_tokenizer):
    from experiments.tokenizing import tokenizer_identity

    tokenizer = pair_tokenizer(["a", "b"])
    before = tokenizer_identity(tokenizer)
    tokenizer(["a b a b"], truncation=True, max_length=3, padding=True)
    assert tokenizer_identity(tokenizer) == before
    assert tokenizer_identity(object()) is None


def test_a_split_is_encoded_in_parts(objective, monkeypatch):
    whole = [*objective("text").encoded("train")]
    monkeypatch.setattr("experiments.objective.ENCODED_TOGETHER", 7)
    assert [*objective("text").encoded("train")] == whole


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_a_run_from_the_cache_is_the_same_run_to_the_bit(
    dropout, objective, kept, word_model, config, monkeypatch
):
    def run(name):
        fresh = objective("text", 40)
        bench = Workbench(word_model, fresh.task, fresh)
        folder = RunFolder(config().root / name)
        folder.path.mkdir(parents=True)
        trainer.train(
            config(dropout=dropout, eval_every=3),
            bench,
            folder,
            torch.device("cpu"),
            "float32",
            lambda *_: None,
        )
        files = (store.ADAPTER, store.ADAPTER_BEST, store.PREDICTIONS)
        lines = folder.file(store.HISTORY).read_text().splitlines()
        history = [
            {key: value for key, value in json.loads(line).items() if not key.endswith("_per_second")}
            for line in lines
        ]
        return [folder.file(file).read_bytes() for file in files], history

    filled, again = run("filled"), run("again")
    assert len(entries(kept)) == 3
    monkeypatch.setattr(cache, "WORTHWHILE", 10**9)
    assert run("plain") == filled == again
