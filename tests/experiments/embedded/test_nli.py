import math
import random
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import combinations, islice, pairwise, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.embedded import nli
from experiments.embedded.split import SPLITS

SAMPLED = 8_000


@pytest.fixture(scope="module")
def sampled() -> list[nli.Pair]:
    rng = random.Random(0)
    return [nli.sample_pair(rng) for _ in range(SAMPLED)]


# --- An independent reading of the sentences: parse the text, enumerate small worlds ------------------------

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
def test_labels_agree_with_every_small_world(sampled: list[nli.Pair], phenomenon: str) -> None:
    pairs = list(islice((pair for pair in sampled if pair.phenomenon == phenomenon), 300))
    assert len(pairs) == 300
    for pair in pairs:
        assert verdict(WORLDS[phenomenon](pair.premise, pair.hypothesis)) == pair.label, pair


# --- Known pairs -------------------------------------------------------------------------------------------

DOGS = nli.Description(noun="dog")
ANIMALS = nli.Description(noun="animal")
RUNNING = nli.Description(activity="running")
MOVING = nli.Description(activity="moving")
SLEEPING = nli.Description(activity="sleeping")


@pytest.mark.parametrize(
    ("premise", "hypothesis", "label"),
    [
        (("all", ANIMALS, RUNNING), ("every", DOGS, MOVING), "entailment"),
        (("all", DOGS, RUNNING), ("all", ANIMALS, MOVING), "neutral"),
        (("all", DOGS, RUNNING), ("some", DOGS, MOVING), "entailment"),
        (("all", ANIMALS, RUNNING), ("some", DOGS, MOVING), "neutral"),  # there need be no dogs
        (("all", DOGS, RUNNING), ("some", DOGS, SLEEPING), "contradiction"),
        (("some", DOGS, RUNNING), ("no", ANIMALS, MOVING), "contradiction"),
        (("some", DOGS, RUNNING), ("not all", DOGS, SLEEPING), "entailment"),
        (("no", ANIMALS, MOVING), ("none of the", DOGS, RUNNING), "entailment"),
        (("no", DOGS, RUNNING), ("no", DOGS, MOVING), "neutral"),
        (("some not", DOGS, RUNNING), ("not every", DOGS, RUNNING), "entailment"),
        (("not all", DOGS, RUNNING), ("no", DOGS, RUNNING), "neutral"),
    ],
)
def test_quantified(premise: tuple, hypothesis: tuple, label: str) -> None:
    assert nli.decide(nli.Quantified(*premise), nli.Quantified(*hypothesis)) == label


@pytest.mark.parametrize(
    ("premise", "hypothesis", "label"),
    [
        (("", 3, DOGS, RUNNING), ("at least", 2, ANIMALS, MOVING), "entailment"),
        (("", 3, DOGS, RUNNING), ("exactly", 3, DOGS, RUNNING), "entailment"),
        (("", 3, DOGS, RUNNING), ("", 2, DOGS, RUNNING), "contradiction"),
        (("", 3, DOGS, RUNNING), ("", 3, DOGS, SLEEPING), "neutral"),
        (("", 3, DOGS, RUNNING), ("", 2, ANIMALS, MOVING), "contradiction"),
        (("", 3, ANIMALS, MOVING), ("", 3, DOGS, RUNNING), "neutral"),
        (("at most", 3, ANIMALS, MOVING), ("fewer than", 4, DOGS, RUNNING), "entailment"),
        (("more than", 3, DOGS, RUNNING), ("at most", 3, DOGS, MOVING), "contradiction"),
    ],
)
def test_counted(premise: tuple, hypothesis: tuple, label: str) -> None:
    assert nli.decide(nli.Counted(*premise), nli.Counted(*hypothesis)) == label


