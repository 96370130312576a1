"""A few steps on the official releases, with small random models and the real tokenizers."""

from __future__ import annotations

import json
import tarfile

import pytest
import torch

from experiments.job import run_job
from experiments.plan import PlannedRun
from experiments.store import ADAPTER, PREDICTIONS, RunFolder, read_jsonl


@pytest.fixture
def unpacked(shared_data, tmp_path):
    """`unpacked("gpt2")`: the folder of a real tokenizer."""

    def unpack(name):
        with tarfile.open(shared_data / "tokenizers" / f"{name}.tar.xz") as archive:
            for member in archive:
                archive.extract(member, tmp_path, set_attrs=False)
        return tmp_path / "tokenizers" / name

    return unpack


def test_small_gpt2_on_real_wikisql(shared_data, unpacked, tmp_path, config):
    from transformers import GPT2Config, GPT2LMHeadModel, GPT2TokenizerFast

    tokenizer = GPT2TokenizerFast.from_pretrained(unpacked("gpt2"))
    torch.manual_seed(0)
    settings = GPT2Config(vocab_size=len(tokenizer), n_positions=256, n_embd=32, n_layer=2, n_head=2)
    GPT2LMHeadModel(settings).save_pretrained(tmp_path / "gpt2")
    tokenizer.save_pretrained(tmp_path / "gpt2")
    run = config(
        steps=4,
        **{
            "model.name": str(tmp_path / "gpt2"),
            "task.name": "wikisql",
            "task.path": str(shared_data / "wikisql" / "data.tar.bz2"),
            "task.train": 64,
        },
    )
    outcome = run_job(PlannedRun(run, ()))
    assert outcome.status == "finished", outcome.error
    assert outcome.record["examples"] == {"train": 64, "dev": 6, "test": 4}
    assert outcome.record["metrics"]["last"]["dev"] == {"logical_form_accuracy": 0.0}
    folder = RunFolder(run.root / "test" / outcome.name)
    assert folder.file(ADAPTER).stat().st_size > 0
    assert len(read_jsonl(folder.file(PREDICTIONS))) == 10


def test_small_roberta_on_real_mnli(shared_data, unpacked, tmp_path, config):
    """RoBERTa's joining of sentences, with the byte-level vocabulary it shares with GPT-2."""
    from transformers import RobertaConfig, RobertaForMaskedLM, RobertaTokenizerFast

    source = unpacked("gpt2")
    # RoBERTa numbers its special tokens first, then the byte-level vocabulary of GPT-2.
    words = ["<s>", "<pad>", "</s>", "<unk>", *json.loads((source / "vocab.json").read_text()), "<mask>"]
    vocabulary = tmp_path / "vocab.json"
    vocabulary.write_text(json.dumps({word: index for index, word in enumerate(dict.fromkeys(words))}))
    tokenizer = RobertaTokenizerFast(vocab=str(vocabulary), merges=str(source / "merges.txt"))
    torch.manual_seed(0)
    settings = RobertaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=130,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    RobertaForMaskedLM(settings).save_pretrained(tmp_path / "roberta")
    tokenizer.save_pretrained(tmp_path / "roberta")
    run = config(
        steps=4,
        eval_every=2,
        **{
            "model.name": str(tmp_path / "roberta"),
            "task.name": "mnli",
            "task.path": str(shared_data / "mnli" / "multinli_1.0.zip"),
            "task.train": 64,
        },
    )
    outcome = run_job(PlannedRun(run, ()))
    assert outcome.status == "finished", outcome.error
    assert 0.0 <= outcome.record["metrics"]["last"]["test"]["accuracy"] <= 1.0
    assert outcome.record["parameters"]["head"] == 32 * 32 + 32 + 3 * 32 + 3
    assert outcome.record["parameters"]["adapter"] == 2 * 2 * 2 * (32 + 32)
