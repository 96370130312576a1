"""An independent reading of the sentences: parse the text, enumerate small worlds."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import combinations, islice, product

import pytest

from experiments.embedded.nli import Pair

# Each word's class, written down anew.
TAXONOMY = """
animal: mammal bird
mammal: dog cat horse cow goat rabbit
bird: duck owl parrot eagle
person: worker child
worker: doctor nurse teacher farmer baker driver lawyer soldier
child: boy girl
moving: running walking jumping swimming climbing
resting: sleeping sitting
working: cooking cleaning digging painting
performing: singing acting
outside: park garden forest field street market
inside: kitchen office library school hall barn
"""
CLASSES = {name.strip(":"): members for name, *members in map(str.split, TAXONOMY.strip().splitlines())}


def leaves(*words: str) -> list[str]:
    return [leaf for word in words for leaf in (leaves(*CLASSES[word]) if word in CLASSES else [word])]


# What a thing can be along each dimension; "?" is none of the words.
DIMENSIONS = [
    leaves("animal", "person"),
    ["big", "small", "?"],
    ["old", "young", "?"],
    [*leaves("outside", "inside"), "?"],
    [*leaves("moving", "resting", "working", "performing"), "eating", "drinking", "?"],
]
KNOWN = {*CLASSES, *(value for values in DIMENSIONS for value in values)}
SINGULAR = {"people": "person", "children": "child"}


def concerns(values: list[str], word: str) -> bool:
    return not set(values).isdisjoint(leaves(word))


def content(phrase: str) -> tuple[str, ...]:
    """The content words of "small dogs in the park": ("small", "dog", "park")."""
    words = [SINGULAR.get(word, word) for word in phrase.split() if word not in ("a", "an", "in", "the")]
    words = [word if word in KNOWN else word.removesuffix("s") for word in words]
    assert KNOWN.issuperset(words), phrase
    return tuple(words)


def cells(descriptions: Sequence[tuple[str, ...]]) -> set[tuple[bool, ...]]:
    """Which combinations of true and false the descriptions can have of one thing."""
    found = {tuple(True for _ in descriptions)}
    for values in DIMENSIONS:
        relevant = [[leaves(word) for word in one if concerns(values, word)] for one in descriptions]
        here = {tuple(all(value in fitting for fitting in one) for one in relevant) for value in values}
        found = {
            tuple(a and b for a, b in zip(one, other, strict=True)) for one, other in product(found, here)
        }
    return found


def verdict(worlds: Iterable[tuple[bool, bool]]) -> str:
    """The label, from the truth of premise and hypothesis in every world."""
    hypotheses = {hypothesis for premise, hypothesis in worlds if premise}
    assert hypotheses, "no world makes the premise true"
    return {(True,): "entailment", (False,): "contradiction"}.get(tuple(hypotheses), "neutral")


def quantifier_worlds(*sentences: str) -> Iterator[tuple[bool, bool]]:
    pattern = r"(all|every|no|none of the|some|not all|not every) (.+?) (?:is|are) (not )?(.+)"
    parsed = [re.fullmatch(pattern, sentence).groups() for sentence in sentences]
    kinds = sorted(cells([content(phrase) for _, subject, _, said in parsed for phrase in (subject, said)]))
    for size in range(4):  # each sentence needs one witness at most
        for things in combinations(kinds, size):
            truths = []
            for i, (determiner, _, negation, _) in enumerate(parsed):
                said = [thing[2 * i + 1] != bool(negation) for thing in things if thing[2 * i]]
                if not said and determiner != "some":
                    break  # presupposition failure
                truths.append(
                    {
                        "all": all(said),
                        "every": all(said),
                        "no": not any(said),
                        "none of the": not any(said),
                        "some": any(said),
                        "not all": not all(said),
                        "not every": not all(said),
                    }[determiner]
                )
            else:
                yield truths[0], truths[1]


DIGITS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]


def number_worlds(*sentences: str) -> Iterator[tuple[bool, bool]]:
    pattern = rf"(?:(.+?) )?\b({'|'.join(DIGITS)}) (.+?) (?:is|are) (.+)"
    parsed = [re.fullmatch(pattern, sentence).groups() for sentence in sentences]
    kinds = cells([content(f"{subject} {said}") for _, _, subject, said in parsed])
    kinds = sorted(kinds - {(False, False)})
    for counts in product(range(14), repeat=len(kinds)):
        sizes = [sum(n for n, kind in zip(counts, kinds, strict=True) if kind[i]) for i in (0, 1)]
        truths = []
        for (comparison, digit, _, _), size in zip(parsed, sizes, strict=True):
            k = DIGITS.index(digit) + 1
            truths.append(
                {
                    None: size == k,
                    "exactly": size == k,
                    "at least": size >= k,
                    "at most": size <= k,
                    "more than": size > k,
                    "fewer than": size < k,
                }[comparison]
            )
        yield truths[0], truths[1]


def individual_worlds(*sentences: str) -> Iterator[tuple[bool, bool]]:
    """Worlds for hypernym, negation and conjunction: each name has one cell."""
    parsed = [list(parse_individuals(sentence)) for sentence in sentences]
    claims = [claim for claim_list in parsed for claim in claim_list]
    names = sorted({name for claim in claims for name in claim[0]})
    descriptions = [claim[3] for claim in claims]
    for choice in product(sorted(cells(descriptions)), repeat=len(names)):
        cell = dict(zip(names, choice, strict=True))
        position, truths = 0, []
        for claim_list in parsed:
            truth = True
            for who, connective, negation, _ in claim_list:
                said = [cell[name][position] != negation for name in who]
                truth &= {"or": any(said), "nor": not any(said)}.get(connective, all(said))
                position += 1
            truths.append(truth)
        yield truths[0], truths[1]


def parse_individuals(sentence: str) -> Iterator[tuple[list[str], str, bool, tuple[str, ...]]]:
    two = re.fullmatch(r"(\w+ is .+) and (\w+ is .+)", sentence)
    for part in two.groups() if two else (sentence,):
        who, negation, said = re.fullmatch(r"(.+?) (?:is|are) (not )?(.+)", part).groups()
        connective = next((word for word in ("and", "or", "nor") if f" {word} " in who), "")
        names = [word for word in who.split() if word not in ("and", "or", "neither", "nor")]
        yield names, connective, bool(negation), content(said)


# The words for a deed, and the one that stands for it: both sides of a deal are what the giver did.
VERBS = """
help: helped
call: called
follow: followed
thank: thanked
visit: visited
push: pushed
watch: watched
chase: chased
hug: hugged
carry: carried
find: found
teach: taught
sell: sold buy bought
lend: lent borrow borrowed
give: gave get got
"""
BASE = {
    form: line.split(": ")[0] for line in VERBS.strip().splitlines() for form in line.replace(":", "").split()
}
SCALES = {
    "taller": "shorter",
    "faster": "slower",
    "richer": "poorer",
    "stronger": "weaker",
    "heavier": "lighter",
}
PLAIN = dict(zip(["tall", "fast", "rich", "strong", "heavy"], SCALES, strict=True))
WHO = r"((?:the )?\w+)"


def role_worlds(*sentences: str) -> Iterator[tuple[bool, bool]]:
    if " is " in sentences[0]:
        pattern = rf"{WHO} is (not )?(?:(\w+) than|exactly as (\w+) as) {WHO}"
        parsed = [re.fullmatch(pattern, sentence).groups() for sentence in sentences]
        facts = [(*read_order(more, plain), a, b, bool(no)) for a, no, more, plain, b in parsed]
        scores = sorted({(scale, who) for scale, _, a, b, _ in facts for who in (a, b)})
        for values in product(range(3), repeat=len(scores)):
            score = dict(zip(scores, values, strict=True))
            above = [
                (score[scale, a] > score[scale, b]) - (score[scale, a] < score[scale, b])
                for scale, _, a, b, _ in facts
            ]
            yield tuple(
                (sign == order) != no for sign, (_, order, _, _, no) in zip(above, facts, strict=True)
            )
        return
    readings = [read_event(sentence) for sentence in sentences]
    named = {who for *_, a, b, _ in readings for who in (a, b)} - {"someone", "nobody"}
    people = ["a stranger", *sorted(named)]
    events = sorted({event for reading in readings for event in possible_events(reading, people)})
    for happened in product((False, True), repeat=len(events)):
        world = {event for event, real in zip(events, happened, strict=True) if real}
        yield tuple(
            bool(world & possible_events(reading, people)) == (reading[4] and "nobody" not in reading)
            for reading in readings
        )


def read_order(more: str | None, plain: str | None) -> tuple[str, int]:
    """The scale, and the sign of the difference."""
    if plain:
        return PLAIN[plain], 0
    return next((up, 1 if more == up else -1) for up, down in SCALES.items() if more in (up, down))


def read_event(sentence: str) -> tuple[str, str, str, str, bool]:
    """(deed, thing, agent, patient, affirmed)"""
    if deal := re.fullmatch(rf"{WHO} (did not )?(\w+) the (\w+) (to|from) {WHO}", sentence):
        one, negation, verb, thing, direction, two = deal.groups()
        giver, taker = (one, two) if direction == "to" else (two, one)
        return BASE[verb], thing, giver, taker, not negation
    if passive := re.fullmatch(rf"{WHO} was (not )?(\w+) by {WHO}", sentence):
        patient, negation, verb, agent = passive.groups()
        return BASE[verb], "", agent, patient, not negation
    agent, negation, verb, patient = re.fullmatch(rf"{WHO} (did not )?(\w+) {WHO}", sentence).groups()
    return BASE[verb], "", agent, patient, not negation


def possible_events(reading: tuple[str, str, str, str, bool], people: list[str]) -> set[tuple[str, ...]]:
    deed, thing, *pair, _ = reading
    agents, patients = (people if who in ("someone", "nobody") else [who] for who in pair)
    return {(deed, thing, a, b) for a in agents for b in patients if a != b}


WORLDS: dict[str, Callable[..., Iterator[tuple[bool, bool]]]] = {
    "quantifier": quantifier_worlds,
    "number": number_worlds,
    "hypernym": individual_worlds,
    "negation": individual_worlds,
    "conjunction": individual_worlds,
    "role": role_worlds,
}


@pytest.mark.parametrize("phenomenon", WORLDS)
def test_labels_agree_with_every_small_world(sampled: list[Pair], phenomenon: str) -> None:
    pairs = list(islice((pair for pair in sampled if pair.phenomenon == phenomenon), 200))
    assert len(pairs) == 200
    for pair in pairs:
        assert verdict(WORLDS[phenomenon](pair.premise, pair.hypothesis)) == pair.label, pair
