"""Entailment, neutral or contradiction: generated sentences, in MultiNLI's layout.  Chance is 1/3."""

from __future__ import annotations

from experiments.tasks.examples import Example
from experiments.tasks.mnli import MNLI, read_examples
from experiments.tasks.task import TASKS, GeneratedTask


@TASKS.register
class NLI(GeneratedTask, MNLI):
    """MultiNLI's prompt, labels and score."""

    name = "nli"

    @staticmethod
    def generate(split: str, count: int, seed: int) -> list[Example]:
        from experiments.embedded import nli

        return read_examples(split, nli.examples(split, count, seed))
