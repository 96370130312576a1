"""What a kind of model is trained to do with a task's examples: encode them, the loss, and predictions."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from experiments import cache
from experiments.encoded import Encoded, EncodedSplit
from experiments.errors import UserError
from experiments.tasks import Example, Task
from experiments.tokenizing import tokenizer_identity

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

ENCODED_TOGETHER = 10_000
"""Examples that are given to the tokenizer at once."""
_CODE = Path(__file__).resolve().parent
_MODULES = ("encoded", "objective", "tokenizing", "class_objective", "text_objective")
"""What token ids are made by, besides the tokenizer."""


class Objective(ABC):
    """Shared by every run on the same base model and task."""

    def __init__(self, tokenizer: Any, task: Task, max_length: int):
        self.tokenizer = tokenizer
        self.task = task
        self.max_length = max_length
        self.truncated = 0
        self._content = functools.cache(task.content)
        self._encoded: dict[str, EncodedSplit] = {}
        self._references: dict[str, list[list[Encoded]]] = {}
        self._around: tuple[Sequence[int], Sequence[int]] = (), ()

    def with_tokens(self, before: Sequence[int], after: Sequence[int]) -> Self:
        """The same with further ids before and after each prompt, for which there is less room then.

        Raises UserError where there is none left.
        """
        room = self.max_length - len(before) - len(after)
        if room < 8:
            raise UserError(
                f"l_p={len(before)} and l_i={len(after)} leave {room} of {self.max_length} tokens for the "
                "input; give smaller ones"
            )
        other = type(self)(self.tokenizer, self.task, room)
        other._around = before, after
        return other

    def encoded(self, split: str) -> EncodedSplit:
        """The split's examples as token ids, encoded once; those of a large one once for all processes."""
        if split not in self._encoded:
            found = self._made(split)
            self.truncated += found.truncated
            self._encoded[split] = found
        return self._encoded[split]

    def _made(self, split: str) -> EncodedSplit:
        examples = self.task.examples(split)
        large = len(examples) >= cache.WORTHWHILE
        tokenizer = tokenizer_identity(self.tokenizer) if large else None
        if tokenizer is None:
            return self._encode_all(examples)
        key = {
            "code": cache.code_identity(*(_CODE / f"{name}.py" for name in _MODULES)),
            "objective": type(self).__qualname__,
            "examples": self._content(split),
            "train": self._content("train"),  # whose longest answer says how much room there is
            "labels": self.task.labels,
            "tokenizer": tokenizer,
            "max_length": self.max_length,
            "around": [[*ids] for ids in self._around],
        }
        return cache.once(
            "encoded",
            key,
            lambda: self._encode_all(cache.progress(examples, len(examples), f"tokenising {split}")),
            EncodedSplit.write,
            EncodedSplit.read,
        )

    def _encode_all(self, examples: Iterable[Example]) -> EncodedSplit:
        before = self.truncated
        found = EncodedSplit.of(self.surrounded(one) for one in self._encode_parts(examples))
        truncated, self.truncated = self.truncated - before, before
        return dataclasses.replace(found, truncated=truncated)

    def _encode_parts(self, examples: Iterable[Example]) -> Iterator[Encoded]:
        rest = iter(examples)
        while part := [*itertools.islice(rest, ENCODED_TOGETHER)]:
            yield from self.encode(part)

    def references(self, split: str) -> Sequence[Sequence[Encoded]]:
        """Of each example of the split all the targets that are right, encoded once."""
        if split not in self._references:
            each = [self.task.references(example) for example in self.task.examples(split)]
            before = self.truncated  # the same prompts again
            encoded = iter(self.encode([one for several in each for one in several]))
            self.truncated = before
            self._references[split] = [[self.surrounded(next(encoded)) for _ in several] for several in each]
        return self._references[split]

    def surrounded(self, one: Encoded) -> Encoded:
        """With the further ids; a class's input keeps its first token first, for its head reads that."""
        before, after = self._around
        if not before and not after:
            return one
        first = 1 if one.label >= 0 else 0
        prompt, answer = one.ids[: one.target_start], one.ids[one.target_start :]
        ids = (*prompt[:first], *before, *prompt[first:], *after, *answer)
        segments = one.segments
        if segments:
            segments = (*segments[:1] * (1 + len(before)), *segments[1:], *segments[-1:] * len(after))
        return Encoded(ids, one.target_start + len(before) + len(after), one.label, segments)

    @abstractmethod
    def encode(self, examples: Sequence[Example]) -> list[Encoded]:
        """Token ids, shortened to `max_length` where needed (counted in `truncated`)."""

    @abstractmethod
    def loss(
        self, model: PreTrainedModel, batch: Sequence[Encoded], device: torch.device, smoothing: float
    ) -> torch.Tensor:
        """The batch's mean cross-entropy, a scalar."""

    def losses(
        self, model: PreTrainedModel, batch: Sequence[Encoded], device: torch.device
    ) -> list[tuple[float, int]]:
        """Of each example the cross-entropy summed over its target's tokens, in nats, and their number."""
        raise NotImplementedError(f"{type(self).__name__} has no targets of several tokens")

    @abstractmethod
    def predict(self, model: PreTrainedModel, batch: Sequence[Encoded], device: torch.device) -> list[str]:
        """One prediction an example: text, or one of the task's labels."""
