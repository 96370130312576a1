"""Every pair (A, B) of any adapter, whoever wrote it: PEFT, loralib, kohya, diffusers, mlx-lm, this project.

Opening reads names and shapes; a pair is read when it is asked for and not kept, so that a file may be larger
than memory.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from analysis.defaults import WHOLE_BELOW
from analysis.errors import AnalysisError
from analysis.reading.base_weights import BaseWeights
from analysis.reading.checkpoint import Checkpoint
from analysis.reading.files import (
    is_file,
    is_folder,
    open_tensors,
    read_header,
    read_json,
    subfolders,
    unreadable,
)
from experiments.identity import ADAPTER_CONFIG
from experiments.store import ADAPTER, RUN, RunFolder
from lora.architectures import ARCHITECTURES, Architecture, architecture_of
from lora.files import FORMAT, PICKLES
from lora.formats import (
    MLX,
    NamedPair,
    PairShape,
    named_pairs,
    pair_shape,
    stated_scaling,
)

if TYPE_CHECKING:
    from torch import Tensor

    from lora.saving import Factors

NATIVE = "this project"
TRUNCATED = "truncated"
"""The method whose runs evaluate another's adapter."""
WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin", "adapters.safetensors")
OTHER_WEIGHTS = ("pytorch_lora_weights.safetensors", "pytorch_lora_weights.bin")
ENDINGS = (".safetensors", *PICKLES)
PLAIN_SETTINGS = (None, True, False, "gaussian", "eva", "orthogonal")
"""PEFT's init_lora_weights that leave W0 as it is."""


@dataclass(frozen=True, eq=False)
class Pair:
    """One pair of an adapter, dW = scaling * B A.

    Attributes:
        module: its name in the file, without a root such as base_model.model.
        layer: from 0; the first number in the name where the architecture is unknown; None without one.
        label: what it is called where it has no letter: its name below the layer.
        letters: the letters that it holds, and for each which rows of B are its own; empty where unknown.
        shape: its sizes.
        scaling: the factor, alpha / r in most files.
        stated: whether the file or its config states it; else it is taken for 1.
        magnitude: reads DoRA's, (d_out,); None without it. dW is then more than scaling * B A.
        embedding: of an embedding table, in PEFT's layout; dW is then the transpose of what is stored.
        rslora: alpha, that `scaling` was made from, is divided by sqrt(r).
        parameters: entries of both factors as they are stored.
        read: A (r, d_in) and B (d_out, r) on the CPU, in the dtype that they are stored in; checked.
    """

    module: str
    layer: int | None
    label: str
    letters: Mapping[str, Any]
    shape: PairShape
    scaling: float
    stated: bool
    read: Callable[[], tuple[Tensor, Tensor]]
    magnitude: Callable[[], Tensor] | None = None
    embedding: bool = False
    rslora: bool = False
    parameters: int = 0

    @property
    def rank(self) -> int:
        return self.shape.rank

    @property
    def dora(self) -> bool:
        return self.magnitude is not None

    def factors(self) -> dict[str, Factors]:
        """By letter, or by the label alone, in float32 or what is finer.

        Raises:
            AnalysisError: the tensors are damaged.
        """
        from lora.peft import letter_factors

        A, B = self.read()
        return letter_factors(A, B, self.scaling, self.letters or {self.label: slice(None)}, self.rslora)


@dataclass(frozen=True, eq=False)
class Adapter:
    """Everything that a file or folder holds of an adapter; iterates over its pairs, in the file's order.

    Attributes:
        source: where it is, as it was given.
        format: who writes such files.
        pairs: one for each module.
        architectures: the model types whose modules have such names; one where it is known.
        inferred: the architecture is from names and shapes, since no config of the base model was at hand.
        path: the file of tensors.
        settings: of adapter_config.json, empty where there is none.
        extra: the keys of its other tensors: task heads, biases.
        notes: what a reader of its numbers has to know.
    """

    source: str
    format: str
    pairs: tuple[Pair, ...]
    architectures: tuple[str, ...]
    inferred: bool
    path: Path
    settings: Mapping[str, Any] = field(default_factory=dict)
    extra: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[Pair]:
        return iter(self.pairs)

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def stacks(self) -> tuple[str, ...]:
        """What the layers are of, by the modules' names: of several, one number is not one depth."""
        found = dict.fromkeys(stack_of(pair.module) for pair in self if pair.layer is not None)
        if self.format == NATIVE and len(ARCHITECTURES[self.architectures[0]].stacks) > 1:
            return tuple(stack.layer for stack in ARCHITECTURES[self.architectures[0]].stacks)
        return tuple(stack or "" for stack in found)


