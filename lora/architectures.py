"""Where each architecture keeps W_q, W_k, W_v, W_o and the matrices of the MLP.

One table, `ARCHITECTURES`, serves adapting a model and reading W from a checkpoint: an entry speaks of names
and of rows, so it holds for a live module and for a tensor in a file alike. A new architecture is one entry
here and one in the tests, which compare q = x W_q^T + b_q with what its attention computes (fused layouts
differ, and a wrong slice gives plausible numbers).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal

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


def _layers(config: Any) -> int:
    return config.num_hidden_layers


@dataclass(frozen=True)
class Stack:
    """Layers of one kind, numbered on from those of the stack before.

    Attributes:
        layer: path of layer number {} below the prefix.
        places: where each letter lives; a letter that the layers lack is not there.
        count: from the model's config, how many layers there are.
        name: what tells its layers from another stack's.
    """

    layer: str
    places: Mapping[str, Place]
    count: Callable[[Any], int] = _layers
    name: str = ""


@dataclass(frozen=True)
class Architecture:
    """One family of models, as `config.model_type` names it.

    Attributes:
        name: the model type.
        prefixes: what may stand before the backbone's names, the task model's first ("transformer.h.0...")
            and then the bare backbone's and some checkpoints' ("h.0...").
        stacks: its layers; more than one where they differ in kind.
        heads: the modules that a task adds to the pretrained model; they are new, so they are trained with
            the LoRA.
        kind: "decoder", which continues a text; "encoder", which classifies one; or "other".
        defaults: what a config.json that does not say it means, of the sizes that are not told by others.
        mlp_ratio: the MLP's width over the model's, of a config that names it only where it is not the usual.
        stored: the names in its files, where transformers has others in memory.
    """

    name: str
    prefixes: tuple[str, ...]
    stacks: tuple[Stack, ...]
    heads: tuple[str, ...]
    kind: Literal["decoder", "encoder", "other"] = "other"
    defaults: Mapping[str, int] = field(default_factory=dict)
    mlp_ratio: int | None = None
    stored: Architecture | None = None

    @property
    def places(self) -> Mapping[str, Place]:
        """Where each letter lives, in the first of the stacks that have it."""
        found: dict[str, Place] = {}
        for stack in self.stacks:
            found = {**stack.places, **found}
        return {letter: found[letter] for letter in LETTERS if letter in found}

    def prefix(self, names: Iterable[str]) -> str:
        """The prefix that these module or parameter names use.

        Raises:
            ValueError: none of the names is inside a layer of this architecture.
        """
        names = list(names)
        prefix = self.find_prefix(names)
        if prefix is not None:
            return prefix
        expected = " or ".join(prefix + self.stacks[0].layer for prefix in self.prefixes)
        raise ValueError(
            f"this {self.name} model has no {expected}; the module names seen are {_some(names)}"
        )

    def find_prefix(self, names: Collection[str]) -> str | None:
        """As `prefix`, or None."""
        starts = {prefix: f"{prefix}{self.stacks[0].layer.format(0)}." for prefix in self.prefixes}
        matching = (
            prefix for prefix, start in starts.items() if any(name.startswith(start) for name in names)
        )
        return next(matching, None)

    def layer_count(self, config: Any) -> int:
        """Layers of all stacks."""
        return sum(stack.count(config) for stack in self.stacks)

    def located(self, layer: int, config: Any) -> tuple[Stack, int]:
        """The stack that a layer is of, and its number there.

        Raises:
            ValueError: no such layer.
        """
        number = layer
        for stack in self.stacks:
            if 0 <= number < stack.count(config):
                return stack, number
            number -= stack.count(config)
        raise ValueError(f"layer {layer} does not exist; this model has 0 to {self.layer_count(config) - 1}")

    def layer_name(self, layer: int, config: Any) -> str:
        """ "layer 3", or "layer 1 of the decoder" where layers differ in kind."""
        stack, number = self.located(layer, config)
        return f"layer {number} of the {stack.name}" if stack.name else f"layer {number}"

    def module(self, prefix: str, layer: int, letter: str, config: Any) -> str:
        """Full path of the module that holds a projection; its weight is this and `.weight`.

        Raises:
            ValueError: no such layer, or a letter that it lacks.
        """
        stack, number = self.located(layer, config)
        if letter not in stack.places:
            check_letter(letter)
            raise ValueError(
                f"{self.layer_name(layer, config)} of this {self.name} model has no {letter}; it has "
                f"{' '.join(stack.places)}"
            )
        return f"{prefix}{stack.layer.format(number)}.{stack.places[letter].module}"

    def held(self, module: str, config: Any) -> tuple[int, dict[str, Rows]] | None:
        """The layer that a module of this path is in, and the rows of each letter that it holds.

        None for a module that holds none: a norm, a task head. The path alone decides, under any of the
        prefixes, so that an adapter can be read without its model.
        """
        for prefix in self.prefixes:
            for index, stack in enumerate(self.stacks):
                before, after = map(re.escape, stack.layer.split("{}"))
                match = re.fullmatch(rf"{re.escape(prefix)}{before}(\d+){after}\.(.+)", module)
                held = [
                    letter for letter, place in stack.places.items() if match and place.module == match[2]
                ]
                if match and held:
                    rows = {letter: stack.places[letter].rows(config) for letter in held}
                    return int(match[1]) + sum(s.count(config) for s in self.stacks[:index]), rows
        return None


# -------------------------------------------------------------------------------------- how modules hold W


def _modules(within: str, **leaves: str) -> dict[str, Place]:
    """A module for each letter."""
    return {letter: Place(within + leaf) for letter, leaf in leaves.items()}


def _fused(module: str, letters: str, transposed: bool = False) -> dict[str, Place]:
    """One module for several letters, their rows one after the other."""
    names = letters.split()
    return {name: Place(module, partial(_part, names, name), transposed) for name in names}


def _part(letters: list[str], letter: str, config: Any) -> Rows:
    sizes = shapes(config)
    start = sum(sizes[before][0] for before in letters[: letters.index(letter)])
    return slice(start, start + sizes[letter][0])


def _interleaved(index: int, config: Any) -> Rows:
    """GPT-NeoX keeps q, k and v of each head together: its rows are (head, index, channel)."""
    import torch

    heads = config.num_attention_heads
    order = torch.arange(3 * config.hidden_size).view(heads, 3, config.hidden_size // heads)
    return order[:, index].reshape(-1)


# ---------------------------------------------------------------------------------------------- the table

_GPT2 = {
    **_fused("attn.c_attn", "q k v", transposed=True),
    "o": Place("attn.c_proj", transposed=True),
    "up": Place("mlp.c_fc", transposed=True),
    "down": Place("mlp.c_proj", transposed=True),
}
_BERT = {
    **_modules("attention.self.", q="query", k="key", v="value"),
    **_modules("", o="attention.output.dense", up="intermediate.dense", down="output.dense"),
}
_DISTILBERT = {
    **_modules("attention.", q="q_lin", k="k_lin", v="v_lin", o="out_lin"),
    **_modules("ffn.", up="lin1", down="lin2"),
}
_DEBERTA = _BERT | _modules("attention.self.", q="query_proj", k="key_proj", v="value_proj")
_NEOX = {
    letter: Place("attention.query_key_value", partial(_interleaved, i)) for i, letter in enumerate("qkv")
}
_NEOX |= _modules("", o="attention.dense", up="mlp.dense_h_to_4h", down="mlp.dense_4h_to_h")
_OPT = {
    **_modules("self_attn.", q="q_proj", k="k_proj", v="v_proj", o="out_proj"),
    **_modules("", up="fc1", down="fc2"),
}
_LLAMA = {
    **_modules("self_attn.", q="q_proj", k="k_proj", v="v_proj", o="o_proj"),
    **_modules("mlp.", gate="gate_proj", up="up_proj", down="down_proj"),
}
_PHI3 = _LLAMA | _fused("self_attn.qkv_proj", "q k v") | _fused("mlp.gate_up_proj", "gate up")
_VIT = {
    **_modules("attention.", q="q_proj", k="k_proj", v="v_proj", o="o_proj"),
    **_modules("mlp.", up="fc1", down="fc2"),
}
_VIT_STORED = _BERT | _modules("attention.attention.", q="query", k="key", v="value")
_T5_MLP = {"up": "wi", "down": "wo"}
_T5_GATED_MLP = {"gate": "wi_0", "up": "wi_1", "down": "wo"}

_ON_DECODER = ("score", "classifier", "qa_outputs")
_ON_ENCODER = ("classifier", "qa_outputs")


def _decoder(
    name: str, prefix: str, layer: str, places: Mapping[str, Place], **defaults: int
) -> Architecture:
    return Architecture(name, (prefix, ""), (Stack(layer, places),), _ON_DECODER, "decoder", defaults)


def _encoder(name: str, prefix: str, layer: str, places: Mapping[str, Place], *heads: str) -> Architecture:
    return Architecture(name, (prefix, ""), (Stack(layer, places),), (*heads, *_ON_ENCODER), "encoder")


def _t5(name: str, mlp: Mapping[str, str]) -> Architecture:
    """The decoder's layers follow the encoder's, and its cross attentions, without an MLP, follow them."""

    def attention(module: str) -> dict[str, Place]:
        return _modules(f"layer.{module}.", q="q", k="k", v="v", o="o")

    own = attention("0.SelfAttention")
    encoder = own | _modules("layer.1.DenseReluDense.", **mlp)
    decoder = own | _modules("layer.2.DenseReluDense.", **mlp)
    stacks = (
        Stack("encoder.block.{}", encoder, name="encoder"),
        Stack("decoder.block.{}", decoder, _decoder_layers, "decoder"),
        Stack("decoder.block.{}", attention("1.EncDecAttention"), _decoder_layers, "cross attention"),
    )
    return Architecture(name, ("", "transformer."), stacks, ("classification_head", *_ON_ENCODER))


def _decoder_layers(config: Any) -> int:
    if not getattr(config, "is_encoder_decoder", True):
        return 0
    return getattr(config, "num_decoder_layers", None) or config.num_hidden_layers


ARCHITECTURES: dict[str, Architecture] = {
    entry.name: entry
    for entry in (
        replace(_decoder("gpt2", "transformer.", "h.{}", _GPT2), mlp_ratio=4),
        _encoder("bert", "bert.", "encoder.layer.{}", _BERT),
        _encoder("roberta", "roberta.", "encoder.layer.{}", _BERT),
        _encoder("xlm-roberta", "roberta.", "encoder.layer.{}", _BERT),
        _encoder("distilbert", "distilbert.", "transformer.layer.{}", _DISTILBERT, "pre_classifier"),
        _encoder("deberta-v2", "deberta.", "encoder.layer.{}", _DEBERTA, "pooler"),  # and version 3
        _decoder("gpt_neox", "gpt_neox.", "layers.{}", _NEOX),
        _decoder("opt", "model.", "decoder.layers.{}", _OPT),
        _decoder("llama", "model.", "layers.{}", _LLAMA),  # and SmolLM
        _decoder("mistral", "model.", "layers.{}", _LLAMA, num_key_value_heads=8),
        _decoder("qwen2", "model.", "layers.{}", _LLAMA, num_key_value_heads=32),
        _decoder("qwen3", "model.", "layers.{}", _LLAMA, num_key_value_heads=32, head_dim=128),
        _decoder("gemma2", "model.", "layers.{}", _LLAMA, num_key_value_heads=4, head_dim=256),
        _decoder("gemma3_text", "model.", "layers.{}", _LLAMA, num_key_value_heads=4, head_dim=256),
        _decoder("phi3", "model.", "layers.{}", _PHI3),
        _t5("t5", _T5_MLP),
        _t5("t5-gated", _T5_GATED_MLP),  # T5 1.1 and FLAN-T5, whose model_type is t5 too
        replace(
            _encoder("vit", "vit.", "layers.{}", _VIT),
            kind="other",
            stored=_encoder("vit", "vit.", "encoder.layer.{}", _VIT_STORED),
        ),
    )
}

_OTHER_NAMES = {
    "hidden_size": ("n_embd", "d_model", "dim"),
    "num_hidden_layers": ("n_layer", "num_layers", "n_layers"),
    "num_attention_heads": ("n_head", "num_heads", "n_heads"),
    "head_dim": ("d_kv",),
    "intermediate_size": ("n_inner", "ffn_dim", "d_ff", "hidden_dim"),
}
"""What GPT-2, OPT, T5 and DistilBERT call in config.json what others call so."""


def plain_config(settings: Mapping[str, Any]) -> SimpleNamespace:
    """A model's config from the contents of its config.json: enough for this table, without transformers."""
    common = {
        name: settings[other]
        for name, others in _OTHER_NAMES.items()
        for other in others
        if other in settings and name not in settings
    }
    return SimpleNamespace(**settings, **common)


