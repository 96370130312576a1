"""Natural-language-inference pairs in MultiNLI's layout, labelled by deciding them.

A closed, word-level English about animals and people.  Every sentence is built from a statement with a
meaning, and the label of a pair is computed from the two meanings, never written down with a template:
*entailment* if no world has the premise true and the hypothesis false, *contradiction* if none has both
true, *neutral* otherwise.  Six phenomena share three small decision procedures:

- ``quantifier``: all / every / some / no / none of / not all over sets of things; a world is the set of
  *types* (noun x size x age x place x activity) that occur, and universals strike types out.
- ``number``: ``at least three dogs are running``; intervals on the sizes of two sets.
- ``hypernym``, ``negation``, ``conjunction``, ``role``: facts about independent unknowns (the type of a named
  individual, whether one helped the other, how two people compare), as alternatives of conditions.

Conventions, where English leaves a choice:

- Two nouns, activities or places that name different leaves of the taxonomy exclude each other: nobody is
  both a doctor and a nurse, or both running and sleeping.  Big and small (old and young) are contraries:
  something may be neither.
- Every determiner but *some* presupposes that there are such things: *no dogs are running* grants that there
  are dogs.  *Some* asserts existence and presupposes nothing.  A pair whose premise denies what its
  hypothesis presupposes has no label and is not drawn.
- A bare number means *exactly* that many.
- A name says nothing about what bears it; different names and *the* descriptions are different individuals.
- Adjectives are absolute and independent of nouns: a small horse is a small animal, a boy may be old.
- *Or* is inclusive.
- What one did to another is independent of what the other did to the one, and of all else that was done:
  swapped verbs are neutral.  Comparatives are strict: a swap contradicts.
"""

from experiments.embedded.nli.dataset import PROPORTIONS, Pair, bucket, examples, pairs, sample_pair, words
from experiments.embedded.nli.lexicon import ADJECTIVES
from experiments.embedded.nli.statements import (
    DETERMINERS,
    LABELS,
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

__all__ = [
    "ADJECTIVES",
    "DETERMINERS",
    "LABELS",
    "LESS",
    "MORE",
    "NOBODY",
    "PROPORTIONS",
    "SOMEONE",
    "Comparison",
    "Counted",
    "Deed",
    "Description",
    "Pair",
    "Quantified",
    "bucket",
    "decide",
    "examples",
    "pairs",
    "sample_pair",
    "words",
]
