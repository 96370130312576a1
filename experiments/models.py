"""Base models: the embedded one, or a checkpoint of a known architecture from a folder or the hub."""

from __future__ import annotations

import functools
import json
import pickle
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from experiments.errors import UserError
from experiments.identity import (
    ADAPTER_CONFIG,
    CONFIG,
    DEQUANTISED,
    checkpoint_folder,
    checkpoint_identity,
    weights_sha256,
)
from experiments.parts import ModelConfig
from experiments.tokenizing import POSITIONS_FROM_PAD, check_tokenizer, load_tokenizer
from lora.architectures import ARCHITECTURES, plain_config, shapes

if TYPE_CHECKING:
    from transformers import PreTrainedModel

EMBEDDED = "embedded"
OWN_CODE = "trust_remote_code"
"""What the library's message names where a checkpoint's code would have to be run."""


@dataclass(frozen=True)
class BaseModel:
    """A pretrained model that is never changed: each run trains a copy.

    `generates` tells a text model (it continues a prompt) from a sequence classifier.  `provenance` goes
    into the run's record: name, revision, of a local folder its path and its weights' sha256, and in which
    dtype the weights are stored, or from which format they were dequantised.
    """

    model: PreTrainedModel
    tokenizer: Any
    generates: bool
    max_length: int
    provenance: dict[str, Any]


def model_identity(config: ModelConfig) -> str:
    """What names the weights in a run's hash: their content where they are local, else hub id, revision."""
    if config.name == EMBEDDED:
        from experiments.embedded.checkpoint import verify

        return f"embedded:{verify()[:16]}"
    folder = _folder(config.name)
    if folder is not None:
        return f"files:{checkpoint_identity(folder.resolve())}"
    return f"hub:{config.name}@{config.revision or 'main'}"


@functools.cache
def projection_shapes(config: ModelConfig) -> tuple[dict[str, tuple[int, int]], int]:
    """(d_out, d_in) of each letter's W, and the number of layers, from config.json alone, without torch.

    Raises UserError when the file cannot be loaded or is of an unknown architecture.
    """
    settings = _settings(config)
    try:
        return shapes(settings), settings.num_hidden_layers
    except (ValueError, AttributeError) as error:
        raise UserError(f"model.name={config.name}: no shapes of W are known: {error}") from error


def check_writes(config: ModelConfig) -> None:
    """Raise UserError for an encoder, which cannot write text, from config.json alone."""
    architecture = ARCHITECTURES.get(str(getattr(_settings(config), "model_type", None)))
    if architecture is not None and architecture.kind == "encoder":
        raise UserError(_writes_nothing(config, architecture.name))


def _writes_nothing(config: ModelConfig, kind: str) -> str:
    return (
        f"model.name={config.name} is a {kind} encoder, which cannot write text; choose a "
        "task with labels (task=nli, or rows with a label) or a text model (model=embedded or model=gpt2)"
    )


