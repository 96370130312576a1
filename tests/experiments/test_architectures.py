"""Every architecture that a task here can train does a few steps, and the analysis reads what they leave."""

from __future__ import annotations

import copy
import dataclasses
import json

import pytest
import torch
from tokenizers.processors import TemplateProcessing
from transformers import AutoConfig, AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel, Qwen2Tokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode

import experiments.job as job
from analysis.commands import main as analyse
from experiments.config import ModelConfig
from experiments.errors import UserError
from experiments.models import load_base
from experiments.plan import PlannedRun
from experiments.text_objective import TextObjective
from experiments.workbench import workbench
from lora.architectures import ARCHITECTURES, architecture_of
from tests.lora.tiny_models import KINDS, tiny_model

DECODERS = ["gpt2", "gpt-neox", "opt", "llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "phi3"]
ENCODERS = ["bert", "roberta", "xlm-roberta", "distilbert", "deberta-v2"]
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def fresh():
    workbench.cache_clear()
    load_base.cache_clear()


@pytest.fixture
def folder_of(tmp_path, word_model, pair_tokenizer, bench):
    """`folder_of("llama")`: a checkpoint of a tiny model with a tokenizer that knows its task's words."""

    def build(kind, **changes):
        if kind == "qwen2":  # for which transformers takes no other
            letters = [*bytes_to_unicode().values(), "<|endoftext|>"]
            tokenizer = Qwen2Tokenizer({letter: index for index, letter in enumerate(letters)}, merges=[])
        elif kind in DECODERS:
            tokenizer = word_model.tokenizer
        else:
            task = bench("nli").task
            words = {
                w
                for split in task.splits
                for e in task.examples(split)
                for s in e.sentences
                for w in s.split()
            }
            tokenizer = pair_tokenizer(sorted(words), padding_side="right")
        ids = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}
        ids |= {"bos_token_id": tokenizer.eos_token_id, "vocab_size": len(tokenizer)}
        positions = {"n_positions" if kind == "gpt2" else "max_position_embeddings": 512}
        model = tiny_model(kind, **ids, **positions, **changes)
        folder = tmp_path / f"tiny-{kind}"
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder

    return build


def test_these_are_all():
    kinds = {entry.name: entry.kind for entry in ARCHITECTURES.values()}
    assert {name for name, kind in kinds.items() if kind == "decoder"} == names(DECODERS)
    assert {name for name, kind in kinds.items() if kind == "encoder"} == names(ENCODERS)


def names(kinds):
    assert {*kinds} <= {*KINDS}
    return {architecture_of(tiny_model(kind).config).name for kind in kinds}


WIDE = {kind: {"hidden_size": 64} for kind in DECODERS + ENCODERS}
WIDE |= {kind: {"hidden_size": 64, "head_dim": 32} for kind in DECODERS[3:]}  # with keys in groups
WIDE |= {"gpt2": {"n_embd": 64}, "distilbert": {"dim": 64}, "opt": {"hidden_size": 64, "ffn_dim": 70}}
"""So that there is a rank of 64, the figures' largest."""


@pytest.fixture
def few_draws(monkeypatch):
    """Random matrices by the tens, and figures that are drawn but not written: what no architecture changes.

    All the same, gpt2 and bert have both.
    """

    def use(kind):
        if kind not in (DECODERS[0], ENCODERS[0]):
            monkeypatch.setattr("analysis.tables.table7.DRAWS", 40)
            monkeypatch.setattr("analysis.tables.table7.DRAWN_DIRECTIONS", 400)
            monkeypatch.setattr("analysis.result.rendered", lambda *_, **__: b"")

    return use


@pytest.mark.parametrize("kind", DECODERS + ENCODERS)
def test_a_short_run_and_its_analysis(kind, config, folder_of, few_draws, tmp_path, capsys):
    few_draws(kind)
    folder = folder_of(kind, **WIDE[kind])
    letters = [*architecture_of(tiny_model(kind).config).places]
    settings = {"model.name": str(folder), "task.name": "sql" if kind in DECODERS else "nli", "eval_every": 2}
    settings |= {"task.train": 8, "task.dev": 2, "task.test": 2, "steps": 3, "batch_size": 4}
    for chosen in (
        {"targets": letters, "rank": 2},
        *({"targets": "qv", "rank": rank} for rank in (4, 8, 64)),
    ):
        outcome = job.run_job(PlannedRun(config(**settings | chosen), ()), None)
        assert outcome.status == "finished", outcome.error
    for name in ("fig3", "table7"):
        arguments = [
            name,
            "--root",
            str(tmp_path / "outputs"),
            "--study",
            "test",
            "--out",
            str(tmp_path / name),
        ]
        assert analyse(arguments) == 0, capsys.readouterr().err
        assert any(path.suffix == ".csv" for path in (tmp_path / name).rglob("*"))