def architecture_of(config: Any, names: Iterable[str] = ()) -> Architecture:
    """The table's entry for a Hugging Face config.

    Args:
        config: anything with `model_type`.
        names: of the model's modules or of the parameters in its files, where these have names of their own.

    Raises:
        ValueError: the config has no model type, or the table has no entry for it.
    """
    model_type = getattr(config, "model_type", None)
    gated = str(getattr(config, "feed_forward_proj", "")).startswith("gated")
    entry = ARCHITECTURES.get(f"{model_type}-gated" if gated else str(model_type))
    if entry is not None:
        stored = entry.stored
        return stored if stored is not None and stored.find_prefix([*names]) is not None else entry
    given = "a model without config.model_type" if model_type is None else f"model type {model_type!r}"
    raise ValueError(
        f"{given} is not in the table of architectures; known are {', '.join(ARCHITECTURES)}; "
        f"the module names seen are {_some(names)}"
    )


def shapes(config: Any) -> dict[str, tuple[int, int]]:
    """(d_out, d_in) of each letter's W, the same in every layer that has it, from a model's config alone.

    With grouped-query attention W_k and W_v have fewer rows than W_q; where a config names the heads' size,
    W_q need not be square either.

    Args:
        config: a Hugging Face config, or `plain_config`'s.

    Raises:
        ValueError: the table has no entry for the model, or the config lacks a size.
    """
    entry = architecture_of(config)

    def size(name: str) -> int | None:
        names = (name, *_OTHER_NAMES.get(name, ()))
        given = [getattr(config, one) for one in names if hasattr(config, one)]
        return given[0] if given else entry.defaults.get(name)

    def needed(name: str) -> int:
        if (value := size(name)) is None:
            raise ValueError(f"the config of this {entry.name} model has no {name}")
        return value

    width, heads = needed("hidden_size"), needed("num_attention_heads")
    head_size = size("head_dim") or width // heads
    groups = size("num_key_value_heads") or heads
    usual = width * entry.mlp_ratio if entry.mlp_ratio else None
    inner = size("intermediate_size") or usual or needed("intermediate_size")
    found = {
        "q": (heads * head_size, width),
        "k": (groups * head_size, width),
        "v": (groups * head_size, width),
        "o": (width, heads * head_size),
        "gate": (inner, width),
        "up": (inner, width),
        "down": (width, inner),
    }
    return {letter: found[letter] for letter in entry.places}


def check_letter(letter: str) -> str:
    """`letter` itself.

    Raises:
        ValueError: it is not one of q k v o gate up down.
    """
    if letter not in LETTERS:
        raise ValueError(f"{letter!r} is not a projection; valid are {' '.join(LETTERS)}")
    return letter


def _some(names: Iterable[str], count: int = 12) -> str:
    """A few names, each layer's once."""
    shown = list(dict.fromkeys(re.sub(r"\d+", "{}", name) for name in names if name))
    return ", ".join(shown[:count]) + (f", ... ({len(shown)} in all)" if len(shown) > count else "") or "none"
