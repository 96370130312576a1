"""Packed documents: every one whole, weighted, and computed as if it stood alone."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from experiments.embedded.packing import ANSWER_WEIGHT, END_WEIGHT, TEXT_WEIGHT, batches
from experiments.embedded.pretraining import Document
from experiments.embedded.tokenizer import build_tokenizer

WORDS = [f"w{number}" for number in range(20)]
TOKENIZER = build_tokenizer(WORDS)


def endless():
    """Texts of 1 to 7 words, answers of 0 to 2; one in eleven is longer than a row."""
    number = 0
    while True:
        length = 30 if number % 11 == 10 else 1 + number % 7
        text = " ".join(WORDS[(number + place) % 20] for place in range(length))
        yield Document(text, " ".join(WORDS[: number % 3]))
        number += 1


def read_back(batch):
    """(ids, weights) of each document, row by row, found by its positions."""
    for ids, weights, positions in zip(batch.ids, batch.weights, batch.positions, strict=True):
        used = int((ids != TOKENIZER.pad_token_id).sum())
        starts = [place for place in range(used) if positions[place] == 0] + [used]
        for start, end in pairwise(starts):
            assert positions[start:end].tolist() == list(range(end - start))
            yield ids[start:end].tolist(), weights[start:end].tolist()


def test_documents_come_back_whole_in_order_and_weighted():
    stream = batches(endless(), TOKENIZER, rows=4, block=24)
    found = [document for _ in range(5) for document in read_back(next(stream))]
    fitting = (document for document in endless() if len(document.text.split()) < 24)
    for (ids, weights), document in zip(found, fitting, strict=False):
        text, answer = document.text.split(), document.answer.split()
        assert TOKENIZER.convert_ids_to_tokens(ids) == [*text, *answer, "<eos>"]
        expected = [0.0] + [TEXT_WEIGHT] * (len(text) - 1)
        expected += [ANSWER_WEIGHT / len(answer)] * len(answer) + [END_WEIGHT] if answer else [END_WEIGHT]
        torch.testing.assert_close(torch.tensor(weights), torch.tensor(expected))
    assert len(found) > 50


def test_rows_are_nearly_full_and_padding_weighs_nothing():
    batch = next(batches(endless(), TOKENIZER, rows=8, block=24))
    padding = batch.ids == TOKENIZER.pad_token_id
    assert padding.float().mean() < 0.25
    assert not batch.weights[padding].any()


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_a_packed_document_has_the_logits_that_it_has_alone(attention):
    torch.manual_seed(0)
    model = GPT2LMHeadModel(
        GPT2Config(vocab_size=len(TOKENIZER), n_positions=24, n_embd=16, n_layer=2, n_head=2)
    )
    model.eval()
    model.set_attn_implementation(attention)
    batch = next(batches(endless(), TOKENIZER, rows=2, block=24))
    with torch.no_grad():
        packed = model(input_ids=batch.ids, position_ids=batch.positions, attention_mask=batch.mask).logits
        start = 0
        for ids, _ in read_back(next(batches(endless(), TOKENIZER, rows=1, block=24))):
            alone = model(input_ids=torch.tensor([ids])).logits[0]
            torch.testing.assert_close(packed[0, start : start + len(ids)], alone, atol=1e-5, rtol=1e-5)
            start += len(ids)
    assert start > 12
