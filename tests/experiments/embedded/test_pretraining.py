"""The pretraining text has the tasks' words and skills, but neither their format nor their examples."""

from __future__ import annotations

from itertools import islice

import pytest

from experiments.config import TaskConfig
from experiments.embedded import nli, pretraining, sql
from experiments.embedded.split import bucket
from experiments.tasks import load_task

KEYWORDS = {"SELECT", "FROM", "WHERE", "AND", "entailment", "neutral", "contradiction", "sql:", "label:"}


@pytest.fixture(scope="module")
def documents():
    return [f"{d.text} {d.answer}".strip() for d in islice(pretraining.documents(seed=0), 3000)]


def test_format_of_the_tasks_occurs_in_the_glossary_alone(documents):
    for document in documents:
        if document not in pretraining.GLOSSARY:
            assert not KEYWORDS & set(document.split()), document
    assert not any("SELECT" in document and "FROM" in document for document in documents)


def test_every_question_and_claim_is_of_the_pretraining_split(documents):
    questions = [d.split(" request ")[1].split(" ? ")[0] + " ?" for d in documents if " request " in d]
    assert len(questions) > 300
    assert {bucket(question) for question in questions} == {"pretrain"}
    claims = [d.removeprefix("fact ").split(" claim ") for d in documents if d.startswith("fact ")]
    assert len(claims) > 1500
    for premise, rest in claims:
        hypothesis = rest.split(" verdict ")[0]
        assert nli.bucket(nli.Pair(premise, hypothesis, "neutral", "")) == "pretrain"


def test_vocabulary_covers_text_and_tasks(documents):
    known = set(pretraining.words())
    assert {word for document in documents for word in document.split()} <= known
    for name in ("sql", "nli"):
        task = load_task(TaskConfig(name, train=300, dev=50, test=50))
        texts = [f"{e.prompt} {e.target}" for split in task.splits for e in task.examples(split)]
        assert {word for text in texts for word in text.split()} <= known


def test_every_notation_and_verdict_occurs(documents):
    text = " ".join(documents)
    assert all(f" {marker} " in text for marker in ("find", "nested", "steps", "verdict", "means", "so"))
    assert {d.rsplit(" ", 1)[1] for d in documents if " verdict " in d} == {"yes", "maybe", "no"}


def test_stream_follows_the_seed():
    one, two, other = (list(islice(pretraining.documents(seed), 50)) for seed in (3, 3, 4))
    assert one == two != other


def test_notations():
    header = ["club", "goals", "age"]
    query = pretraining.Query(1, 1, ((0, 0, "united"), (2, 1, 30)))
    assert pretraining._as_sentence(query, header) == "top goals if club is united and age over 30"
    assert pretraining._as_nested(query, header) == "( top goals ( is club united ) ( over age 30 ) )"
    assert pretraining._as_steps(query, header) == "club is united / age over 30 / top goals"
    assert pretraining._as_sentence(pretraining.Query(1), header) == "value goals"
    assert sql.subjects()
