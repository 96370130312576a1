"""Every word of the closed English: those that exclude or imply one another, then all others."""

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


# fmt: off
NAMES = (
    "max", "bella", "charlie", "ruby", "oscar", "rosie", "leo", "luna", "toby", "daisy",
    "jack", "molly", "sam", "coco", "milo", "lucy", "felix", "penny", "archie", "nina",
)
NUMBERS = (
    "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
)
FUNCTION_WORDS = (
    "a", "an", "and", "are", "as", "by", "did", "from", "in", "is", "neither", "nor", "not", "or", "than",
    "the", "to", "was",
)
# fmt: on

# Base form -> past form (also the participle).
VERBS = {
    "help": "helped",
    "call": "called",
    "follow": "followed",
    "thank": "thanked",
    "visit": "visited",
    "push": "pushed",
    "watch": "watched",
    "chase": "chased",
    "hug": "hugged",
    "carry": "carried",
    "find": "found",
    "teach": "taught",
}
# A hands a thing to B: (base, past) seen from A, and the converse seen from B.
TRANSFERS = (
    (("sell", "sold"), ("buy", "bought")),
    (("lend", "lent"), ("borrow", "borrowed")),
    (("give", "gave"), ("get", "got")),
)
THINGS = ("book", "car", "phone", "map", "coat", "lamp")
# Plain form, more, less.
SCALES = (
    ("tall", "taller", "shorter"),
    ("fast", "faster", "slower"),
    ("rich", "richer", "poorer"),
    ("strong", "stronger", "weaker"),
    ("heavy", "heavier", "lighter"),
)

# Those who do things to one another: by name, or by what they are.
PEOPLE = NAMES + tuple(f"the {leaf}" for leaves in NOUNS["person"].values() for leaf in leaves)
