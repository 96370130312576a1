"""A checkpoint's tokenizer: whether its files are there, and whether it is the model's own.

Where the files are missing the library makes up a tokenizer of special tokens, and it takes one model's
tokenizer for another model; either run ends without an error, at chance.
"""

from __future__ import annotations

import hashlib
import json
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedModel

WHOLE = "tokenizer.json"
POSITIONS_FROM_PAD = ("roberta", "xlm-roberta")  # position ids are counted over what is not the pad token
ANSWERS_READ_BACK = 64
UNKNOWN_SHARE = 0.1  # of a split's tokens; a model's own tokenizer stays far below 1 %


def load_tokenizer(name: str, folder: Path | None, revision: str | None) -> Any:
    """The tokenizer of a folder, or of the hub's model `name`.

    Raises:
        UserError: its files are missing or damaged.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(
            str(folder or name), revision=revision, trust_remote_code=False
        )
    except Exception as error:  # the libraries raise bare exceptions, too
        if folder is not None and not (folder / WHOLE).is_file():
            pair = ["vocab.json", "merges.txt"]
            absent = [part for part in pair if not (folder / part).is_file()]
            if len(absent) == 1:
                raise UserError(_missing(name, pair, absent)) from error
            if not [*folder.glob("vocab*"), *folder.glob("*.model")]:
                raise UserError(_missing(name, [])) from error
        if "tiktoken" in str(error) and find_spec("sentencepiece") is None:  # the library's last guess
            raise UserError(
                f"model.name={name}: the tokenizer is a sentencepiece model; pip install sentencepiece"
            ) from error
        reason = " ".join(str(error).split())[:200]
        where = (
            f"; where there is a network run `hf download {name}` and pass the folder" if not folder else ""
        )
        raise UserError(
            f"model.name={name}: the tokenizer cannot be loaded{where} ({type(error).__name__}: {reason})"
        ) from error
    files = type(tokenizer).vocab_files_names
    parts = [files[kind] for kind in ("vocab_file", "merges_file") if kind in files]
    if folder is not None and not (folder / WHOLE).is_file():
        absent = [part for part in parts if not (folder / part).is_file()]
        if absent:
            raise UserError(_missing(name, parts, absent))
    if not set(tokenizer.get_vocab()) - {*tokenizer.all_special_tokens, *tokenizer.get_added_vocab()}:
        raise UserError(_missing(name, parts))
    return tokenizer


def _missing(name: str, parts: Sequence[str], absent: Sequence[str] = ()) -> str:
    whole = f"{WHOLE}, or {' and '.join(parts)}" if parts else WHOLE
    found = f" (there is no {' and no '.join(absent)})" if absent and len(absent) < len(parts) else ""
    return (
        f"model.name={name}: the checkpoint has no tokenizer; put its files beside the weights: "
        f"{whole}{found}"
    )


def check_tokenizer(name: str, tokenizer: Any, model: PreTrainedModel, generates: bool) -> None:
    """Whether the tokenizer's ids are the model's; gives a text model's tokenizer a pad token where need be.

    Which id a text model's padding has is of no account: it stands on the right, out of sight.

    Raises:
        UserError: it is another model's, or lacks a token that is needed.
    """
    rows = model.get_input_embeddings().num_embeddings
    never_read = {tokenizer.pad_token, tokenizer.mask_token}
    beyond = [(i, t) for t, i in tokenizer.get_vocab().items() if i >= rows and t not in never_read]
    if beyond:
        index, token = max(beyond)
        raise UserError(
            f"model.name={name}: the tokenizer is another model's: it has token {token!r} with id {index}, "
            f"and the model's embedding table has {rows} rows; give the tokenizer that the model was "
            "trained with"
        )
    if generates:
        if tokenizer.eos_token_id is None:
            raise UserError(
                f"model.name={name}: the tokenizer has no end-of-text token, with which every answer ends; "
                "name it as eos_token in tokenizer_config.json"
            )
        if tokenizer.pad_token_id is None or tokenizer.pad_token_id >= rows:
            tokenizer.pad_token = tokenizer.eos_token
        return
    if not tokenizer.num_special_tokens_to_add(pair=True):
        raise UserError(
            f"model.name={name}: the tokenizer sets no marks around and between two sentences, so it is not "
            f"that of a {model.config.model_type} encoder; give the tokenizer that the model was trained with"
        )
    if model.config.model_type in POSITIONS_FROM_PAD:
        ours, theirs = model.config.pad_token_id, tokenizer.pad_token_id
        if ours is None or ours != theirs:
            raise UserError(
                f"model.name={name}: pad_token_id is {_told(ours)} in config.json and {_told(theirs)} in the "
                f"tokenizer, and a {model.config.model_type} model counts its positions by it; give the "
                "tokenizer that the model was trained with"
            )


def _told(index: int | None) -> str:
    return "missing" if index is None else str(index)


def tokenizer_identity(tokenizer: Any) -> str | None:
    """A hash of all that a text's ids follow from; None for a tokenizer that is not of the fast kind."""
    import tokenizers
    import transformers

    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return None
    # As the last call left them; each call sets them anew.
    backend.no_truncation()
    backend.no_padding()
    told = {
        "backend": backend.to_str(),
        "class": type(tokenizer).__qualname__,
        "special": {name: str(token) for name, token in tokenizer.special_tokens_map.items()},
        "inputs": [*tokenizer.model_input_names],
        "sides": [tokenizer.truncation_side, tokenizer.padding_side],
        "versions": [tokenizers.__version__, transformers.__version__],
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def check_known(tokenizer: Any, texts: Sequence[str], ids: Sequence[Sequence[int]]) -> None:
    """Whether the tokenizer knows the words of a split; `ids` are those of each text, marks among them.

    Raises:
        UserError: more than `UNKNOWN_SHARE` of the tokens are unknown; a text without a token counts as one.
    """
    unknown = tokenizer.unk_token_id
    marks = {tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id}
    marks.discard(unknown)  # GPT-2's is its end of text
    total = lost = 0
    example = None
    for text, sequence in zip(texts, ids, strict=True):
        words = [index for index in sequence if index not in marks]
        missing = words.count(unknown) if words else int(bool(text.strip()))
        total += len(words) or missing
        lost += missing
        example = example or (text if missing else None)
    if lost > UNKNOWN_SHARE * total:
        raise UserError(
            f"the model's tokenizer knows too few words of the task: {lost / total:.0%} of its tokens are "
            f"unknown, as in {' '.join((example or '').split())[:80]!r}; give a model whose tokenizer has "
            "them"
        )


def check_answers(tokenizer: Any, targets: Sequence[str], ids: Sequence[Sequence[int]]) -> None:
    """Whether a text model can write the answers: decoded, ids say what they were made from.

    Blanks and case apart, and of the first `ANSWERS_READ_BACK` of a split.

    Raises:
        UserError: more than one in ten do not.
    """
    wrong = [
        (target, found)
        for target, sequence in zip(targets[:ANSWERS_READ_BACK], ids, strict=False)
        if (found := decoded(tokenizer, [sequence])[0]).casefold().split() != target.casefold().split()
    ]
    if len(wrong) > 0.1 * len(targets[:ANSWERS_READ_BACK]):
        target, found = wrong[0]
        raise UserError(
            f"the model's tokenizer cannot write the task's answers: {target.strip()[:80]!r} reads back as "
            f"{found[:80]!r}; give a model whose tokenizer keeps a text as it is, such as GPT-2's"
        )


def decoded(tokenizer: Any, ids: Any) -> list[str]:
    """The text of each sequence of ids, special tokens left out, blanks left as they are but for the ends."""
    texts = tokenizer.batch_decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return [text.strip() for text in texts]
