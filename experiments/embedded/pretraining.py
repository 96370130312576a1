"""The text that the embedded model is pretrained on: the tasks' vocabulary and skills, never their format.

It holds table rows put into sentences, questions with their paraphrases, questions answered in three *other*
query notations, statements with what follows from them, and claims judged with *other* answer words.  The
prompt words, SQL's keywords and MultiNLI's labels occur only in a small glossary.  Every answered question
and every pair of statements comes from the split "pretrain" (`split.py`), which no task ever sees; only the
rewording of a question, which has neither table nor answer, may happen to be one of another split.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from experiments.embedded import nli, sql
from experiments.tasks.query import AGGREGATIONS, OPERATORS, Query

AGGREGATION_NAMES = ("value", "top", "bottom", "number", "sum", "average")
OPERATOR_NAMES = ("is", "over", "under")
VERDICTS = {"entailment": "yes", "neutral": "maybe", "contradiction": "no"}
GLOSSARY = (
    "SELECT : what is asked",
    "FROM : of",
    "table : rows and columns",
    "WHERE : whose",
    "AND : and",
    "MAX : highest",
    "MIN : lowest",
    "COUNT : how many",
    "SUM : total",
    "AVG : average",
    "= : is",
    "> : over",
    "< : under",
    "table: | question: sql: premise: hypothesis: label: : words of a form",
    "entailment neutral contradiction : words of logic",
)


@dataclass(frozen=True)
class Document:
    """Single-spaced words; `answer` follows `text` and is empty in a plain document."""

    text: str
    answer: str = ""


def documents(seed: int) -> Iterator[Document]:
    """An endless stream of documents."""
    rng = random.Random(f"pretraining/{seed}")
    kinds: dict[Callable[[random.Random], Document], int] = {
        _judged_claim: 70,
        _answered_question: 20,
        _described_row: 3,
        _paraphrased_question: 4,
        _inference: 2,
        _glossary_entry: 1,
    }
    while True:
        yield rng.choices(list(kinds), weights=list(kinds.values()))[0](rng)


def words() -> list[str]:
    """The closed vocabulary of the embedded model, sorted: every word of the text above and of both tasks."""
    texts = [*AGGREGATION_NAMES, *OPERATOR_NAMES, *VERDICTS, *VERDICTS.values(), *GLOSSARY, *AGGREGATIONS]
    texts += ["columns ; request find if and", "nested ( ) steps / means row so claim fact verdict"]
    vocabulary = sql.words() | nli.words() | set(OPERATORS[:3])
    return sorted(vocabulary | {word for text in texts for word in text.split()})


def _answered_question(rng: random.Random) -> Document:
    table, query, question = sql.sample(rng, "pretrain")
    name, write = rng.choice((("find", _as_sentence), ("nested", _as_nested), ("steps", _as_steps)))
    return Document(
        f"columns {' ; '.join(table.header)} request {question} {name}", write(query, table.header)
    )


def _conditions(query: Query, header: list[str]) -> list[tuple[str, str, str]]:
    return [(header[c], OPERATOR_NAMES[o], str(v)) for c, o, v in query.conds]


def _as_sentence(query: Query, header: list[str]) -> str:
    """top goals if club is united and age over 30"""
    conditions = " and ".join(f"{c} {o} {v}" for c, o, v in _conditions(query, header))
    text = f"{AGGREGATION_NAMES[query.agg]} {header[query.sel]}"
    return f"{text} if {conditions}" if conditions else text


def _as_nested(query: Query, header: list[str]) -> str:
    """( top goals ( is club united ) ( over age 30 ) )"""
    conditions = "".join(f" ( {o} {c} {v} )" for c, o, v in _conditions(query, header))
    return f"( {AGGREGATION_NAMES[query.agg]} {header[query.sel]}{conditions} )"


def _as_steps(query: Query, header: list[str]) -> str:
    """club is united / age over 30 / top goals"""
    steps = [f"{c} {o} {v}" for c, o, v in _conditions(query, header)]
    return " / ".join([*steps, f"{AGGREGATION_NAMES[query.agg]} {header[query.sel]}"])


def _judged_claim(rng: random.Random) -> Document:
    pair = _pair(rng)
    return Document(f"fact {pair.premise} claim {pair.hypothesis} verdict", VERDICTS[pair.label])


def _inference(rng: random.Random) -> Document:
    pair = _pair(rng)
    while pair.label != "entailment":
        pair = _pair(rng)
    return Document(f"{pair.premise} so {pair.hypothesis}")


def _pair(rng: random.Random) -> nli.Pair:
    pair = nli.sample_pair(rng)
    while nli.bucket(pair) != "pretrain":
        pair = nli.sample_pair(rng)
    return pair


def _described_row(rng: random.Random) -> Document:
    table = sql.sample_table(rng)
    cells = list(zip(table.columns, rng.choice(table.rows), strict=True))
    facts = [f"{column.name} {cell}" for column, cell in cells]
    column, cell = rng.choice(cells)
    phrases = column.phrases["="] or tuple(sql.CONDITION_PHRASES["="])
    sentence = rng.choice(phrases).format(a=rng.choice(column.ask), v=cell)
    return Document(f"row {' ; '.join(facts)} so {table.subject} {sentence}")


def _paraphrased_question(rng: random.Random) -> Document:
    table, query, question = sql.sample(rng, "pretrain")
    return Document(f"{question} means {sql.phrase(rng, table, query)}")


def _glossary_entry(rng: random.Random) -> Document:
    return Document(rng.choice(GLOSSARY))