descriptions = st.builds(
    nli.Description,
    activity=st.none(),
    adjective=st.none() | st.sampled_from(nli.ADJECTIVES),
    noun=st.sampled_from(["dog", "owl", "bird", "animal", "boy", "person"]),
    place=st.none() | st.sampled_from(["park", "garden", "outside", "hall"]),
)
predicates = st.sampled_from([RUNNING, MOVING, SLEEPING])
quantified = st.builds(nli.Quantified, st.sampled_from(list(nli.DETERMINERS)), descriptions, predicates)
counted = st.builds(
    nli.Counted,
    st.sampled_from(["", "at least", "at most", "more than"]),
    st.integers(1, 12),
    descriptions,
    predicates,
)


@given(st.tuples(quantified, quantified) | st.tuples(counted, counted))
def test_contradiction_is_symmetric_and_entailment_reflexive(statements: tuple) -> None:
    one, two = statements
    assert nli.decide(one, one) == "entailment"
    assert (nli.decide(one, two) == "contradiction") == (nli.decide(two, one) == "contradiction")


def test_a_denied_presupposition_leaves_no_label() -> None:
    premise = nli.Quantified("all", DOGS, nli.Description(place="park"))
    hypothesis = nli.Quantified("no", nli.Description(noun="dog", place="garden"), RUNNING)
    with pytest.raises(ValueError, match="'all dogs are in the park' denies what 'no dogs in the garden"):
        nli.decide(premise, hypothesis)


def test_a_converse_entails_and_a_swap_contradicts_only_comparatives() -> None:
    taller = nli.Comparison(0, nli.MORE, True, "max", "leo")
    assert nli.decide(taller, nli.Comparison(0, nli.LESS, True, "leo", "max")) == "entailment"
    assert nli.decide(taller, nli.Comparison(0, nli.MORE, True, "leo", "max")) == "contradiction"
    assert nli.decide(taller, nli.Comparison(1, nli.MORE, True, "leo", "max")) == "neutral"
    cast = ("max", "leo")
    helped = nli.Deed("help", "max", "leo", True, False, cast)
    assert nli.decide(helped, nli.Deed("help", "max", "leo", True, True, cast)) == "entailment"
    assert nli.decide(helped, nli.Deed("help", "leo", "max", True, False, cast)) == "neutral"
    assert nli.decide(helped, nli.Deed("help", "max", "leo", False, True, cast)) == "contradiction"
    assert nli.decide(helped, nli.Deed("help", nli.NOBODY, "leo", True, False, cast)) == "contradiction"
    assert nli.decide(helped, nli.Deed("help", "max", nli.SOMEONE, True, False, cast)) == "entailment"


# --- The distribution --------------------------------------------------------------------------------------


def test_labels_and_phenomena_have_their_shares(sampled: list[nli.Pair]) -> None:
    labels = Counter(pair.label for pair in sampled)
    assert set(labels) == set(nli.LABELS)
    for count in labels.values():
        assert abs(count / SAMPLED - 1 / 3) < 5 * math.sqrt(2 / 9 / SAMPLED)
    phenomena = Counter(pair.phenomenon for pair in sampled)
    for phenomenon, percent in nli.PROPORTIONS.items():
        share = percent / 100
        assert abs(phenomena[phenomenon] / SAMPLED - share) < 5 * math.sqrt(share * (1 - share) / SAMPLED)


def naive_bayes(pairs: list[nli.Pair], features: Callable[[nli.Pair], list]) -> float:
    """Accuracy on the last quarter of a naive Bayes classifier fitted to the rest."""
    cut = len(pairs) * 3 // 4
    counts: dict[str, Counter] = defaultdict(Counter)
    for pair in pairs[:cut]:
        counts[pair.label].update(features(pair))
    known = len(set().union(*counts.values()))
    totals = {label: sum(counter.values()) + known for label, counter in counts.items()}

    def guess(pair: nli.Pair) -> str:
        return max(
            counts,
            key=lambda label: sum(math.log((counts[label][f] + 1) / totals[label]) for f in features(pair)),
        )

    return sum(guess(pair) == pair.label for pair in pairs[cut:]) / (len(pairs) - cut)


def test_the_hypothesis_alone_is_near_chance(sampled: list[nli.Pair]) -> None:
    def words_and_bigrams(pair: nli.Pair) -> list:
        words = pair.hypothesis.split()
        return [*words, *pairwise(words)]

    assert naive_bayes(sampled, lambda pair: pair.hypothesis.split()) < 0.4
    assert naive_bayes(sampled, words_and_bigrams) < 0.4


