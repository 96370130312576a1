"""The words that exclude or imply one another: nouns, adjectives, places and activities."""

from __future__ import annotations

# The taxonomy: kind > class > leaf.
NOUNS = {
    "animal": {
        "mammal": ("dog", "cat", "horse", "cow", "goat", "rabbit"),
        "bird": ("duck", "owl", "parrot", "eagle"),
    },
    "person": {
        "worker": ("doctor", "nurse", "teacher", "farmer", "baker", "driver", "lawyer", "soldier"),
        "child": ("boy", "girl"),
    },
}
IRREGULAR_PLURALS = {"person": "people", "child": "children"}
SIZES = ("big", "small")
AGES = ("old", "young")
ADJECTIVES = SIZES + AGES
PLACES = {
    "outside": ("park", "garden", "forest", "field", "street", "market"),
    "inside": ("kitchen", "office", "library", "school", "hall", "barn"),
}
ACTIVITIES = {
    "moving": ("running", "walking", "jumping", "swimming", "climbing"),
    "resting": ("sleeping", "sitting"),
    "working": ("cooking", "cleaning", "digging", "painting"),
    "performing": ("singing", "acting"),
}
PLAIN_ACTIVITIES = ("eating", "drinking")  # leaves without a class
ANIMAL_CLASSES = ("moving", "resting")  # what animals do, besides eating and drinking


def plural_of(noun: str) -> str:
    """The plural of a noun of the taxonomy."""
    return IRREGULAR_PLURALS.get(noun, noun + "s")
