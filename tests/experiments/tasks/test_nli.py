"""The embedded model makes up its mind before the mark that ends the prompt, and after it is near chance."""

from __future__ import annotations

import pytest
import torch

from experiments.config import TaskConfig
from experiments.embedded.checkpoint import read_checkpoint
from experiments.tasks import load_task

SAME_ANSWER = {"entailment": "yes", "neutral": "maybe", "contradiction": "no"}
"""The answers that the base model was taught to give after "label:"."""


@pytest.fixture(scope="module")
def task():
    return load_task(TaskConfig("nli", train=1, dev=500, test=1))


@pytest.fixture(scope="module")
def base():
    model, tokenizer = read_checkpoint()
    return model.eval(), tokenizer


def accuracy(base, task, answers, cut=0):
    """In per cent of dev, of the likeliest of three words after a prompt without its last `cut` tokens."""
    model, tokenizer = base
    words = torch.tensor([tokenizer(answer)["input_ids"][0] for answer in answers.values()])
    right = 0
    for example in task.examples("dev"):
        ids = tokenizer(example.prompt)["input_ids"]
        with torch.inference_mode():
            logits = model(torch.tensor([ids[: len(ids) - cut]])).logits[0, -1, words]
        right += list(answers)[int(logits.argmax())] == example.gold
    return 100 * right / len(task.examples("dev"))


def test_prompt(task):
    example = task.examples("dev")[0]
    premise, hypothesis = example.sentences
    assert example.prompt == f"premise: {premise}\nhypothesis: {hypothesis}\nlabel: ="


def test_the_base_model_is_near_chance_after_the_mark(base, task):
    labels = {label: label for label in task.labels}
    assert 100 / 3 - 5 < accuracy(base, task, labels) < 100 / 3 + 5


def test_the_base_model_judges_before_the_mark(base, task):
    """So adapting brings a verdict out, in other words and one word later."""
    assert accuracy(base, task, SAME_ANSWER, cut=1) > 80
