"""A few steps on the official releases, with small random models and the real tokenizers."""

from __future__ import annotations

import json
import tarfile

import pytest
import torch

from experiments.job import run_job
from experiments.plan import PlannedRun, plan
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


@pytest.fixture
def roberta(unpacked, tmp_path):
    """A folder with a small random RoBERTa, and with its tokenizer the byte-level vocabulary of GPT-2."""
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
    return tmp_path / "roberta"


@pytest.mark.parametrize(
    ("name", "file", "outputs"),
    [
        ("mnli", "mnli/multinli_1.0.zip", 3),
        ("cola", "glue/glue.tar.xz", 2),
        ("sst2", "glue/glue.tar.xz", 2),
        ("rte", "glue/glue.tar.xz", 2),
        ("stsb", "glue/glue.tar.xz", 1),
    ],
)
def test_small_roberta_on_real_classification(shared_data, roberta, config, name, file, outputs):
    """RoBERTa's joining of sentences, on each task whose official files are there."""
    own = {"model.name": str(roberta), "task.name": name, "task.path": str(shared_data / file)}
    outcome = run_job(PlannedRun(config(steps=4, eval_every=2, **own, **{"task.train": 64}), ()))
    assert outcome.status == "finished", outcome.error
    assert -1.0 <= outcome.record["metrics"]["last"]["test"][outcome.record["metric"]] <= 1.0
    assert outcome.record["parameters"]["head"] == 32 * 32 + 32 + outputs * (32 + 1)
    assert outcome.record["parameters"]["adapter"] == 2 * 2 * 2 * (32 + 32)


def test_table_16_on_the_real_multinli(shared_data, roberta, tmp_path):
    """How many training examples: 100, 1,000 and 10,000 of the release."""
    archive = shared_data / "mnli" / "multinli_1.0.zip"
    own = ["task=mnli", f"task.path={archive}", "task.train=100,1000,10000", "row=lora_8", "seed=0"]
    own += ["model=hf", f"model.name={roberta}", "steps=2", "task.test=8", "task.dev=4", "device=cpu"]
    runs = plan(["-m", "+experiment=table16", *own, f"root={tmp_path}", "wandb.mode=disabled"]).runs
    outcomes = [run_job(run) for run in runs]
    assert [outcome.error for outcome in outcomes] == [None] * 3
    assert [outcome.record["examples"]["train"] for outcome in outcomes] == [100, 1000, 10000]
    assert len({outcome.folder for outcome in outcomes}) == 3
