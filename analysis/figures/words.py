"""What figures and their captions say: names of weights and bases, and the sentences they have in common."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from analysis.figures.panels import BEYOND, QUANTILE, Panel
from analysis.tables.numbers import short

SYMBOLS = {"A": "A", "dW-right": r"\Delta W", "dW-left": r"\Delta W", "B": "B", "A-A0": "(A-A_0)"}
"""By basis: the matrix whose singular vectors are taken, in mathtext."""

OUTPUT_SIDE = ("dW-left", "B")
"""The bases in output space, R^d_out; the others lie in input space."""

NAMES = {
    "A": "right singular vectors of $A$",
    "dW-right": "right singular vectors of $ΔW$",
    "dW-left": "left singular vectors of $ΔW$",
    "B": "left singular vectors of $B$",
    "A-A0": "right singular vectors of $A-A_0$",
}


def basis_name(basis: str) -> str:
    """For captions."""
    return NAMES[basis].replace("$", "") + (" alone (the paper's basis)" if basis == "A" else "")


def symbol(basis: str, rank: int, mark: str = "") -> str:
    """The matrix whose singular vectors are taken, in mathtext without dollars: A_{r=8}."""
    return f"{SYMBOLS[basis]}_{{r={rank}}}^{{{mark}}}"


def gaussian_symbol(basis: str) -> str:
    """The random matrix that stands for an adapter's factor in this basis, in mathtext without dollars."""
    return rf"{'B' if basis in OUTPUT_SIDE else 'A'}_{{\mathrm{{rand}}}}"


def gaussian_name(basis: str, spaces: Iterable[tuple[int, int]]) -> str:
    """For captions: the directions of random matrices of the adapters' own shape, n of them in R^d."""
    left = basis in OUTPUT_SIDE
    shapes = listed(f"{d} x {n}" if left else f"{n} x {d}" for n, d in spaces)
    side, factor = ("left", "B") if left else ("right", "A")
    return (
        f"{side} singular vectors of {shapes} matrices of independent normal entries, the shape of {factor}"
    )


def weight(letter: str, delta: bool = False) -> str:
    """W_q or, with `delta`, dW_q in mathtext."""
    subscript = letter if len(letter) == 1 else rf"\mathrm{{{letter}}}"
    change = r"\Delta " if delta else ""
    return rf"${change}W_{{{subscript}}}$"


def plain_weight(letter: str) -> str:
    """W_q as plain text."""
    return f"W_{letter}"


def listed(words: Iterable[object]) -> str:
    """a, b and c."""
    texts = [str(word) for word in words]
    return " and ".join([", ".join(texts[:-1]), texts[-1]] if len(texts) > 1 else texts)


def layers_of(layers: Sequence[int], count: int) -> str:
    """ "layer 2 of 4" for layers counted from 0."""
    return f"layer{'s' if len(layers) > 1 else ''} {listed(layer + 1 for layer in layers)} of {count}"


def heading_of(what: str, basis: str, layers: Sequence[int], count: int, panels: Iterable[Panel]) -> str:
    """The line above the panels; several layers are named by the panels themselves."""
    place = [layers_of(layers, count)] if len(layers) == 1 else []
    return "   ".join([what, ", ".join([NAMES[basis], *place, f"$d$ = {dimensions(panels)}"])])


def dimensions(panels: Iterable[Panel]) -> str:
    """d, or several where the panels' spaces differ."""
    return listed(dict.fromkeys(panel.d for panel in panels))


def marks(panels: Iterable[Panel], z: bool) -> str:
    """How to read a panel: its null, its hatches and lines."""
    from analysis.geometry.svd import GAP_THRESHOLD

    found = list(panels)
    null = (
        "The null is that of two independent, uniformly distributed subspaces of the same dimensions: "
        "mean max(i, j)/d and the closed-form standard deviation. Neighbouring cells share directions, so "
        "that cells beyond chance come in clusters even where nothing is shared."
    )
    if z:
        sentences = [
            "Colour: z = (φ − null mean) / null standard deviation, on one scale for all panels, linear near "
            f"0 and logarithmic beyond; the black line encloses z > {BEYOND:g}.",
            null,
        ]
    else:
        sentences = [
            null,
            "The strips show the null's mean on the panel's own colour scale, j/d above and i/d right; "
            f"a cell's is the larger. Hatched cells are not beyond chance: φ is at most the null's "
            f"{QUANTILE:.0%} quantile, exact where i or j is 1, else that of the Beta distribution with the "
            "null's mean and variance.",
        ]
    if not any((panel.outlined if z else panel.beyond_chance).any() for panel in found):
        sentences.append("No cell is " + (f"enclosed: none has z > {BEYOND:g}." if z else "beyond chance."))
    sentences += _second_null(found)
    if any(panel.arbitrary_i.any() or panel.arbitrary_j.any() for panel in found):
        sentences.append(
            f"Orange beside an axis: there singular values i and i + 1 differ by less than "
            f"{GAP_THRESHOLD:.0%}, so that which directions are the top i is not determined."
        )
    if any(panel.undefined(z).any() for panel in found):
        sentences.append(
            "Grey, crossed: not defined; the matrix has no such direction (it is rank-deficient, or 0)."
        )
    return " ".join(sentences)


def _second_null(panels: Iterable[Panel]) -> list[str]:
    """The empirical null in numbers, for each weight: panels of one weight share it."""
    told: dict[str, str] = {}
    pairs: dict[int, None] = {}
    for panel in panels:
        name = str(panel.labels.get("weight"))
        if panel.others is None or name in told:
            continue
        (n1, n2), mean = panel.shape, panel.others.mean
        pairs[panel.others.pairs] = None
        told[name] = (
            f"{name} {short(mean[0, 0])} at i = j = 1 (closed form {short(panel.mean[0, 0])}) and "
            f"{short(mean[-1, -1])} at i = {n1}, j = {n2} ({short(panel.mean[-1, -1])})"
        )
    if not told:
        return []
    return [
        f"A second null is φ between the same runs in different layers ({listed(pairs)} pairs of layers; "
        f"whole grids in the CSV); its mean: {'; '.join(told.values())}."
    ]
