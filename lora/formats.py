"""What other programs call the factors of an adapter, and where they say its scale.

    X.lora_A.weight     X.lora_B.weight     PEFT (base_model.model.X, with or without a name), diffusers
    X.lora_A            X.lora_B            loralib; of a MergedLinear, the stacked factors of its parts
    X.lora_down.weight  X.lora_up.weight    kohya, with X.alpha; the dots of X are underscores
    X.lora.down.weight  X.lora.up.weight    diffusers, formerly; also X_lora.down.weight
    X.lora_a            X.lora_b            mlx-lm, transposed
    X.A                 X.B                 plain

Names and numbers alone: nothing here reads a tensor.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

PEFT, LORALIB, KOHYA, DIFFUSERS, MLX, PLAIN = (
    "PEFT",
    "loralib",
    "kohya",
    "diffusers",
    "mlx-lm",
    "plain A and B",
)
ROOT = "base_model.model."
METADATA = "lora_adapter_metadata"
"""The key of a safetensors header under which diffusers keeps the settings of the adapters in it."""

_ADAPTER = r"(?:\.(?!weight$|bias$)(?P<adapter>[^.]+))?"
_PATTERNS = [
    (re.compile(rf"(?P<module>.+)\.lora_(?P<role>[AB]){_ADAPTER}\.(?:weight|(?P<bias>bias))"), PEFT),
    (re.compile(rf"(?P<module>.+)\.lora_(?P<embedding>embedding)_(?P<role>[AB]){_ADAPTER}"), PEFT),
    (re.compile(rf"(?P<module>.+)\.lora_(?P<role>magnitude)_vector{_ADAPTER}(?:\.weight)?"), PEFT),
    (re.compile(r"(?P<module>.+)\.lora_(?P<role>[AB])"), LORALIB),
    (re.compile(r"(?P<module>.+)\.lora_(?P<role>down|up)\.weight"), KOHYA),
    (re.compile(r"(?P<module>.+)[._]lora\.(?P<role>down|up)\.weight"), DIFFUSERS),
    (re.compile(r"(?P<module>.+)\.lora_(?P<role>[ab])"), MLX),
    (re.compile(r"(?P<module>.+)\.(?P<role>alpha|(?:dora_scale))"), KOHYA),
    (re.compile(r"(?P<module>.+)\.(?P<role>[AB])"), PLAIN),
]
_ROLES = {"down": "A", "up": "B", "a": "A", "b": "B", "dora_scale": "magnitude"}
_NO_PAIR = re.compile(
    r"(?<![^.])(?:hada_w\d\w*|lokr_\w+|lora_mid|b?oft_\w+|ia3_l|vera_lambda_\w+|hra_u|prompt_embeddings|"
    r"lora_E|randlora_\w+)"
)
"""Names of methods that are not one pair (A, B) a module: refused by name."""


@dataclass
class NamedPair:
    """The keys of one module's tensors.

    Attributes:
        module: its name, without a root such as base_model.model.
        writer: which of the formats above.
        keys: of "A" and "B", and of "alpha", "magnitude" (DoRA) and "bias" where the file has them.
        embedding: in PEFT's layout of an embedding's pair.
    """

    module: str
    writer: str
    keys: dict[str, str] = field(default_factory=dict)
    embedding: bool = False


@dataclass(frozen=True)
class PairShape:
    """Sizes: dW is (d_out, d_in) with d_in over a convolution's kernel too.

    `parts` is above 1 where loralib's MergedLinear stacks that many pairs of rank r / parts and d_in rows.
    """

    d_out: int
    rank: int
    d_in: int
    kernel: tuple[int, ...] = ()
    parts: int = 1


def named_pairs(keys: Iterable[str]) -> tuple[dict[str, NamedPair], list[str]]:
    """The pairs by module, in the file's order, and the keys of what belongs to none.

    Raises:
        ValueError: there is no pair, a factor has none beside it, one is there twice, a name cannot be
            printed, or the tensors are of a method that is no pair (named).
    """
    pairs: dict[str, NamedPair] = {}
    others, beside, adapters = [], [], set()
    for key in keys:
        if not key.isprintable():  # it would break lines and steer terminals
            raise ValueError(f"has a tensor of the name {key!r}, with characters that cannot be printed")
        wrong = _NO_PAIR.search(key)
        if wrong:
            raise ValueError(f"its tensors are {wrong[0]} ({key}), which is no pair (A, B) of LoRA")
        matches = ((pattern.fullmatch(key), writer) for pattern, writer in _PATTERNS)
        match, writer = next(((m, w) for m, w in matches if m), (None, ""))
        found = {} if match is None else match.groupdict()
        if match is None or re.search(r"\.(modules_to_save|original_module|token_adapter)\.", key):
            others.append(key)
            continue
        module = found["module"].removeprefix(ROOT).replace(".base_layer", "")
        role = "bias" if found.get("bias") else _ROLES.get(found["role"], found["role"])
        if role not in ("A", "B"):
            beside.append((module, role, key))
            continue
        pair = pairs.setdefault(module, NamedPair(module, writer, {}, bool(found.get("embedding"))))
        adapters.add(found.get("adapter"))
        if role in pair.keys:
            names = sorted(filter(None, adapters))
            both = f"; it holds the adapters {', '.join(names)}" if len(names) > 1 else ""
            raise ValueError(
                f"has {role} of {module} twice, as {pair.keys[role]} and as {key}{both}; save one alone"
            )
        pair.keys[role] = key
    if not pairs:
        some = ", ".join([*others, *(key for _, _, key in beside)][:3]) or "none at all"
        raise ValueError(
            "holds no pair of low-rank factors as PEFT (lora_A and lora_B), loralib, kohya, diffusers or "
            f"mlx-lm name them; its tensors are such as {some}"
        )
    for pair in pairs.values():
        for role, other in ("AB", "BA"):
            if role not in pair.keys:
                raise ValueError(f"holds {pair.keys[other]} without the {role} of its pair; it is not whole")
    for module, role, key in beside:
        if module in pairs:
            pairs[module].keys[role] = key
        else:
            others.append(key)
    return pairs, others


def pair_shape(pair: NamedPair, A: tuple[int, ...], B: tuple[int, ...]) -> PairShape:
    """The sizes of a pair from those of its tensors.

    Raises:
        ValueError: they are no pair.
    """
    if pair.writer == MLX:
        A, B = A[::-1], B[::-1]
    parts = _parts(A, B) if pair.writer == LORALIB else 1
    kernel = A[2:]
    pointwise = B[2:] == (1,) * len(kernel)
    if min(len(A), len(B)) >= 2 and A[0] != parts * B[1] and 0 not in (*A, *B):
        told = f"lora_A {A} has rank {A[0]} and lora_B {B} rank {B[1]}"
        if pair.writer == LORALIB:
            told += ", and they are no MergedLinear's (2 or 3 parts, B's rows the width of A for each)"
        raise ValueError(f"{pair.module}: {told}; they do not make a pair")
    if min(len(A), len(B)) < 2 or not pointwise or 0 in (*A, *B):
        raise ValueError(f"lora_A {A} and lora_B {B} of {pair.module} do not make a pair")
    return PairShape(B[0], A[0], A[1] * math.prod(kernel), kernel, parts)


def _parts(A: tuple[int, ...], B: tuple[int, ...]) -> int:
    """How many parts a MergedLinear's stacked factors have, and 1 where these are no such.

    With n of its parts adapted A is (n r, d_in) and B (n d_out / parts, r) (loralib/layers.py). Its parts are
    taken for q, k and v, each as many rows as the model is wide: any other sizes are as likely a pair whose
    ranks differ.
    """
    if len(A) == len(B) == 2 and 0 not in (*A, *B):
        for parts in (2, 3):
            if A[0] == parts * B[1] and B[0] == parts * A[1]:
                return parts
    return 1


def stated_scaling(
    pair: NamedPair,
    rank: int,
    settings: Mapping[str, Any],
    metadata: Mapping[str, str],
    alpha: float | None = None,
) -> float | None:
    """The factor before B A, or None where nothing states it.

    Args:
        rank: of the pair.
        settings: the content of adapter_config.json, empty where there is none.
        metadata: of the safetensors header.
        alpha: the value of the tensor X.alpha.

    Raises:
        ValueError: the settings speak of another rank, or hold no numbers.
    """
    scaling = _stated(pair, rank, settings, metadata, alpha)
    if scaling is not None and not math.isfinite(scaling):
        raise ValueError(f"states a scale of {scaling} for {pair.module}, which is no finite number")
    return scaling


def _stated(
    pair: NamedPair,
    rank: int,
    settings: Mapping[str, Any],
    metadata: Mapping[str, str],
    alpha: float | None,
) -> float | None:
    try:
        if alpha is not None:
            return alpha / rank
        if "lora_parameters" in settings:
            return _mlx_scale(settings["lora_parameters"], rank)
        if "lora_alpha" in settings or settings.get("peft_type") == "LORA":
            return peft_scaling(settings, pair.module, rank)
        told = json.loads(metadata.get(METADATA) or "{}")
        component = next((name for name in _components(told) if f"{pair.module}.".startswith(name)), None)
        if component is None or f"{component}lora_alpha" not in told:
            return None
        own = {key.removeprefix(component): value for key, value in told.items()}
        return peft_scaling(own, pair.module.removeprefix(component), rank)
    except (TypeError, AttributeError, json.JSONDecodeError) as error:
        raise ValueError(f"what it states of its scale is not valid ({error})") from None


def peft_scaling(settings: Mapping[str, Any], module: str, rank: int) -> float:
    """PEFT's rule: the first pattern that matches the end of the module's path gives alpha.

    Raises:
        ValueError: the settings state another rank for the module.
    """
    stated = _of_pattern(settings.get("rank_pattern"), module, settings.get("r"))
    if stated is not None and stated != rank:
        raise ValueError(f"{module} is of rank {rank} in the tensors, and of rank {stated} in the config")
    alpha = settings.get("lora_alpha")
    alpha = _of_pattern(settings.get("alpha_pattern"), module, 8 if alpha is None else alpha)
    if isinstance(alpha, bool) or not isinstance(alpha, int | float):
        raise ValueError(f"its config states lora_alpha = {alpha!r} for {module}; give a number, such as 16")
    return alpha / (math.sqrt(rank) if settings.get("use_rslora") else rank)


def _of_pattern(patterns: Mapping[str, Any] | None, module: str, default: Any) -> Any:
    for pattern, value in (patterns or {}).items():
        try:
            matches = re.match(rf"(.*\.)?({pattern})$", module)
        except re.error as error:
            raise ValueError(f"its pattern {pattern!r} is no regular expression ({error})") from None
        if matches:
            return value
    return default


def _components(told: Mapping[str, Any]) -> list[str]:
    """The parts of a pipeline that the settings in a header are of, as "unet."; "" is the whole file."""
    names = {key.rpartition("lora_alpha")[0] for key in told if key.endswith("lora_alpha")}
    return sorted(names, key=len, reverse=True)


def _mlx_scale(parameters: Mapping[str, Any], rank: int) -> float | None:
    """mlx-lm's `scale`; where there is an alpha beside it (until 2024), times alpha / r."""
    scale = parameters.get("scale")
    alpha = parameters.get("alpha")
    return None if scale is None else scale * (alpha / rank if alpha is not None else 1.0)