def test_a_toy_architecture_is_one_entry(config, folder_of, tmp_path, monkeypatch, capsys):
    """A model type of one's own, whose layers are called otherwise: trained, and its W read from the file."""

    class ToyConfig(GPT2Config):
        model_type = "toy"

    class Toy(GPT2LMHeadModel):
        config_class = ToyConfig

    AutoConfig.register("toy", ToyConfig)
    AutoModelForCausalLM.register(ToyConfig, Toy)
    monkeypatch.setitem(ARCHITECTURES, "toy", dataclasses.replace(ARCHITECTURES["gpt2"], name="toy"))
    folder = folder_of("gpt2")
    told = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    told |= {"model_type": "toy", "architectures": ["Toy"]}
    (folder / "config.json").write_text(json.dumps(told), encoding="utf-8")
    small = {"task.train": 8, "task.dev": 2, "task.test": 2, "steps": 2, "batch_size": 4, "rank": 4}
    outcome = job.run_job(PlannedRun(config(**small, **{"model.name": str(folder)}), ()))
    assert outcome.status == "finished", outcome.error
    assert outcome.record["model"]["name"] == str(folder)
    place = ["--study", "test", "--root", str(tmp_path / "outputs"), "--out", str(tmp_path / "results")]
    assert analyse(["spectra", *place]) == 0, capsys.readouterr().err


@pytest.mark.parametrize("kind", DECODERS)
def test_the_loss_is_of_the_models_own_logits(kind, folder_of, bench):
    """Of which only those of the target are computed, past the model's last lines (Gemma's cap is one)."""
    base = load_base(ModelConfig(str(folder_of(kind))), labels=None)
    objective = TextObjective(base.tokenizer, bench("sql").task, base.max_length)
    batch = objective.encoded("dev")[:3]
    ids, where = objective._right_padded(batch, CPU)
    with torch.no_grad():
        expected = base.model.eval()(input_ids=ids).logits[where]
        torch.testing.assert_close(objective._logits(base.model, ids, where), expected)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_letter_that_the_model_lacks_is_refused_before_the_training(method, config, folder_of):
    run = config(**{"model.name": str(folder_of("gpt2")), "targets": "q,gate", "method": method})
    with pytest.raises(UserError, match="targets: this model has no gate; it has q k v o up down"):
        job.check_rank(run)


@pytest.mark.parametrize("kind", ["t5", "vit"])
def test_what_no_task_trains(kind, tmp_path):
    tiny_model(kind).save_pretrained(tmp_path)
    with pytest.raises(UserError, match=f"is a {kind} model, .*; known architectures are gpt2, bert"):
        load_base(ModelConfig(str(tmp_path)), labels=3)


def test_an_encoder_without_a_pooler_says_why_not(folder_of, tmp_path):
    folder = folder_of("bert-mlm")
    with pytest.raises(UserError, match=r"has no pooler, which stands between .* of a bert model"):
        load_base(ModelConfig(str(folder)), labels=3)


def test_a_decoder_answers_a_classification_by_the_likeliest_label(config, folder_of):
    run = config(**{"model.name": str(folder_of("llama")), "task.name": "nli", "steps": 2})
    outcome = job.run_job(PlannedRun(run, ()), None)
    assert outcome.status == "finished", outcome.error
    lines = (outcome.folder / "predictions.jsonl").read_text().splitlines()
    assert {json.loads(line)["prediction"] for line in lines} <= {"entailment", "neutral", "contradiction"}


def test_a_start_token_stands_before_the_prompt(word_model, bench):
    """Where the tokenizer sets one before every text, and there alone; a cut prompt keeps it."""
    task, plain = bench("sql").task, word_model.tokenizer
    starting = copy.deepcopy(plain)
    starting.bos_token = plain.convert_ids_to_tokens(7)
    starting._tokenizer.post_processor = TemplateProcessing(
        single=f"{starting.bos_token} $A", special_tokens=[(starting.bos_token, 7)]
    )
    without = TextObjective(plain, task, 96).encode(task.examples("dev"))
    for one, other in zip(
        TextObjective(starting, task, 96).encode(task.examples("dev")), without, strict=True
    ):
        assert one.ids == (7, *other.ids)
        assert one.target_start == other.target_start + 1
    short = TextObjective(starting, task, 40)
    assert {example.ids[0] for example in short.encode(task.examples("dev"))} == {7}
    assert short.truncated
    assert (
        max(example.target_start for example in short.encode(task.examples("dev"))) <= 40 - short.answer_room
    )
