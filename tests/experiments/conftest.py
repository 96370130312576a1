"""A tiny random text model on the generated tasks, as runs see it: no pretrained weights needed."""

from __future__ import annotations

import pytest
import torch

from experiments.config import RunConfig, TaskConfig, read_config
from tests.settings import VALUES, changed
from tests.toy_metrics import toy_metrics

__all__ = ["toy_metrics"]

TINY = VALUES | {
    "rank": 2,
    "alpha": 2,
    "steps": 6,
    "batch_size": 8,
    "log_every": 2,
    "task": {"name": "sql", "seed": 0, "train": 40, "dev": 6, "test": 4},
}


@pytest.fixture
def config(tmp_path):
    """`config(rank=4, **{"task.name": "nli"})`: a checked configuration; runs go to a temporary folder."""

    def build(**changes) -> RunConfig:
        return read_config(changed({"root": str(tmp_path / "outputs"), **changes}, TINY))

    return build


@pytest.fixture(scope="session")
def word_model():
    """A random GPT-2 (2 layers, d = 32) with the embedded model's tokenizer."""
    from transformers import GPT2Config, GPT2LMHeadModel

    from experiments.embedded import pretraining
    from experiments.embedded.tokenizer import build_tokenizer
    from experiments.models import BaseModel

    tokenizer = build_tokenizer(pretraining.words())
    torch.manual_seed(0)
    settings = GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=96,
        n_embd=32,
        n_layer=2,
        n_head=2,
        bos_token_id=tokenizer.eos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
    )
    model = GPT2LMHeadModel(settings).eval()
    return BaseModel(model, tokenizer, True, 96, {"name": "tiny", "revision": None, "sha256": None})


@pytest.fixture(scope="session")
def bench(word_model):
    """`bench("sql")`: the tiny model with the generated task, as the workbench would have loaded them."""
    from experiments.tasks import load_task
    from experiments.text_objective import TextObjective
    from experiments.workbench import Workbench

    def build(name: str, train: int = 40, dev: int = 6, test: int = 4) -> Workbench:
        task = load_task(TaskConfig(name, train=train, dev=dev, test=test))
        return Workbench(word_model, task, TextObjective(word_model.tokenizer, task, word_model.max_length))

    return build


@pytest.fixture(scope="session")
def pair_tokenizer():
    """`pair_tokenizer(words)`: a word-level tokenizer that joins two sentences in BERT's manner."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    def build(words, pad_token="[PAD]", **settings) -> PreTrainedTokenizerFast:
        vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words]
        tokenizer = Tokenizer(WordLevel({w: i for i, w in enumerate(vocabulary)}, unk_token="[UNK]"))
        tokenizer.pre_tokenizer = WhitespaceSplit()
        tokenizer.post_processor = TemplateProcessing(
            single="[CLS] $A [SEP]",
            pair="[CLS] $A [SEP] $B:1 [SEP]:1",
            special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
        )
        names = {"unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": pad_token}
        names |= {"model_input_names": ["input_ids", "token_type_ids", "attention_mask"]}
        return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names | settings)

    return build