def _settings(config: ModelConfig) -> SimpleNamespace:
    """What config.json says."""
    folder = _embedded_folder() if config.name == EMBEDDED else _folder(config.name)
    try:
        file = folder / CONFIG if folder else _from_hub(config, CONFIG)
        return plain_config(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise UserError(_unavailable(config, folder, error)) from error


def _embedded_folder() -> Path:
    from experiments.embedded.checkpoint import FOLDER

    return FOLDER


def _from_hub(config: ModelConfig, name: str) -> Path:
    from huggingface_hub import hf_hub_download

    return Path(hf_hub_download(config.name, name, revision=config.revision))


@functools.lru_cache(maxsize=1)
def load_base(config: ModelConfig, labels: int | None) -> BaseModel:
    """Load the model in float32, once a process.

    `labels` is the number of outputs of an encoder's head: classes, or one for a number; None where the task
    wants generated text.
    Raises UserError when the model cannot be loaded, is of an unknown architecture, or cannot do the task.
    """
    _quiet()
    if config.name == EMBEDDED:
        return _embedded(config)
    return _hugging_face(config, labels)


def _quiet() -> None:
    """Keep transformers' bars and notices out of a sweep's output; missing weights are an error below."""
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()


def _embedded(config: ModelConfig) -> BaseModel:
    from experiments.embedded.checkpoint import read_checkpoint, verify

    model, tokenizer = read_checkpoint()
    provenance = {"name": EMBEDDED, "revision": None, "sha256": verify()}
    return BaseModel(model, tokenizer, True, _length(config, model.config.n_positions), provenance)


def _hugging_face(config: ModelConfig, labels: int | None) -> BaseModel:
    import torch
    from transformers import (
        AutoConfig,
        AutoModelForCausalLM,
        AutoModelForSequenceClassification,
        GenerationConfig,
    )

    folder = _folder(config.name)
    source = str(folder or config.name)
    if folder is not None and (folder / ADAPTER_CONFIG).is_file():
        raise UserError(
            f"model.name={config.name} holds {ADAPTER_CONFIG}, an adapter that the library would load into "
            "the base model; give the base model's own folder"
        )
    try:
        settings = AutoConfig.from_pretrained(source, revision=config.revision, trust_remote_code=False)
    except Exception as error:  # the libraries raise a dozen unrelated kinds
        raise UserError(_unavailable(config, folder, error)) from error
    kind, architecture = settings.model_type, ARCHITECTURES.get(settings.model_type)
    if architecture is None or architecture.kind == "other":
        adapts = ", which `lora.adapt` adapts and no task here trains" if architecture is not None else ""
        raise UserError(f"model.name={config.name} is a {kind} model{adapts}; {_known()}")
    generates = architecture.kind == "decoder"
    if not generates and labels is None:
        raise UserError(_writes_nothing(config, kind))
    tokenizer = load_tokenizer(config.name, folder, config.revision)
    loader = AutoModelForCausalLM if generates else AutoModelForSequenceClassification
    # A checkpoint's own settings (penalties, suppressed tokens, ...) would make "greedy" something else.
    extra = {"generation_config": GenerationConfig()} if generates else {"num_labels": labels}
    try:
        model, loading = loader.from_pretrained(
            source,
            revision=config.revision,
            trust_remote_code=False,
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # of another task's head; `_check_weights` tells the others
            **extra,
        )
    except Exception as error:
        raise UserError(_unavailable(config, folder, error)) from error
    _check_weights(config, model, loading, architecture.heads)
    check_tokenizer(config.name, tokenizer, model, generates)
    provenance = {
        "name": config.name,
        "revision": getattr(settings, "_commit_hash", None) or config.revision,
        "sha256": weights_sha256(folder.resolve()) if folder else None,
    }
    if folder:
        provenance["path"] = str(folder.resolve())
    if stored := getattr(settings, "dtype", None):
        provenance["stored"] = str(stored).removeprefix("torch.")
    if dequantised := getattr(settings, DEQUANTISED, None):
        provenance[DEQUANTISED] = str(dequantised)
    return BaseModel(model, tokenizer, generates, _length(config, _positions(settings)), provenance)


def _check_weights(
    config: ModelConfig, model: PreTrainedModel, loading: Mapping[str, Any], heads: Iterable[str]
) -> None:
    """Every weight but a new task head's comes from the checkpoint, and is a number."""
    own = tuple(f"{head}." for head in heads)
    misshapen = {name for name, *_ in loading["mismatched_keys"]}
    absent = sorted(key for key in {*loading["missing_keys"], *misshapen} if not key.startswith(own))
    numbers = (re.search(r"\.(\d+)\.", key) for key in loading["unexpected_keys"])
    layers = model.config.num_hidden_layers
    beyond = [int(number[1]) for number in numbers if number and int(number[1]) >= layers]
    if beyond:
        raise UserError(
            f"model.name={config.name}: the checkpoint has {max(beyond) + 1} layers and its config.json says "
            f"{layers}; they must agree"
        )
    if absent and all(".pooler." in name for name in absent):
        raise UserError(
            f"model.name={config.name}: the checkpoint has no pooler, which stands between the encoder and "
            f"the classifier of a {model.config.model_type} model: it would stay random under LoRA. "
            "Give a checkpoint that has one, or a model whose task head needs none, such as RoBERTa"
        )
    if absent:
        raise UserError(
            f"model.name={config.name}: the checkpoint lacks {len(absent)} weights of a "
            f"{model.config.model_type} model, such as {absent[0]}"
            f"{' (which has another shape there)' if absent[0] in misshapen else ''}; they would be random"
        )
    for name, parameter in model.named_parameters():
        if not parameter.isfinite().all():
            raise UserError(
                f"model.name={config.name}: {name} holds NaN or infinity, so the checkpoint is damaged; "
                "download or save it again"
            )


def _length(config: ModelConfig, positions: int) -> int:
    if config.max_length is not None and config.max_length > positions:
        raise UserError(
            f"model.max_length={config.max_length} is too long; this model has {positions} positions"
        )
    return config.max_length or positions


def _folder(name: str) -> Path | None:
    """The folder that a model's name is, or None for a hub id.  Raises UserError for a missing folder."""
    try:
        return checkpoint_folder(name)
    except UserError as error:
        raise UserError(f"model.name={error}") from None


def _unavailable(config: ModelConfig, folder: Path | None, error: Exception) -> str:
    reason = " ".join(str(error).split())[:200]
    if isinstance(error, pickle.UnpicklingError):
        reason = (
            "its .bin file is damaged or holds more than tensors, which could run any program; give the "
            "model as safetensors"
        )
    if OWN_CODE in str(error):
        return (
            f"model.name={config.name} is of an architecture whose code lies in the checkpoint, and that is "
            f"never run; {_known()}"
        )
    if folder is not None or not isinstance(error, OSError | ValueError):
        return f"model.name={config.name}: the checkpoint cannot be loaded: {reason or type(error).__name__}"
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return (
            f"model.name={config.name} is neither a folder nor in the local cache, and HF_HUB_OFFLINE keeps "
            "the hub from being asked; unset it, or where there is a network run "
            f"`hf download {config.name}` and pass the folder as model.name, or use model=embedded"
        )
    return (
        f"model.name={config.name} is neither a folder nor in the local cache, and the hub did not give it; "
        f"where there is a network run `hf download {config.name}` and pass the folder as model.name, "
        f"or use model=embedded ({type(error).__name__}: {reason})"
    )


def _known() -> str:
    return "known architectures are " + ", ".join(
        name for name, entry in ARCHITECTURES.items() if entry.kind != "other"
    )


def _positions(settings: Any) -> int:
    """Longest input: RoBERTa numbers positions from pad_token_id + 1, so two fewer than its table."""
    positions = settings.max_position_embeddings
    if settings.model_type in POSITIONS_FROM_PAD:
        return positions - settings.pad_token_id - 1
    return positions