def uneven_scales(pairs: Iterable[Pair]) -> bool:
    """Whether even ratios between pairs depend on scales that are not stated: not if one serves all.

    It does where no scale is stated and all are of one rank, as one alpha / r or none is all that writers
    without a config have.
    """
    pairs = [*pairs]
    unstated = [pair for pair in pairs if not pair.stated]
    ranks = {pair.rank // pair.shape.parts for pair in pairs}
    return bool(unstated) and (len(unstated) < len(pairs) or len(ranks) > 1)


def open_adapter(source: str | Path, base: BaseWeights | str | Path | None = None) -> Adapter:
    """The adapter in a file or folder, whoever wrote it; no pair is read yet.

    Args:
        source: a file of `lora.save` or a run's folder; a folder of PEFT or mlx-lm, or one that holds one
            such folder; a file of tensors (.safetensors, .bin, .pt, .pth) of PEFT, loralib, kohya, diffusers,
            mlx-lm or plain X.A and X.B.
        base: the model that it belongs to, for its architecture; if not given, that is inferred from names
            and shapes, unless the base model that the adapter names is on this machine.

    Raises:
        AnalysisError: there is no whole adapter there, or several, or it is not of the base.
    """
    place = Path(source).expanduser()
    try:
        cut = _cut(place)
        path, settings_path = _adapter_file(place if cut is None else cut.whole)
    except OSError as error:
        raise AnalysisError(f"{source} {unreadable(error)}") from None
    settings = {} if settings_path is None else read_json(settings_path)
    kind = settings.get("peft_type", "LORA")
    if kind != "LORA":
        raise AnalysisError(f"{settings_path}: a PEFT adapter of type {kind!r}; only 'LORA' has pairs (A, B)")
    with open_tensors(path, framework="np") as opened:
        metadata = opened.metadata() or {}
        if metadata.get("format") == FORMAT:
            return _native(str(source), path, () if cut is None else (cut.note,))
        known = _architecture(settings, base)
        try:
            names, extra = named_pairs(opened.keys())
            if known is not None:
                names = _with_paths(names, *known)
            alphas = _alphas(path, names)
            shapes, scalings = {}, {}
            for module, pair in names.items():
                sizes = (tuple(opened.get_slice(pair.keys[factor]).get_shape()) for factor in "AB")
                shape = shapes[module] = pair_shape(pair, *sizes)
                rank = shape.rank // shape.parts
                scalings[module] = stated_scaling(pair, rank, settings, metadata, alphas.get(module))
        except (ValueError, TypeError) as error:
            raise AnalysisError(f"{path}: {error}") from None
    if settings.get("use_dora") and not any("magnitude" in pair.keys for pair in names.values()):
        raise AnalysisError(
            f"{path}: its config says DoRA, and it holds no magnitudes (lora_magnitude_vector); it is not "
            "whole"
        )
    located = _located(path, shapes, known, base is not None)
    _check_single(path, located)
    labels = _labels(list(names))
    pairs = []
    for module, pair in names.items():
        layer, label = labels[module]
        letters: Mapping[str, Any] = {}
        shape = shapes[module]
        if module in located.letters:
            layer, letters, d_out = located.letters[module]
            shape = PairShape(d_out, shape.rank, shape.d_in, shape.kernel, shape.parts)
        scaling = scalings[module]
        pairs.append(
            Pair(
                module,
                layer,
                label,
                letters,
                shape,
                1.0 if scaling is None else scaling,
                scaling is not None,
                partial(_read_pair, path, pair, shape),
                partial(_read_magnitude, path, pair.keys["magnitude"]) if "magnitude" in pair.keys else None,
                pair.embedding,
                bool(settings.get("use_rslora")),
                _parameters(shapes[module]),
            )
        )
    writers = Counter(pair.writer for pair in names.values())
    biases = tuple(pair.keys["bias"] for pair in names.values() if "bias" in pair.keys)
    return Adapter(
        str(source),
        writers.most_common(1)[0][0],
        tuple(pairs),
        located.architectures,
        located.inferred,
        path,
        settings,
        (*extra, *biases),
        tuple(_notes(pairs, settings, biases, extra)),
    )


def _native(source: str, path: Path, notes: Sequence[str] = ()) -> Adapter:
    header = read_header(path)
    rslora = header.scaling_rule == "alpha/sqrt(r)"

    def read(name: str, started: bool) -> tuple[Tensor, Tensor]:
        """With (A0, -B0) beside (A, B) where they were not zero at the start."""
        import torch

        with open_tensors(path) as opened:
            A, B = opened.get_tensor(f"{name}.A"), opened.get_tensor(f"{name}.B")
            if not started:
                return A, B
            A0, B0 = opened.get_tensor(f"{name}.A0"), opened.get_tensor(f"{name}.B0")
        return torch.cat([A, A0]), torch.cat([B, -B0], dim=1)

    pairs = []
    for (layer, letter), (d_out, d_in) in header.shapes.items():
        rank, _, scaling = header.numbers[layer, letter]
        started = (layer, letter) in header.started
        name = f"layers.{layer}.{letter}"
        shape = PairShape(d_out, rank * (2 if started else 1), d_in)
        rows = {letter: slice(None)}
        pairs.append(
            Pair(
                name,
                layer,
                letter,
                rows,
                shape,
                scaling,
                True,
                partial(read, name, started),
                partial(_read_magnitude, path, f"{name}.m") if (layer, letter) in header.scaled else None,
                rslora=rslora,
                parameters=_parameters(shape),
            )
        )
    with open_tensors(path, framework="np") as opened:
        extra = tuple(key for key in opened.keys() if key.startswith("extra."))  # noqa: SIM118
    notes = (*notes, *_notes(pairs, {}, (), ()))
    return Adapter(
        source, NATIVE, tuple(pairs), (header.architecture,), False, path, extra=extra, notes=notes
    )


@dataclass(frozen=True)
class _Cut:
    """What a truncated run evaluates: the run that it is cut from, and that in words."""

    whole: Path
    note: str


def check_whole(source: str | Path) -> None:
    """Raises AnalysisError for a truncated run: its adapter is another's, which lies on disk uncut."""
    cut = _cut(Path(source).expanduser())
    if cut is not None:
        raise AnalysisError(
            f"{source}: a truncated run has no adapter of its own to compare or resize; give the run that it "
            f"is cut from, {cut.whole}, or cut that one: python -m analysis resize {cut.whole} --rank K "
            "--out DIR"
        )


def _cut(path: Path) -> _Cut | None:
    """Of a truncated run's folder, the run beside it of the same settings; None of any other place.

    Raises:
        AnalysisError: that run is not there.
    """
    config = _config_of(path)
    if config is None or config.get("method") != TRUNCATED:
        return None
    keep = config["keep"]
    told = f"its top {f'{keep} directions' if keep != 1 else 'direction'} by {config['by']}"
    same = {name: value for name, value in config.items() if name not in ("keep", "by")} | {"method": "lora"}
    for other in subfolders(path.resolve().parent)[0]:
        if _config_of(other) == same:
            return _Cut(
                other,
                f"{path.name} has no adapter of its own: it evaluates {other.name} cut to {told}. What is "
                "shown is that adapter, whole",
            )
    raise AnalysisError(
        f"{path}: a truncated run, which has no adapter of its own: it is another run's adapter cut to "
        f"{told}, and no run of the same settings with method=lora lies beside it"
    )


def _config_of(path: Path) -> dict[str, Any] | None:
    """The configuration of a finished run's folder; None where there is none."""
    record = RunFolder(path).read()
    config = None if record is None else record.get("config")
    return config if isinstance(config, dict) else None


def _alphas(path: Path, names: Mapping[str, NamedPair]) -> dict[str, float]:
    """By module the value of its tensor X.alpha, of any dtype: numpy has no bfloat16.

    Raises:
        ValueError: one is no real number.
    """
    keys = {module: pair.keys["alpha"] for module, pair in names.items() if "alpha" in pair.keys}
    if not keys:
        return {}
    with open_tensors(path) as opened:
        tensors = {module: opened.get_tensor(key) for module, key in keys.items()}
    for module, tensor in tensors.items():
        if tensor.numel() != 1 or tensor.is_complex():
            raise ValueError(
                f"{keys[module]} is {tuple(tensor.shape)} of {tensor.dtype}; one real number is expected"
            )
    return {module: float(tensor) for module, tensor in tensors.items()}


def _check_single(path: Path, located: _Located) -> None:
    """Raises AnalysisError where two modules are the same projection, each of them only in part dW then."""
    holders: dict[tuple[int, str], str] = {}
    for module, (layer, letters, _) in located.letters.items():
        for letter in letters:
            other = holders.setdefault((layer, letter), module)
            if other != module:
                raise AnalysisError(
                    f"{path}: has {other} and {module}, which are both {letter} of layer {layer + 1}; "
                    "save one alone"
                )


def _parameters(shape: PairShape) -> int:
    return shape.rank * shape.d_in + shape.d_out * shape.rank // shape.parts


def _adapter_file(path: Path) -> tuple[Path, Path | None]:
    """The file of tensors, and adapter_config.json where there is one beside it."""
    if not is_folder(path):
        config = path.with_name(ADAPTER_CONFIG)
        return path, config if path.name in WEIGHTS and is_file(config) else None
    config = path / ADAPTER_CONFIG
    for name in (*WEIGHTS, *OTHER_WEIGHTS):
        if is_file(path / name):
            return path / name, config if is_file(config) else None
    if is_file(config):
        raise AnalysisError(f"{path}: has {ADAPTER_CONFIG}, and no {' or '.join(WEIGHTS)} beside it")
    if is_file(path / RUN):
        return path / ADAPTER, None
    inside = [child for child in subfolders(path)[0] if _holds_adapter(child)]
    files = [child for child in sorted(path.iterdir()) if child.suffix in ENDINGS]
    if len(inside) == 1:
        return _adapter_file(inside[0])
    if not inside and len(files) == 1:
        return files[0], None
    several = ", ".join(child.name for child in (inside or files)[:8])
    hint = f"several in it; give one of them: {several}" if several else "none in it"
    raise AnalysisError(
        f"{path}: a folder with no adapter of its own, and {hint} (PEFT's has {ADAPTER_CONFIG} and "
        f"{WEIGHTS[0]})"
    )


def _holds_adapter(folder: Path) -> bool:
    return any(is_file(folder / name) for name in (*WEIGHTS, *OTHER_WEIGHTS, ADAPTER, ADAPTER_CONFIG))


def _notes(
    pairs: Sequence[Pair],
    settings: Mapping[str, Any],
    biases: Sequence[str],
    extra: Sequence[str],
) -> Iterator[str]:
    unstated = sum(not pair.stated for pair in pairs)
    if unstated:
        which = "" if unstated == len(pairs) else f" for {unstated} of {len(pairs)} modules"
        yield (
            f"The file does not state the scale{which}: alpha/r = 1 is taken, and every number that depends "
            "on it is marked with ?"
        )
    wide = [pair for pair in pairs if pair.rank // pair.shape.parts > max(pair.shape.d_out, pair.shape.d_in)]
    if wide:
        yield (
            f"{wide[0].module} is of rank {wide[0].rank}, and dW is only {wide[0].shape.d_out} x "
            f"{wide[0].shape.d_in} ({len(wide)} such of {len(pairs)}): are A and B exchanged?"
        )
    if any(pair.dora for pair in pairs):
        yield (
            "DoRA: without W (--base), and in a comparison, the numbers are of its pair, scaling * B A, "
            "alone, as its magnitudes change W besides; inspected with W they are of dW = W' - W0, which has "
            f"full rank, as long as a side of W is at most {WHOLE_BELOW:,}"
        )
    if biases:
        have = "1 module has" if len(biases) == 1 else f"{len(biases)} modules have"
        yield f"{have} a bias beside B, which is no part of dW"
    if extra:
        lie = "1 other tensor lies" if len(extra) == 1 else f"{len(extra)} other tensors lie"
        such = "" if len(extra) == 1 else "such as "
        yield f"{lie} beside the pairs, {such}{extra[0]}: no part of these numbers"
    init = settings.get("init_lora_weights")
    if init not in PLAIN_SETTINGS:
        yield (f"init_lora_weights = {init!r} changed W0 before training: dW is relative to that, not to W0")
    for parts, told in (
        (2, "two parts in three: taken for q and v, as its file does not tell which"),
        (3, "three parts, q, k and v"),
    ):
        if any(pair.shape.parts == parts for pair in pairs):
            yield (
                f"A MergedLinear of {told} (A has {parts} times the rows that B has columns, and B the rows "
                f"of {parts} square projections)"
            )


def _read_pair(path: Path, pair: NamedPair, shape: PairShape) -> tuple[Tensor, Tensor]:
    import torch

    with open_tensors(path) as opened:
        A, B = (opened.get_tensor(pair.keys[factor]) for factor in "AB")
    for factor, tensor in zip("AB", (A, B), strict=True):
        if not tensor.is_floating_point():
            raise AnalysisError(f"{path}: {pair.keys[factor]} is {tensor.dtype}; factors are floating point")
        if not torch.isfinite(tensor.sum(dtype=torch.float64)):  # NaN and infinity survive a sum
            raise AnalysisError(f"{path}: {pair.keys[factor]} has entries that are NaN or infinite")
    if pair.writer == MLX:
        return A.T, B.T
    A, B = A.flatten(1), B.flatten(1)
    if shape.parts == 1:
        return A, B
    rank, rows = B.shape[1], len(B) // shape.parts
    # Two parts of three are q and v: a MergedLinear's file does not tell which it adapts.
    slots = range(shape.parts) if len(B) == shape.d_out else (0, 2)
    block = B.new_zeros(shape.d_out, len(A))
    for part, slot in enumerate(slots):
        block[slot * rows :][:rows, part * rank :][:, :rank] = B[part * rows :][:rows]
    return A, block


def _read_magnitude(path: Path, key: str) -> Tensor:
    import torch

    with open_tensors(path) as opened:
        magnitude: Tensor = opened.get_tensor(key).flatten()
    if not torch.isfinite(magnitude).all():
        raise AnalysisError(f"{path}: {key} has entries that are NaN or infinite")
    return magnitude


@dataclass(frozen=True)
class _Located:
    """The architectures that fit, and layer, letters' rows and d_out by module."""

    architectures: tuple[str, ...]
    inferred: bool
    letters: dict[str, tuple[int, dict[str, Any], int]]


def _located(
    path: Path,
    shapes: Mapping[str, PairShape],
    known: tuple[Architecture, Any] | None,
    given: bool,
) -> _Located:
    """`known` are the base's architecture and config, where they are; it was `given` or found."""
    if known is not None:
        architecture, config = known
        letters = _held(architecture, shapes, config)
        if not letters and given:
            raise AnalysisError(
                f"{path}: adapts no projection of a {architecture.name} model; its modules are such as "
                f"{next(iter(shapes))}"
            )
        for module, (_, rows, d_out) in letters.items():
            _check_width(path, module, (d_out, shapes[module].d_in), rows, config)
        return _Located((architecture.name,), False, letters)
    every = {name: _held(architecture, shapes, None) for name, architecture in ARCHITECTURES.items()}
    most = max(map(len, every.values()))
    if most == 0:
        return _Located((), True, {})
    names = tuple(name for name, letters in every.items() if len(letters) == most)
    return _Located(names, True, every[names[0]])


def _with_paths(names: dict[str, NamedPair], architecture: Architecture, config: Any) -> dict[str, NamedPair]:
    """The same with the modules' paths for names that have underscores for the dots, as kohya writes them.

    Which underscore was a dot the name alone does not tell; the architecture does.
    """
    if all("." in module for module in names):
        return names
    paths = {}
    for layer in range(architecture.layer_count(config)):
        stack, _ = architecture.located(layer, config)
        for letter, prefix in itertools.product(stack.places, reversed(architecture.prefixes)):
            path = architecture.module(prefix, layer, letter, config)
            paths[path.replace(".", "_")] = architecture.module(
                architecture.prefixes[0], layer, letter, config
            )
    found: dict[str, NamedPair] = {}
    for module, pair in names.items():
        words = module.split("_")
        ends = ("_".join(words[count:]) for count in range(len(words) if "." not in module else 0))
        path = next((paths[end] for end in ends if end in paths), module)
        if path in found:
            raise ValueError(
                f"has {found[path].module} and {module}, which are both {path} of the base model"
            )
        found[path] = pair
    return found


def _held(
    architecture: Architecture, shapes: Mapping[str, PairShape], config: Any
) -> dict[str, tuple[int, dict[str, Any], int]]:
    """Layer, letters' rows and d_out of the modules that hold letters.

    Names may have more in front than the architecture's, but for an encoder or decoder that it does not name
    (CLIP's text_model.encoder.layers are no Llama's); the beginning that most of them share is taken, so that
    of a model of text and images one tower alone has letters.
    """
    beginnings: dict[str, dict[str, tuple[int, dict[str, Any], int]]] = {}
    layers = 1 + max((layer or 0 for layer, _ in _labels(list(shapes)).values()), default=0)
    for module, shape in shapes.items():
        words = module.split(".")
        for count in range(min(4, len(words))):
            if config is None and words[:count][-1:] in (["encoder"], ["decoder"]):
                break
            # Without a config one is made up, whose sizes the rows then have to bear out.
            told = config or SimpleNamespace(
                model_type=architecture.name,
                hidden_size=shape.d_in,
                num_attention_heads=1,
                num_hidden_layers=layers,
                num_key_value_heads=1,
                head_dim=shape.d_in,
                intermediate_size=shape.d_out // 2,
            )
            try:
                held = architecture.held(".".join(words[count:]), told)
            except (AttributeError, ValueError):  # a size that only the true config tells
                held = None
            if held is None:
                continue
            layer, rows = held
            sizes = [shape.d_out, *([shape.d_out * 3 // 2] if shape.parts == 2 else [])]
            d_out = next((size for size in sizes if _fits(rows, size, config is not None)), sizes[0])
            if config is not None or _fits(rows, d_out, False):  # of a config, `_check_width` tells
                beginnings.setdefault(".".join(words[:count]), {})[module] = (layer, rows, d_out)
            break
    return max(beginnings.values(), key=len, default={})


def _fits(rows: Mapping[str, Any], d_out: int, known: bool) -> bool:
    """Whether the letters' rows are all of the module's, each once."""
    if len(rows) == 1:
        return True
    if not all(isinstance(own, slice) for own in rows.values()):
        return known  # heads, which shapes do not tell
    taken = sorted(row for own in rows.values() for row in (own.start, own.stop))
    return taken[0] == 0 and taken[-1] == d_out and taken[1:-1:2] == taken[2:-1:2]


_NUMBER = re.compile(r"(?:^|[._])(\d+)(?=[._])[._]?")


def _labels(modules: Sequence[str]) -> dict[str, tuple[int | None, str]]:
    """The layer of each module, the first number in its name, and what it is called among all layers.

    That is its name without the layer and what is before it; or its whole name, with * for the layer, where
    others have the first too, or where there are several stacks of layers, as a diffusion model's down_blocks
    and up_blocks, whose layers of one number are not the same.
    """
    found: dict[str, tuple[int | None, str]] = {}
    for module in modules:
        match = _NUMBER.search(module)
        found[module] = (int(match[1]), module[match.end() :]) if match else (None, module)
    shared = Counter(found.values())
    several = len({stack_of(module) for module in modules} - {None}) > 1
    whole = {
        module: (layer, re.sub(r"(^|[._])\d+(?=[._])", r"\1*", module, count=1))
        for module, (layer, label) in found.items()
        if layer is not None and (several or shared[layer, label] > 1)
    }
    return found | whole


def stack_of(module: str) -> str | None:
    """What is before a module's layer in its name, as model.layers; None without a layer."""
    match = _NUMBER.search(module)
    return module[: match.start()] if match else None


def _architecture(
    settings: Mapping[str, Any], base: BaseWeights | str | Path | None
) -> tuple[Architecture, Any] | None:
    """The table's entry for the base model and its config, where one was given or is at hand."""
    if isinstance(base, BaseWeights):
        return base.architecture, base.checkpoint.config
    if base is not None:
        try:
            config = Checkpoint.find(base).config
            return architecture_of(config), config
        except ValueError as error:
            raise AnalysisError(str(error)) from None
    name = settings.get("base_model_name_or_path")
    checkpoint = (
        Checkpoint.at_hand(name, settings.get("revision")) if isinstance(name, str) and name else None
    )
    try:
        return None if checkpoint is None else (architecture_of(checkpoint.config), checkpoint.config)
    except ValueError:  # of no architecture that is known
        return None


def _check_width(
    path: Path, module: str, shape: tuple[int, int], letters: Mapping[str, Any], config: Any
) -> None:
    """q, k, v and up read the residual stream, o and down write it: that width is the model's."""
    written = not {"o", "down"}.isdisjoint(letters)
    width = shape[0] if written else shape[1]
    if width != config.hidden_size:
        raise AnalysisError(
            f"{path}: {module} is {shape}, of a model of width {width}; the base model has width "
            f"{config.hidden_size}"
        )
