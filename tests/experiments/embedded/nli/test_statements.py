import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.embedded.nli import (
    ADJECTIVES,
    DETERMINERS,
    LESS,
    MORE,
    NOBODY,
    SOMEONE,
    Comparison,
    Counted,
    Deed,
    Description,
    Quantified,
    decide,
)

DOGS = Description(noun="dog")
ANIMALS = Description(noun="animal")
RUNNING = Description(activity="running")
MOVING = Description(activity="moving")
SLEEPING = Description(activity="sleeping")


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
    assert decide(Quantified(*premise), Quantified(*hypothesis)) == label


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
    assert decide(Counted(*premise), Counted(*hypothesis)) == label


descriptions = st.builds(
    Description,
    activity=st.none(),
    adjective=st.none() | st.sampled_from(ADJECTIVES),
    noun=st.sampled_from(["dog", "owl", "bird", "animal", "boy", "person"]),
    place=st.none() | st.sampled_from(["park", "garden", "outside", "hall"]),
)
predicates = st.sampled_from([RUNNING, MOVING, SLEEPING])
quantified = st.builds(Quantified, st.sampled_from(list(DETERMINERS)), descriptions, predicates)
counted = st.builds(
    Counted,
    st.sampled_from(["", "at least", "at most", "more than"]),
    st.integers(1, 12),
    descriptions,
    predicates,
)


@given(st.tuples(quantified, quantified) | st.tuples(counted, counted))
def test_contradiction_is_symmetric_and_entailment_reflexive(statements: tuple) -> None:
    one, two = statements
    assert decide(one, one) == "entailment"
    assert (decide(one, two) == "contradiction") == (decide(two, one) == "contradiction")


def test_a_denied_presupposition_leaves_no_label() -> None:
    premise = Quantified("all", DOGS, Description(place="park"))
    hypothesis = Quantified("no", Description(noun="dog", place="garden"), RUNNING)
    with pytest.raises(ValueError, match="'all dogs are in the park' denies what 'no dogs in the garden"):
        decide(premise, hypothesis)


def test_a_converse_entails_and_a_swap_contradicts_only_comparatives() -> None:
    taller = Comparison(0, MORE, True, "max", "leo")
    assert decide(taller, Comparison(0, LESS, True, "leo", "max")) == "entailment"
    assert decide(taller, Comparison(0, MORE, True, "leo", "max")) == "contradiction"
    assert decide(taller, Comparison(1, MORE, True, "leo", "max")) == "neutral"
    cast = ("max", "leo")
    helped = Deed("help", "max", "leo", True, False, cast)
    assert decide(helped, Deed("help", "max", "leo", True, True, cast)) == "entailment"
    assert decide(helped, Deed("help", "leo", "max", True, False, cast)) == "neutral"
    assert decide(helped, Deed("help", "max", "leo", False, True, cast)) == "contradiction"
    assert decide(helped, Deed("help", NOBODY, "leo", True, False, cast)) == "contradiction"
    assert decide(helped, Deed("help", "max", SOMEONE, True, False, cast)) == "entailment"


def test_articles_and_plurals() -> None:
    assert Description("old", "owl").text(plural=False, article=True) == "an old owl"
    assert Description(None, "child", "running", "inside").text(plural=True) == "children running inside"
    assert Counted("at least", 1, DOGS, RUNNING).text() == "at least one dog is running"
