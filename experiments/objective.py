"""What a kind of model is trained to do with a task's examples: encode them, the loss, and predictions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from experiments.errors import UserError
from experiments.tasks import Example, Task

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Encoded:
    """Token ids of one example.  From `target_start` on they are the answer (a class has none there).

    `segments` are the numbers that an encoder's tokenizer gives the sentences; empty where it has none.
    """

    ids: tuple[int, ...]
    target_start: int
    label: int = -1
    segments: tuple[int, ...] = ()


class Objective(ABC):
    """Shared by every run on the same base model and task."""

    def __init__(self, tokenizer: Any, task: Task, max_length: int):
        self.tokenizer = tokenizer
        self.task = task
        self.max_length = max_length
        self.truncated = 0
        self._encoded: dict[str, list[Encoded]] = {}
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

    def encoded(self, split: str) -> Sequence[Encoded]:
        """The split's examples as token ids, encoded once."""
        if split not in self._encoded:
            self._encoded[split] = [self.surrounded(one) for one in self.encode(self.task.examples(split))]
        return self._encoded[split]

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

    @abstractmethod
    def predict(self, model: PreTrainedModel, batch: Sequence[Encoded], device: torch.device) -> list[str]:
        """One prediction an example: text, or one of the task's labels."""
