"""The text that the embedded model is pretrained on: the tasks' vocabulary and skills, never their format.

It holds table rows put into sentences, questions with their paraphrases, questions answered in three *other*
query notations, statements with what follows from them, and claims put in many *other* forms and judged in
*other* answers.  Words of the tasks' formats occur in a glossary, and here and there in place of a word of
those other forms, but never a whole prompt, never two kinds of SQL's words in one query, and MultiNLI's
labels only inside a sentence.  Every question, every rewording of one and every pair of statements comes from
the split "pretrain" (`split.py`), which no task ever sees.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from experiments.embedded import nli, sql
from experiments.embedded.split import bucket
from experiments.tasks.query import AGGREGATIONS, OPERATORS, Query


@dataclass(frozen=True)
class Wording:
    """The words of a query notation: of each aggregation and operator (in the order of their codes)."""

    aggregations: tuple[str, ...] = ("value", "top", "bottom", "number", "sum", "average")
    operators: tuple[str, ...] = ("is", "over", "under")
    where: str = "if"
    conjunction: str = "and"


# Half of the queries have one kind of SQL's words, never two: that is the task.
WORDINGS = (
    Wording(aggregations=("SELECT", *AGGREGATIONS[1:])),
    Wording(operators=OPERATORS[:3]),
    Wording(where="WHERE"),
    Wording(conjunction="AND"),
    *[Wording()] * 4,
)
# Phenomenon -> percent of the claims: more of what is learned slowly than the task has.
PROPORTIONS = {"quantifier": 20, "number": 8, "hypernym": 26, "negation": 26, "conjunction": 6, "role": 14}
# A claim is put as opening, premise, link, hypothesis, closing, each drawn: no form is the only one.
OPENINGS = ("fact", "given", "note", "suppose", "premise:")
LINKS = ("claim", "then", "said", "is it so that", "hypothesis:")
# Closing -> the answer of each label; MultiNLI's own words occur in a sentence alone.
VERDICTS = {
    "verdict": {"entailment": "yes", "neutral": "maybe", "contradiction": "no"},
    "judged": {"entailment": "right", "neutral": "unclear", "contradiction": "wrong"},
    "holds": {"entailment": "surely", "neutral": "perhaps", "contradiction": "never"},
    "label:": {"entailment": "yes", "neutral": "maybe", "contradiction": "no"},
    "in logic": {
        "entailment": "it is a case of entailment",
        "neutral": "it is a case of neutral",
        "contradiction": "it is a case of contradiction",
    },
}
TOO_NEAR = (OPENINGS[-1], LINKS[-1], "label:")  # all but the prompt of the task
# Words of the tasks' formats, each with words that mean much the same.
GLOSSARY = {
    "SELECT": "what is asked",
    "FROM": "of",
    "table": "rows and columns",
    "WHERE": "whose if",
    "AND": "and",
    "MAX": "highest top",
    "MIN": "lowest bottom",
    "COUNT": "how many number",
    "SUM": "total sum",
    "AVG": "average",
    "=": "is",
    ">": "over",
    "<": "under",
    "table:": "columns",
    "|": ";",
    "question:": "request",
    "sql:": "find nested steps",
    "premise:": "fact given note suppose",
    "hypothesis:": "claim then said",
    "label:": "verdict judged holds",
    "entailment": "yes right surely",
    "neutral": "maybe unclear perhaps",
    "contradiction": "no wrong never",
}


@dataclass(frozen=True)
class Document:
    """Single-spaced words; `answer` follows `text` and is empty in a plain document."""

    text: str
    answer: str = ""


def documents(seed: int) -> Iterator[Document]:
    """An endless stream of documents."""
    rng = random.Random(f"pretraining/{seed}")
    kinds: dict[Callable[[random.Random], Document], int] = {
        _judged_claim: 72,
        _answered_question: 16,
        _described_row: 1,
        _paraphrased_question: 3,
        _inference: 2,
        _glossary_entry: 6,
    }
    while True:
        yield rng.choices(list(kinds), weights=list(kinds.values()))[0](rng)


def words() -> list[str]:
    """The closed vocabulary of the embedded model, sorted: every word of the text above and of both tasks."""
    texts = [*Wording().aggregations, *Wording().operators, *OPENINGS, *LINKS, *VERDICTS, *AGGREGATIONS]
    texts += [
        word for answers in VERDICTS.values() for label_and_word in answers.items() for word in label_and_word
    ]
    texts += [
        *GLOSSARY,
        *GLOSSARY.values(),
        ":",
        "columns ; request find if and",
        "nested ( ) steps / means row so",
    ]
    vocabulary = sql.words() | nli.words() | set(OPERATORS[:3])
    return sorted(vocabulary | {word for text in texts for word in text.split()})


def _answered_question(rng: random.Random) -> Document:
    table, query, question = sql.sample(rng, "pretrain")
    name, write = rng.choice((("find", _as_sentence), ("nested", _as_nested), ("steps", _as_steps)))
    opening, link = rng.choice(("columns", "table:")), rng.choice(("request", "question:"))
    header = rng.choice((" ; ", " | ")).join(table.header)
    return Document(
        f"{opening} {header} {link} {question} {name}", write(query, table.header, rng.choice(WORDINGS))
    )


def _conditions(query: Query, header: list[str], wording: Wording) -> list[tuple[str, str, str]]:
    return [(header[c], wording.operators[o], str(v)) for c, o, v in query.conds]


def _as_sentence(query: Query, header: list[str], wording: Wording) -> str:
    """top goals if club is united and age over 30"""
    conditions = f" {wording.conjunction} ".join(
        f"{c} {o} {v}" for c, o, v in _conditions(query, header, wording)
    )
    text = f"{wording.aggregations[query.agg]} {header[query.sel]}"
    return f"{text} {wording.where} {conditions}" if conditions else text


def _as_nested(query: Query, header: list[str], wording: Wording) -> str:
    """( top goals ( is club united ) ( over age 30 ) )"""
    conditions = "".join(f" ( {o} {c} {v} )" for c, o, v in _conditions(query, header, wording))
    return f"( {wording.aggregations[query.agg]} {header[query.sel]}{conditions} )"


def _as_steps(query: Query, header: list[str], wording: Wording) -> str:
    """club is united / age over 30 / top goals"""
    steps = [f"{c} {o} {v}" for c, o, v in _conditions(query, header, wording)]
    return " / ".join([*steps, f"{wording.aggregations[query.agg]} {header[query.sel]}"])


def _judged_claim(rng: random.Random) -> Document:
    pair = _pair(rng)
    opening, link, closing = form = rng.choice(OPENINGS), rng.choice(LINKS), rng.choice(tuple(VERDICTS))
    if form == TOO_NEAR:
        return _judged_claim(rng)
    return Document(
        f"{opening} {pair.premise} {link} {pair.hypothesis} {closing}", VERDICTS[closing][pair.label]
    )


def _inference(rng: random.Random) -> Document:
    pair = _pair(rng)
    while pair.label != "entailment":
        pair = _pair(rng)
    return Document(f"{pair.premise} so {pair.hypothesis}")


def _pair(rng: random.Random) -> nli.Pair:
    pair = nli.sample_pair(rng, PROPORTIONS)
    while nli.bucket(pair) != "pretrain":
        pair = nli.sample_pair(rng, PROPORTIONS)
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
    rewording = sql.phrase(rng, table, query)
    while bucket(rewording) != "pretrain":
        rewording = sql.phrase(rng, table, query)
    return Document(f"{question} means {rewording}")


def _glossary_entry(rng: random.Random) -> Document:
    """Either way round, so that a word is known both when it is read and when it is to be written."""
    word, meaning = rng.choice(list(GLOSSARY.items()))
    sides = [word, rng.choice(meaning.split())]
    rng.shuffle(sides)
    return Document(f"{sides[0]} :", sides[1])
