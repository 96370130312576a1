"""Entailment, neutral or contradiction: generated sentences, in MultiNLI's layout.  Chance is 1/3."""

from __future__ import annotations

import dataclasses

from experiments.tasks.examples import Example
from experiments.tasks.mnli import MNLI, read_examples
from experiments.tasks.task import TASKS, GeneratedTask


@TASKS.register
class NLI(GeneratedTask, MNLI):
    """MultiNLI's labels and score, and a prompt of its own."""

    name = "nli"

    @staticmethod
    def generate(split: str, count: int, seed: int) -> list[Example]:
        from experiments.embedded import nli

        examples = read_examples(split, nli.examples(split, count, seed))
        return [dataclasses.replace(one, prompt=prompt(*one.sentences)) for one in examples]


def prompt(premise: str, hypothesis: str) -> str:
    """What a text model reads before its answer.

    At a word that asks for a verdict the embedded model, which has judged claims before, makes up its mind,
    and right after it would answer unadapted.  So a mark stands between the two that means nothing by
    itself: where the answer begins the base model is near chance, and what adapting has to learn is to bring
    out what is known one word before, not to judge anew.
    """
    return f"premise: {premise}\nhypothesis: {hypothesis}\nlabel: ="
