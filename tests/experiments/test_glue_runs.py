"""GLUE in whole runs of a few steps, on a small RoBERTa and a small GPT-2."""

from __future__ import annotations

import pytest
import torch

from experiments.job import run_job
from experiments.plan import PlannedRun, plan
from experiments.store import PREDICTIONS, read_jsonl
from experiments.tasks import TASKS
from experiments.tasks.glue import GLUE
from tests.experiments.tasks.glue_release import WORDS, write_glue

NAMES = sorted(name for name, task in TASKS.items() if issubclass(task, GLUE))


@pytest.fixture(scope="module")
def roberta(tmp_path_factory, pair_tokenizer):
    """The folder of a random RoBERTa of two layers that knows the words of the test's GLUE."""
    from transformers import RobertaConfig, RobertaForMaskedLM

    folder = tmp_path_factory.mktemp("roberta")
    tokenizer = pair_tokenizer(WORDS)
    torch.manual_seed(0)
    settings = RobertaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=42,
        pad_token_id=0,
        type_vocab_size=1,
    )
    RobertaForMaskedLM(settings).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory):
    """The folder of a random GPT-2 of one layer whose tokenizer has a token a letter."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("gpt2")
    letters = {letter: index for index, letter in enumerate(["<end>", *pre_tokenizers.ByteLevel.alphabet()])}
    tokenizer = Tokenizer(models.BPE(letters, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>").save_pretrained(folder)
    torch.manual_seed(0)
    settings = GPT2Config(
        vocab_size=len(letters),
        n_positions=160,
        n_embd=16,
        n_layer=1,
        n_head=2,
        bos_token_id=0,
        eos_token_id=0,
    )
    GPT2LMHeadModel(settings).save_pretrained(folder)
    return folder


@pytest.fixture
def trained(config, tmp_path):
    """`trained("rte", folder)`: the outcome of a run of four steps."""
    glue = write_glue(tmp_path / "glue_data")

    def run(name, model, **settings):
        settings = {"steps": 4, "task.dev": 6, "task.test": 12, **settings}
        own = {"model.name": str(model), "task.name": name, "task.path": str(glue), "task.train": None}
        outcome = run_job(PlannedRun(config(**own | settings), ()))
        assert outcome.status == "finished", outcome.error
        return outcome

    return run


@pytest.mark.parametrize("name", NAMES)
def test_an_encoder_learns_each_task_by_its_head(trained, roberta, name):
    outcome = trained(name, roberta)
    found, task = outcome.record["metrics"]["last"]["test"], TASKS[name]
    assert (tuple(found), outcome.record["metric"]) == (task.metrics, task.metrics[0])
    outputs = 1 if task.bounds else 2
    assert outcome.record["parameters"]["head"] == 16 * 16 + 16 + outputs * (16 + 1)


@pytest.mark.parametrize("name", ["rte", "mrpc"])
def test_a_decoder_answers_with_the_likeliest_label(trained, gpt2, name):
    answers = {one["prediction"] for one in read_jsonl(trained(name, gpt2).folder / PREDICTIONS)}
    assert answers <= {*TASKS[name].labels}


def test_a_decoder_writes_the_number_of_stsb(trained, gpt2):
    """It learns to write numbers at once; what it writes before, letters, counts as -1."""
    outcome = trained("stsb", gpt2, steps=1)
    assert set(outcome.record["metrics"]["last"]["test"]) == {"pearson", "spearman"}
    first = read_jsonl(outcome.folder / PREDICTIONS)[0]
    assert len(first["pearson"]) == 6
    assert len(first["spearman"]) == 2


def test_a_regression_is_learned(trained, roberta):
    """The head's output moves to the mean of the answers, and the squared error falls with it."""
    outcome = trained("stsb", roberta, steps=60, lr=0.02)
    predictions = [float(one["prediction"]) for one in read_jsonl(outcome.folder / PREDICTIONS)]
    golds = [one["pearson"][2] for one in read_jsonl(outcome.folder / PREDICTIONS)]
    assert sum(golds) / len(golds) - 2 < sum(predictions) / len(predictions) < sum(golds) / len(golds) + 3
    losses = [line["loss"] for line in read_jsonl(outcome.folder / "history.jsonl") if "loss" in line]
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])


def test_label_smoothing_of_a_regression_is_refused(config, trained, roberta, tmp_path):
    settings = {"model.name": str(roberta), "task.name": "stsb", "task.path": str(tmp_path / "glue_data")}
    outcome = run_job(PlannedRun(config(steps=2, label_smoothing=0.1, **settings), ()))
    assert outcome.error.startswith(
        "label_smoothing=0.1 has no meaning for task=stsb, whose answer is a number"
    )


def test_mismatched_pairs_are_evaluated_beside_the_matched_ones(trained, roberta):
    outcome = trained("mnli", roberta, **{"task.holdout": 8})
    last = outcome.record["metrics"]["last"]
    assert set(last) == {"step", "dev", "test", "mismatched"}
    assert outcome.record["examples"] == {"train": 32, "dev": 6, "test": 12, "mismatched": 12}
    assert set(last["mismatched"]) == {"accuracy"}


def test_rows_left_out_are_in_the_record(trained, roberta, tmp_path):
    path = tmp_path / "glue_data/QQP/train.tsv"
    path.write_text(path.read_text() + "1\t2\n", encoding="utf-8")
    assert trained("qqp", roberta).record["skipped_rows"] == {"QQP/train.tsv": 1}
    assert "skipped_rows" not in trained("rte", roberta).record


@pytest.mark.parametrize("name", ["table2_roberta", "table2_roberta_large"])
def test_the_paper_s_recipe_is_trained_for_a_few_steps(roberta, tmp_path, name):
    """As on the command line: every task, MNLI first, and RTE from its adapter."""
    glue = write_glue(tmp_path / "glue_data")
    own = [
        f"task.path={glue}",
        "task.holdout=8",
        "model=hf",
        f"model.name={roberta}",
        "model.max_length=40",
        "steps=3",
        "seed=0",
    ]
    own += ["device=cpu", f"root={tmp_path}", "wandb.mode=disabled", "task.test=6", "task.dev=4"]
    mnli, *others = plan(["-m", f"+experiment={name}", *own]).runs
    assert mnli.config.task.name == "mnli"
    outcomes = [run_job(run) for run in (mnli, *others[:1])]
    more = ["task=rte,stsb", f"init_from={outcomes[0].folder}"]
    outcomes += [run_job(run) for run in plan(["-m", f"+experiment={name}", *own, *more]).runs]
    assert [outcome.error for outcome in outcomes] == [None] * 4
    assert {outcome.folder.parent.name for outcome in outcomes} == {mnli.config.study}
