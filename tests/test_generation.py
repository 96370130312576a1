"""Tables 3 and 18 on generated text: what the experiments compose, and a tiny one from training to table."""

from __future__ import annotations

import random
import re

import pytest
import torch
import torch.nn.functional as F

from analysis import paper_values
from analysis.commands import main
from experiments.config import digest
from experiments.evaluation import evaluate
from experiments.job import run_job
from experiments.methods import lookup
from experiments.parts import TaskConfig
from experiments.plan import CONF, plan
from experiments.tasks import load_task
from experiments.tasks.e2e import E2E
from experiments.text_objective import TextObjective
from experiments.trainer import total_steps
from experiments.workbench import Workbench
from tests.experiments.conftest import word_model

__all__ = ["word_model"]

NAMES = ("table18", "table3_gpt2")
PAIRS = 42_061
COLOURS = ("red", "blue", "green")


def sweep(name, *overrides):
    return [run.config for run in plan(["-m", f"+experiment={name}", "task.path=e2e", *overrides]).runs]


def address(config):
    return digest(config.scientific("float32", "model", "task"))


# ------------------------------------------------------------------------------------------ what is composed


@pytest.mark.parametrize("name", NAMES)
def test_the_hyper_parameters_are_table_11_s(name):
    paper = paper_values.table("table11")
    found = {key: paper.value(key, task="e2e").value for key in ("batch_size", "epochs", "warmup", "lr")}
    for config in sweep(name):
        assert (config.task.name, config.model.name, config.study) == ("e2e", "gpt2-medium", "gpt2-medium")
        assert (config.batch_size, config.epochs, config.warmup) == tuple(found.values())[:3]
        assert (config.weight_decay, config.dropout, config.label_smoothing, config.clip) == (
            0.01,
            0.1,
            0.1,
            0,
        )
        decoding = config.task.decoding
        assert (decoding.num_beams, decoding.length_penalty, decoding.no_repeat_ngram_size) == (10, 0.9, 4)
        assert total_steps(config, PAIRS) == 5 * config.eval_every == 26_290
        if config.method == "lora":
            assert (config.alpha, config.lr, config.targets_name) == (32, found["lr"], "qv")


def test_the_cells_are_the_paper_s():
    ranks = [row["rank"] for row in paper_values.table("table18").rows]
    assert [config.rank["q"] for config in sweep("table18", "seed=0")] == ranks
    rows = {"-".join(lookup(c.method).words(c)) or c.method for c in sweep("table3_gpt2", "seed=0")}
    assert len(rows) == 7
    assert {address(c) for c in sweep("table18")} & {address(c) for c in sweep("table3_gpt2")} == {
        address(c) for c in sweep("table18", "rank=4")
    }


@pytest.mark.parametrize("name", NAMES)
def test_the_head_tells_the_command_and_the_runs(name):
    head = (CONF / f"experiment/{name}.yaml").read_text(encoding="utf-8")
    assert f"\n#   run     python run.py -m +experiment={name} task.path=FOLDER\n" in head
    assert f"\n#   runs    {len(sweep(name))}: " in head
    assert "\n#   cost    not measured; " in head
    assert max(map(len, head.splitlines())) <= 118
    for row in paper_values.table("table18").rows if name == "table18" else ():
        assert re.search(rf"BLEU .*\b{row['bleu']:.2f}", head)
        assert re.search(rf"val\. loss .*\b{row['validation_loss']:.2f}", head)


