"""The words outside the taxonomy: names, numbers, what people do to one another, how they compare."""

from __future__ import annotations

from experiments.embedded.nli.taxonomy import NOUNS

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