def test_word_overlap_is_weak(sampled: list[nli.Pair]) -> None:
    def overlap(pair: nli.Pair) -> list:
        premise, hypothesis = set(pair.premise.split()), set(pair.hypothesis.split())
        return [(len(premise & hypothesis), len(premise - hypothesis), len(hypothesis - premise))]

    accuracy = naive_bayes(sampled, overlap)
    assert accuracy < 0.55
    # The classifier itself is able: it finds a label that is in its features.
    assert naive_bayes(sampled, lambda pair: [pair.label]) == 1


# --- Layout ------------------------------------------------------------------------------------------------


def test_words_are_exactly_those_that_appear(sampled: list[nli.Pair]) -> None:
    seen = {word for pair in sampled for word in f"{pair.premise} {pair.hypothesis}".split()}
    assert seen == nli.words()
    assert len(seen) <= 350


def test_sentences_are_short_lower_case_and_differ(sampled: list[nli.Pair]) -> None:
    for pair in sampled:
        assert re.fullmatch(r"[a-z]+( [a-z]+){2,13}", pair.premise), pair
        assert re.fullmatch(r"[a-z]+( [a-z]+){2,11}", pair.hypothesis), pair
        assert pair.premise != pair.hypothesis


def test_articles_and_plurals() -> None:
    assert nli.Description("old", "owl").text(plural=False, article=True) == "an old owl"
    assert nli.Description(None, "child", "running", "inside").text(plural=True) == "children running inside"
    assert nli.Counted("at least", 1, DOGS, RUNNING).text() == "at least one dog is running"


def test_splits_share_nothing_and_repeat_themselves() -> None:
    drawn = {split: list(nli.pairs(split, 150, seed=0)) for split in SPLITS}
    for split, pairs in drawn.items():
        assert len(set(pairs)) == 150
        assert {nli.bucket(pair) for pair in pairs} == {split}
        assert list(nli.pairs(split, 50, seed=0)) == pairs[:50]
        assert list(nli.pairs(split, 50, seed=1)) != pairs[:50]


def test_the_draw_is_the_one_that_the_committed_weights_were_pretrained_on() -> None:
    drawn = [(pair.premise, pair.hypothesis, pair.label) for pair in nli.pairs("train", 3, seed=0)]
    assert drawn == [
        ("nobody was found by the lawyer", "the lawyer did not find rosie", "entailment"),
        ("not all people are climbing", "none of the boys are walking", "neutral"),
        ("nine farmers are working", "exactly nine farmers are working", "entailment"),
    ]


def test_splits_have_their_shares(sampled: list[nli.Pair]) -> None:
    shares = Counter(nli.bucket(pair) for pair in sampled)
    for split, share in {"pretrain": 0.6, "train": 0.24, "dev": 0.08, "test": 0.08}.items():
        assert abs(shares[split] / SAMPLED - share) < 5 * math.sqrt(share * (1 - share) / SAMPLED)


def test_thirty_thousand_distinct_training_pairs() -> None:
    pairs = list(nli.pairs("train", 30_000, seed=0))
    assert len({(pair.premise, pair.hypothesis) for pair in pairs}) == 30_000


def test_examples_have_the_layout_of_multinli() -> None:
    examples = nli.examples("dev", 60, seed=3)
    pairs = list(nli.pairs("dev", 60, seed=3))
    assert [(e["sentence1"], e["sentence2"], e["gold_label"], e["genre"]) for e in examples] == [
        (p.premise, p.hypothesis, p.label, p.phenomenon) for p in pairs
    ]
    for example in examples:
        assert set(example) == {"gold_label", "sentence1", "sentence2", "genre", "pairID", "promptID"}
    assert len({example["pairID"] for example in examples}) == 60


def test_unknown_split_names_the_valid_ones() -> None:
    with pytest.raises(ValueError, match=r"'validation'.*pretrain, train, dev, test"):
        nli.pairs("validation", 1, seed=0)
