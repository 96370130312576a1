"""Where each architecture keeps W_q, W_k, W_v, W_o and the two matrices of the MLP.

One table, `ARCHITECTURES`, serves adapting a model and reading W from a checkpoint: an entry speaks of names
and of rows, so it holds for a live module and for a tensor in a file alike. A new architecture is one entry
here and one test that compares q = x W_q^T + b_q with what its attention computes (fused layouts differ, and
a wrong slice gives plausible numbers).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lora.targets import LETTERS

if TYPE_CHECKING:
    from torch import Tensor

    Rows = slice | Tensor  # a Tensor of int64 row numbers where a head's q, k, v are interleaved


def _every_row(config: Any) -> Rows:
    return slice(None)


@dataclass(frozen=True)
class Place:
    """Where one projection lives in a layer.

    Attributes:
        module: path of the module below the layer.
        rows: from the model's config, which of the module's outputs are this projection's.
        transposed: the weight is stored (d_in, d_out), as GPT-2's Conv1D does, not (d_out, d_in).
    """

    module: str
    rows: Callable[[Any], Rows] = _every_row
    transposed: bool = False

    def take(self, stored: Tensor, config: Any) -> Tensor:
        """W as (d_out, d_in) from the stored weight: a view, unless the rows are scattered."""
        return (stored.T if self.transposed else stored)[self.rows(config)]


@dataclass(frozen=True)
class Architecture:
    """One family of models, as `config.model_type` names it.

    Attributes:
        name: the model type.
        prefixes: what may stand before the backbone's names, the task model's first ("transformer.h.0...")
            and then the bare backbone's and some checkpoints' ("h.0...").
        layer: path of layer number {} below the prefix.
        places: where each letter lives.
        heads: the modules that a task adds to the pretrained model; they are new, so they are trained with
            the LoRA.
    """

    name: str
    prefixes: tuple[str, ...]
    layer: str
    places: Mapping[str, Place]
    heads: tuple[str, ...]

    def prefix(self, names: Iterable[str]) -> str:
        """The prefix that these module or parameter names use.

        Raises:
            ValueError: none of the names is inside a layer of this architecture.
        """
        names = list(names)
        for prefix in self.prefixes:
            start = prefix + self.layer.format(0) + "."
            if any(name.startswith(start) for name in names):
                return prefix
        expected = " or ".join(prefix + self.layer for prefix in self.prefixes)
        raise ValueError(
            f"this {self.name} model has no {expected}; the module names seen are {_some(names)}"
        )

    def module(self, prefix: str, layer: int, letter: str) -> str:
        """Full path of the module that holds a projection; its weight is this and `.weight`."""
        return f"{prefix}{self.layer.format(layer)}.{self.places[letter].module}"


def _third(index: int) -> Callable[[Any], Rows]:
    def rows(config: Any) -> Rows:
        return slice(index * config.hidden_size, (index + 1) * config.hidden_size)

    return rows


_GPT2 = Architecture(
    name="gpt2",
    prefixes=("transformer.", ""),
    layer="h.{}",
    places={
        "q": Place("attn.c_attn", _third(0), transposed=True),
        "k": Place("attn.c_attn", _third(1), transposed=True),
        "v": Place("attn.c_attn", _third(2), transposed=True),
        "o": Place("attn.c_proj", transposed=True),
        "up": Place("mlp.c_fc", transposed=True),
        "down": Place("mlp.c_proj", transposed=True),
    },
    heads=("score", "classifier", "qa_outputs"),
)


def _bert(name: str, prefix: str) -> Architecture:
    return Architecture(
        name=name,
        prefixes=(prefix, ""),
        layer="encoder.layer.{}",
        places={
            "q": Place("attention.self.query"),
            "k": Place("attention.self.key"),
            "v": Place("attention.self.value"),
            "o": Place("attention.output.dense"),
            "up": Place("intermediate.dense"),
            "down": Place("output.dense"),
        },
        heads=("classifier", "qa_outputs"),
    )


ARCHITECTURES: dict[str, Architecture] = {
    entry.name: entry
    for entry in (
        _GPT2,
        _bert("bert", "bert."),
        _bert("roberta", "roberta."),
        _bert("xlm-roberta", "roberta."),
    )
}


def architecture_of(config: Any, names: Iterable[str] = ()) -> Architecture:
    """The table's entry for a Hugging Face config.

    Args:
        config: anything with `model_type`.
        names: the model's module names, for the error only.

    Raises:
        ValueError: the config has no model type, or the table has no entry for it.
    """
    model_type = getattr(config, "model_type", None)
    if model_type in ARCHITECTURES:
        return ARCHITECTURES[model_type]
    given = "a model without config.model_type" if model_type is None else f"model type {model_type!r}"
    raise ValueError(
        f"{given} is not in the table of architectures; known are {', '.join(ARCHITECTURES)}; "
        f"the module names seen are {_some(names)}"
    )


def check_letter(letter: str) -> str:
    """`letter` itself.

    Raises:
        ValueError: it is not one of q k v o up down.
    """
    if letter not in LETTERS:
        raise ValueError(f"{letter!r} is not a projection; valid are {' '.join(LETTERS)}")
    return letter


def _some(names: Iterable[str], count: int = 12) -> str:
    """A few names, each layer's once."""
    shown = list(dict.fromkeys(re.sub(r"\d+", "{}", name) for name in names if name))
    return ", ".join(shown[:count]) + (f", ... ({len(shown)} in all)" if len(shown) > count else "") or "none"
