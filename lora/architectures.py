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
from types import SimpleNamespace
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

    def held(self, module: str, config: Any) -> tuple[int, dict[str, Rows]] | None:
        """The layer that a module of this path is in, and the rows of each letter that it holds.

        None for a module that holds none: a norm, a gate, a task head. The path alone decides, under any of
        the prefixes, so that an adapter can be read without its model.
        """
        before, after = map(re.escape, self.layer.split("{}"))
        for prefix in self.prefixes:
            match = re.fullmatch(rf"{re.escape(prefix)}{before}(\d+){after}\.(.+)", module)
            if match:
                places = {letter: place for letter, place in self.places.items() if place.module == match[2]}
                rows = {letter: place.rows(config) for letter, place in places.items()}
                return (int(match[1]), rows) if rows else None
        return None


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


def _interleaved(index: int) -> Callable[[Any], Rows]:
    """GPT-NeoX keeps q, k and v of each head together: its rows are (head, index, channel)."""

    def rows(config: Any) -> Rows:
        import torch

        heads = config.num_attention_heads
        order = torch.arange(3 * config.hidden_size).view(heads, 3, config.hidden_size // heads)
        return order[:, index].reshape(-1)

    return rows


_GPT_NEOX = Architecture(
    name="gpt_neox",
    prefixes=("gpt_neox.", ""),
    layer="layers.{}",
    places={
        "q": Place("attention.query_key_value", _interleaved(0)),
        "k": Place("attention.query_key_value", _interleaved(1)),
        "v": Place("attention.query_key_value", _interleaved(2)),
        "o": Place("attention.dense"),
        "up": Place("mlp.dense_h_to_4h"),
        "down": Place("mlp.dense_4h_to_h"),
    },
    heads=("score", "classifier", "qa_outputs"),
)


def _llama(name: str) -> Architecture:
    """Grouped-query attention: W_k and W_v have key-value heads * head size rows. The gate has no letter."""
    return Architecture(
        name=name,
        prefixes=("model.", ""),
        layer="layers.{}",
        places={
            "q": Place("self_attn.q_proj"),
            "k": Place("self_attn.k_proj"),
            "v": Place("self_attn.v_proj"),
            "o": Place("self_attn.o_proj"),
            "up": Place("mlp.up_proj"),
            "down": Place("mlp.down_proj"),
        },
        heads=("score", "qa_outputs"),
    )


ARCHITECTURES: dict[str, Architecture] = {
    entry.name: entry
    for entry in (
        _GPT2,
        _bert("bert", "bert."),
        _bert("roberta", "roberta."),
        _bert("xlm-roberta", "roberta."),
        _GPT_NEOX,
        _llama("llama"),
        _llama("mistral"),
        _llama("qwen2"),
        _llama("qwen3"),
    )
}

_OTHER_NAMES = {"n_embd": "hidden_size", "n_layer": "num_hidden_layers", "n_head": "num_attention_heads"}
"""GPT-2's names in config.json of what every Hugging Face config has as an attribute."""


def plain_config(settings: Mapping[str, Any]) -> SimpleNamespace:
    """A model's config from the contents of its config.json: enough for this table, without transformers."""
    return SimpleNamespace(**{_OTHER_NAMES.get(name, name): value for name, value in settings.items()})


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


def shapes(config: Any) -> dict[str, tuple[int, int]]:
    """(d_out, d_in) of each letter's W, the same in every layer, from a model's config alone.

    With grouped-query attention W_k and W_v have fewer rows than W_q; where a config names the heads' size,
    W_q need not be square either.

    Args:
        config: a Hugging Face config, or `plain_config`'s.

    Raises:
        ValueError: the table has no entry for the model, or the config lacks a size.
    """
    name = architecture_of(config).name
    try:
        width, heads = config.hidden_size, config.num_attention_heads
    except AttributeError as error:
        raise ValueError(f"the config of this {name} model has no {error.name}") from error
    head_size = getattr(config, "head_dim", None) or width // heads
    groups = getattr(config, "num_key_value_heads", None) or heads
    # GPT-2 names the MLP's width only where it is not the usual one.
    inner = getattr(config, "intermediate_size", None) or getattr(config, "n_inner", None) or 4 * width
    return {
        "q": (heads * head_size, width),
        "k": (groups * head_size, width),
        "v": (groups * head_size, width),
        "o": (width, heads * head_size),
        "up": (inner, width),
        "down": (width, inner),
    }


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
