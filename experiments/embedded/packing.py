"""Documents packed into rows of tokens, each as if it stood alone.

A document's positions begin at 0 and its tokens see no other document, as a prompt of a task does and sees.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor
    from transformers import PreTrainedTokenizerFast

    from experiments.embedded.pretraining import Document

# Most words of a text are chance, so they weigh little; an answer, few words of many, weighs much.
TEXT_WEIGHT = 0.5
ANSWER_WEIGHT = 12.0
END_WEIGHT = 1.0
_TOKENISED_AT_ONCE = 256


@dataclass(frozen=True)
class Batch:
    """`rows` x `block` tokens.

    Attributes:
        ids: token ids; unused places at the end of a row hold the padding token.
        weights: of each token as a prediction; 0 for the first of a document and for padding.
        positions: from 0 in each document.
        mask: added to the attention scores: 0 for the tokens (second dimension of the two) that a token sees,
            its document's up to itself, and minus infinity for the others.
    """

    ids: Int[Tensor, "rows block"]
    weights: Float[Tensor, "rows block"]
    positions: Int[Tensor, "rows block"]
    mask: Float[Tensor, "rows 1 block block"]


def batches(
    documents: Iterator[Document], tokenizer: PreTrainedTokenizerFast, rows: int, block: int
) -> Iterator[Batch]:
    """Rows filled with whole documents, in order; a document longer than a row is left out."""
    pieces = _tokenised(documents, tokenizer)
    piece = next(pieces)
    causal = torch.ones(block, block, dtype=torch.bool).tril()
    while True:
        ids = torch.full((rows, block), tokenizer.pad_token_id)
        weights = torch.zeros(rows, block)
        positions = torch.zeros(rows, block, dtype=torch.long)
        owner = torch.zeros(rows, block, dtype=torch.long)  # the document's number in its row; 0 is padding
        for row in range(rows):
            start, number = 0, 0
            while start + len(piece[0]) <= block or len(piece[0]) > block:
                length = len(piece[0])
                if length <= block:
                    number += 1
                    place = slice(start, start + length)
                    ids[row, place], weights[row, place] = torch.tensor(piece[0]), torch.tensor(piece[1])
                    positions[row, place], owner[row, place] = torch.arange(length), number
                    start += length
                piece = next(pieces)
        seen = (owner[:, :, None] == owner[:, None, :]) & causal
        mask = torch.zeros(rows, block, block).masked_fill(~seen, float("-inf"))
        yield Batch(ids, weights, positions, mask[:, None])


def _tokenised(
    documents: Iterator[Document], tokenizer: PreTrainedTokenizerFast
) -> Iterator[tuple[list[int], list[float]]]:
    """Each document's token ids, ended by <eos>, and their weights."""
    while True:
        drawn = list(islice(documents, _TOKENISED_AT_ONCE))
        texts = tokenizer([document.text for document in drawn])["input_ids"]
        answers = tokenizer([document.answer for document in drawn])["input_ids"]
        for text, answer in zip(texts, answers, strict=True):
            each = max(1.0, ANSWER_WEIGHT / max(1, len(answer)))
            weights = [0.0] + [TEXT_WEIGHT] * (len(text) - 1) + [each] * len(answer) + [END_WEIGHT]
            yield [*text, *answer, tokenizer.eos_token_id], weights
