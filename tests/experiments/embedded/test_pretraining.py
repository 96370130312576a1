"""The pretraining text has the tasks' words and skills, but neither their format nor their examples."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from itertools import islice

import pytest

from experiments.config import TaskConfig
from experiments.embedded import nli, pretraining, sql
from experiments.embedded.split import bucket
from experiments.tasks import load_task

CLAIM = re.compile(
    f"(?P<opening>{'|'.join(pretraining.OPENINGS)}) (?P<premise>.+) (?P<link>{'|'.join(pretraining.LINKS)}) "
    f"(?P<hypothesis>.+) (?P<closing>{'|'.join(pretraining.VERDICTS)}) (?P<answer>[a-z ]+)"
)
PROMPTS = {"sql": {"table:", "|", "question:", "sql:"}, "nli": {"premise:", "hypothesis:", "label:", "="}}
QUERY_WORDS = ({"SELECT", "MAX", "MIN", "COUNT", "SUM", "AVG"}, {"=", ">", "<"}, {"WHERE"}, {"AND"}, {"FROM"})
LABELS = {"entailment", "neutral", "contradiction"}


@pytest.fixture(scope="module")
def documents():
    return [f"{d.text} {d.answer}".strip() for d in islice(pretraining.documents(seed=0), 3000)]


def test_no_document_has_the_format_of_a_task(documents):
    for document in documents:
        words = set(document.split())
        assert all(len(prompt & words) < len(prompt) for prompt in PROMPTS.values()), document
        if " : " not in document:
            assert sum(bool(kind & words) for kind in QUERY_WORDS) <= 1, document
            assert "FROM" not in words
            assert "SELECT" not in words or "WHERE" not in words


def test_labels_of_nli_are_answers_in_a_sentence_alone(documents):
    named = [document for document in documents if LABELS & set(document.split())]
    assert len(named) > 300
    for document in named:
        assert " : " in document or " in logic it is a case of " in document


def test_glossary_gives_every_word_of_a_format_a_meaning(documents):
    glossary = {tuple(entry.split(" : ")) for entry in documents if " : " in entry}
    meanings = {(word, one) for word, meaning in pretraining.GLOSSARY.items() for one in meaning.split()}
    assert glossary <= meanings | {(one, word) for word, one in meanings}
    assert {word for entry in glossary for word in entry} >= LABELS.union(*PROMPTS.values(), *QUERY_WORDS)


def test_no_claim_ends_in_the_mark_of_the_task(documents):
    for document in documents:
        words = set(document.split())
        assert "=" not in words or not {"premise:", "hypothesis:"} & words or " : " in document, document


def test_every_question_rewording_and_claim_is_of_the_pretraining_split(documents):
    asked = [
        re.split(" request | question: ", d)[1] for d in documents if re.search(" request | question: ", d)
    ]
    questions = [question.split(" ? ")[0] + " ?" for question in asked]
    rewordings = [question for d in documents if " means " in d for question in d.split(" means ")]
    assert len(questions) > 300
    assert len(rewordings) > 100
    assert {bucket(question) for question in questions + rewordings} == {"pretrain"}
    claims = [parts for d in documents if (parts := CLAIM.fullmatch(d))]
    assert len(claims) > 1500
    for parts in claims:
        pair = nli.Pair(parts["premise"], parts["hypothesis"], "neutral", "")
        assert nli.bucket(pair) == "pretrain"


def test_claims_come_in_every_form_with_the_answer_of_their_label(documents):
    claims = [parts for d in documents if (parts := CLAIM.fullmatch(d))]
    forms = {(parts["opening"], parts["link"], parts["closing"]) for parts in claims}
    assert pretraining.TOO_NEAR not in forms
    assert len(forms) == len(pretraining.OPENINGS) * len(pretraining.LINKS) * len(pretraining.VERDICTS) - 1
    for closing, answers in pretraining.VERDICTS.items():
        given = Counter(parts["answer"] for parts in claims if parts["closing"] == closing)
        assert given.keys() == set(answers.values())
        assert min(given.values()) > 0.25 * given.total()
    opposite = [
        parts["answer"]
        for parts in claims
        if parts["hypothesis"] == parts["premise"].replace(" is ", " is not ")
    ]
    assert len(opposite) > 3
    assert set(opposite) <= {answers["contradiction"] for answers in pretraining.VERDICTS.values()}


def test_vocabulary_covers_text_and_tasks(documents):
    known = set(pretraining.words())
    assert {word for document in documents for word in document.split()} <= known
    for name in ("sql", "nli"):
        task = load_task(TaskConfig(name, train=300, dev=50, test=50))
        texts = [f"{e.prompt} {e.target}" for split in task.splits for e in task.examples(split)]
        assert {word for text in texts for word in text.split()} <= known


def test_every_notation_occurs(documents):
    text = " ".join(documents)
    assert all(f" {marker} " in text for marker in ("find", "nested", "steps", "means", "so"))


def test_text_is_the_one_that_the_committed_weights_were_pretrained_on():
    text = "\n".join(f"{d.text} {d.answer}" for d in islice(pretraining.documents(seed=0), 200))
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "6b204cdc16a35631"


def test_stream_follows_the_seed():
    one, two, other = (list(islice(pretraining.documents(seed), 50)) for seed in (3, 3, 4))
    assert one == two != other


def test_notations():
    header = ["club", "goals", "age"]
    query = pretraining.Query(1, 1, ((0, 0, "united"), (2, 1, 30)))
    own = pretraining.Wording()
    assert pretraining._as_sentence(query, header, own) == "top goals if club is united and age over 30"
    assert pretraining._as_nested(query, header, own) == "( top goals ( is club united ) ( over age 30 ) )"
    assert pretraining._as_steps(query, header, own) == "club is united / age over 30 / top goals"
    assert pretraining._as_sentence(pretraining.Query(1), header, own) == "value goals"
    mixed = {pretraining._as_sentence(query, header, wording) for wording in pretraining.WORDINGS}
    assert mixed == {
        "top goals if club is united and age over 30",
        "MAX goals if club is united and age over 30",
        "top goals if club = united and age > 30",
        "top goals WHERE club is united and age over 30",
        "top goals if club is united AND age over 30",
    }
    assert sql.subjects()
