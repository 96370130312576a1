"""Which weights to adapt, at which rank, with which scale: the words of a command line made plain values.

Nothing here imports torch, so a wrong value is reported at once.
"""

import math
from collections.abc import Iterable, Mapping

LETTERS = ("q", "k", "v", "o", "gate", "up", "down")
"""The projections of a Transformer layer: W_q W_k W_v W_o of attention, and the two or three of the MLP."""

SCALINGS = ("alpha/r", "1/r", "alpha/sqrt(r)")
"""The paper's scale (section 4.1), that of its first version, and rsLoRA's (arXiv 2312.03732)."""

_VALID = "valid are q k v o (also written together, as qv) and gate, up, down"
_MODULES = {
    **{f"{letter}_proj": letter for letter in LETTERS},
    "query": "q",
    "key": "k",
    "value": "v",
    "out_proj": "o",
    "c_attn": "qkv",
    "qkv_proj": "qkv",
    "query_key_value": "qkv",
    "all-linear": "qkvo,up,down or, where the model has one, qkvo,gate,up,down",
}
"""What PEFT's users write, and how it is written here."""


def parse_targets(targets: str | Iterable[str]) -> tuple[str, ...]:
    """The projections named by `targets`, in the order q k v o gate up down.

    Args:
        targets: letters written together ("qv"), separated ("q,up"), both ("qkvo,up"), or a list of such
            words; in any order.

    Raises:
        ValueError: nothing is named, or a word is neither `gate`, `up`, `down` nor made of q k v o.
    """
    words = [targets] if isinstance(targets, str) else targets
    if not isinstance(words, Iterable):
        raise ValueError(f"targets: {targets!r} is not a name of projections; {_VALID}")
    chosen: set[str] = set()
    for word in words:
        if not isinstance(word, str):
            raise ValueError(f"targets: {word!r} is not a name of projections; {_VALID}")
        for token in word.replace(",", " ").split():
            chosen.update(_letters(token))
    if not chosen:
        raise ValueError(f"targets: no projection is named in {targets!r}; {_VALID}")
    return tuple(letter for letter in LETTERS if letter in chosen)


def _letters(token: str) -> Iterable[str]:
    if token in LETTERS:
        return (token,)
    if token in _MODULES:
        raise ValueError(f"targets: {token!r} is written {_MODULES[token]}; {_VALID}")
    wrong = [character for character in token if character not in "qkvo"]
    if wrong:
        raise ValueError(f"targets: {token!r} is not a projection ({wrong[0]!r} is unknown); {_VALID}")
    return token


def targets_name(letters: Iterable[str]) -> str:
    """Projections in one word: "qv", or "q-up" where one of them is more than a letter."""
    letters = tuple(letters)
    return ("" if all(len(letter) == 1 for letter in letters) else "-").join(letters)


def parse_ranks(rank: int | Mapping[str, int], targets: str | Iterable[str]) -> dict[str, int]:
    """One rank for each target letter, from one number for all or from a mapping letter -> rank.

    Raises:
        ValueError: a rank is not an integer of at least 1, or the mapping does not name exactly the targets.
    """
    letters = parse_targets(targets)
    ranks = dict(rank) if isinstance(rank, Mapping) else dict.fromkeys(letters, rank)
    for letter in ranks:
        if letter not in letters:
            raise ValueError(
                f"rank: given for {letter!r}, which is not a target; targets are {' '.join(letters)}"
            )
    for letter in letters:
        if letter not in ranks:
            raise ValueError(
                f"rank: none given for target {letter!r}; give one integer, or one for each target"
            )
        value = ranks[letter]
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            several = ",".join(str(one) for one in value) if isinstance(value, list | tuple) else ""
            each = f"; for a run with each, -m rank={several}" if several else ""
            of = f" for {letter!r}" if isinstance(rank, Mapping) else ""
            raise ValueError(f"rank: {value!r}{of} is not valid; a rank is an integer of at least 1{each}")
    return {letter: ranks[letter] for letter in letters}


def scaling_value(rule: str, alpha: float, rank: int) -> float:
    """The factor before B A under `rule`, one of `SCALINGS`.

    Raises:
        ValueError: unknown rule, or alpha not a positive number.
    """
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not (0 < alpha < math.inf):
        raise ValueError(f"alpha: {alpha!r} is not valid; alpha is a positive number")
    if rule == "alpha/r":
        return alpha / rank
    if rule == "1/r":
        return 1 / rank
    if rule == "alpha/sqrt(r)":
        return alpha / math.sqrt(rank)
    raise ValueError(f"scaling: {rule!r} is unknown; valid are {', '.join(SCALINGS)}")