# ---------------------------------------------------------------------------------------------- a tiny one


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """E2E's files, of a few pubs."""
    folder, generator = tmp_path_factory.mktemp("e2e"), random.Random(0)
    for name, count in (("train.txt", 24), ("valid.txt", 4), ("test.txt", 5)):
        lines = []
        for number in range(count):
            colour = generator.choice(COLOURS)
            source = f"name : {colour} pub {number}"
            lines += [f"{source}||a {colour} pub .", f"{source}||pub {number} is {colour} ."]
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A random GPT-2 (d = 16) with a byte-level tokenizer without merges."""
    from tokenizers import Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    letters = ["<|endoftext|>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(BPE({letter: index for index, letter in enumerate(letters)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    torch.manual_seed(0)
    settings = GPT2Config(
        vocab_size=len(letters),
        n_positions=512,
        n_embd=16,
        n_layer=2,
        n_head=2,
        bos_token_id=0,
        eos_token_id=0,
    )
    folder = tmp_path_factory.mktemp("gpt2")
    GPT2LMHeadModel(settings).save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>").save_pretrained(folder)
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_it_trains_and_tells(name, release, checkpoint, tmp_path, capsys, monkeypatch):
    """Without Java, so that what it is needed for is not measured, and said so to the end."""
    pytest.importorskip("sacrebleu")
    monkeypatch.setattr("shutil.which", lambda _: None)
    rows = ["rank=1,2"] if name == "table18" else ["row=adapter_h_112,lora_4"]
    planned = plan(
        [
            "-m",
            f"+experiment={name}",
            f"task.path={release}",
            f"model.name={checkpoint}",
            "model.revision=null",
            *rows,
            "seed=0",
            "steps=3",
            "eval_every=2",
            "task.max_new_tokens=8",
            f"root={tmp_path}",
            "wandb.mode=disabled",
            "device=cpu",
            "precision=float32",
        ]
    ).runs
    records = []
    for run in planned:
        outcome = run_job(run)
        assert outcome.status == "finished", outcome.error
        records.append(outcome.record)
    for record in records:
        assert record["examples"] == {"train": 48, "dev": 4, "test": 5}
        assert {*record["metrics"]["last"]["dev"]} == {"bleu_lc", "nist", "loss"}
        assert {*record["not_measured"]} == {"meteor", "rouge_l", "cider"}
        # A random model of 257 bytes: each costs about log(257).
        assert 5 < record["metrics"]["last"]["dev"]["loss"] < 6.5
        assert (record["config"]["task"]["num_beams"], record["config"]["label_smoothing"]) == (10, 0.1)
    history = (outcome.folder / "history.jsonl").read_text()
    assert history.count('"dev/loss"') == 2
    if name == "table18":
        options = ["--study", "gpt2-medium", "--root", str(tmp_path), "--out", str(tmp_path / "results")]
        assert main(["table18", *options, "--paper"]) == 0
        printed = capsys.readouterr().out
        assert "loss (dev)" in printed
        assert printed.count("not measured") == 3 * len(records)
        numbers = (tmp_path / "results" / "table18-paper.csv").read_text()
        assert "1.23" in numbers  # the paper's loss at r = 1


def test_the_loss_is_that_of_all_references(word_model, tmp_path, monkeypatch):
    """One by one, unpadded, with the logits of every position; label smoothing has no part in it."""
    pytest.importorskip("sacrebleu")
    (tmp_path / "train.txt").write_text("table: club||age\n" * 3)
    (tmp_path / "valid.txt").write_text(
        "table: club||age = club\ntable: club||team\ntable: age||club club club = age\n"
    )
    monkeypatch.setattr("shutil.which", lambda _: None)  # Java has no part in it
    monkeypatch.setattr(E2E, "ending", "")  # a mark that the model's vocabulary lacks
    task = load_task(TaskConfig("e2e", path=str(tmp_path), max_new_tokens=2))
    bench = Workbench(word_model, task, TextObjective(word_model.tokenizer, task, word_model.max_length))
    found = evaluate(word_model.model, bench, "dev", torch.device("cpu"), "float32")
    word_model.model.eval()
    expected, end = [], word_model.tokenizer.eos_token_id
    for prompt, texts in (("table: club", ["age = club", "team"]), ("table: age", ["club club club = age"])):
        losses = []
        for text in texts:
            start, answer = (word_model.tokenizer(one)["input_ids"] for one in (prompt, text))
            ids = torch.tensor([[*start, *answer, end]])
            with torch.no_grad():
                logits = word_model.model(input_ids=ids).logits[0]
            for position in range(len(start), ids.shape[1]):
                losses.append(F.cross_entropy(logits[position - 1], ids[0, position]).item())
        expected.append((sum(losses), len(losses)))
    lines = [record["loss"] for record in found.predictions]
    assert [pytest.approx(line, abs=1e-4) for line in lines] == expected
    total = sum(loss for loss, _ in expected) / sum(tokens for _, tokens in expected)
    assert found.metrics["loss"] == pytest.approx(total, abs=1e-5)
