"""Data of one's own: how rows become examples, what is held out, what is judged, and how it trains."""

from __future__ import annotations

import json
import random

import pytest
import torch

import experiments.job as job
from experiments.class_objective import ClassObjective
from experiments.config import TaskConfig
from experiments.errors import UserError
from experiments.models import BaseModel
from experiments.plan import PlannedRun
from experiments.store import PREDICTIONS
from experiments.tasks import load_task, task_identity
from experiments.tasks.jsonl import JSONL
from experiments.text_objective import TextObjective
from experiments.workbench import Workbench

COLOURS, ANIMALS = ("red", "blue", "green"), ("dog", "cat")
PAIRS = [f"{colour} {animal}" for colour in COLOURS for animal in ANIMALS]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def generation(count=40):
    return [{"prompt": f"{PAIRS[i % 6]} {i}", "target": PAIRS[i % 6]} for i in range(count)]


def classification(count=40):
    return [{"text": PAIRS[i % 6], "text2": f"the {i}", "label": ANIMALS[i % 2]} for i in range(count)]


@pytest.fixture
def loaded(tmp_path):
    """`loaded(rows, metric="token_f1")`: the task of a file with these rows."""

    def load(rows, **settings):
        path = write(tmp_path / "mine.jsonl", rows)
        return load_task(TaskConfig("jsonl", path=str(path), **settings))

    return load


def every(task):
    return [example for split in task.splits for example in task.examples(split)]


# ---------------------------------------------------------------------------------------- rows to examples


def test_generation(loaded):
    task = loaded(
        [{"prompt": "a b", "target": " c\nd "}, {"prompt": "ends\n", "target": 7}] * 2 + generation(3)
    )
    assert (task.labels, task.metrics, task.metric) == (None, ("exact_match", "token_f1"), "exact_match")
    found = {example.prompt: example for example in every(task)}
    assert (found["a b"].target, found["a b"].gold, found["a b"].sentences) == (" c\nd", "c\nd", ("a b",))
    assert (found["ends\n"].target, found["ends\n"].gold) == ("7", "7")  # no blank begins a line
    assert task.judge(found["a b"], "c\nd x") == {"exact_match": 0, "token_f1": pytest.approx(4 / 5)}


def test_classification(loaded):
    rows = [{"text": "x", "label": True}, {"text": "y", "label": "false"}, {"text": "z", "label": " true "}]
    task = loaded([*rows, {"text": "w", "label": False}], holdout=1)
    assert (task.labels, task.metrics) == (("false", "true"), ("accuracy", "macro_f1"))
    assert {(e.prompt, e.target, e.sentences, e.gold) for e in every(task)} == {
        ("x\n=", " true", ("x",), "true"),
        ("y\n=", " false", ("y",), "false"),
        ("z\n=", " true", ("z",), "true"),
        ("w\n=", " false", ("w",), "false"),
    }
    example = task.examples("train")[0]
    scores = task.judge(example, example.gold)
    assert scores["accuracy"] == 1
    assert sum(scores["macro_f1"]) == 3  # a true positive, predicted, and gold
    pairs = loaded(classification())
    assert pairs.examples("train")[0].prompt == "{}\n{}\n=".format(*pairs.examples("train")[0].sentences)


def test_numbers_are_labels(loaded):
    rows = [{"text": f"t{i}", "label": i % 3 - 1} for i in range(9)]
    assert loaded(rows).labels == ("-1", "0", "1")


def test_a_template_builds_the_prompt(loaded):
    rows = [{"instruction": f"do {i}", "input": "", "target": "x"} for i in range(4)]
    [example] = loaded(rows, template="{instruction}: {{{input}}}\\n", holdout=1).examples("dev")
    assert example.prompt == f"do {example.id}: {{}}\n"
    rows = [{"a": f"t{i}", "text": f"s{i}", "label": ANIMALS[i % 2]} for i in range(4)]
    [example] = loaded(rows, template="{a}?", holdout=1).examples("dev")
    assert (example.prompt, example.sentences) == (f"t{example.id}?", (f"s{example.id}",))
    for row in rows:
        del row["text"]
    [example] = loaded(rows, template="{a}?", holdout=1).examples("dev")
    assert example.sentences == (example.prompt,)


def test_columns_have_other_names(loaded):
    rows = [{"question": f"q{i}", "answer": "a", "label": "x", "target": "t"} for i in range(4)]
    task = loaded(rows, columns={"prompt": "question", "target": "answer"})
    assert {(e.prompt[0], e.target) for e in every(task)} == {("q", " a")}
    rows = [{"sentence": f"q{i}", "gold": ANIMALS[i % 2], "target": "t"} for i in range(4)]
    assert loaded(rows, columns={"text": "sentence", "label": "gold"}).labels == ("cat", "dog")


# ------------------------------------------------------------------------------------------- held-out rows


def test_what_is_not_there_is_held_out_by_seed(loaded):
    def splits(**settings):
        task = loaded([{"prompt": f"p{i // 3}", "target": str(i)} for i in range(90)], **settings)
        return {split: [(e.id, e.prompt) for e in task.examples(split)] for split in task.splits}

    found = splits()
    assert {split: len(rows) for split, rows in found.items()} == {"train": 72, "dev": 9, "test": 9}
    assert found == splits()
    assert found["dev"] != splits(seed=1)["dev"]
    assert len({id for rows in found.values() for id, _ in rows}) == 90
    prompts = [{prompt for _, prompt in rows} for rows in found.values()]
    assert sum(map(len, prompts)) == len(set.union(*prompts)) == 30  # no prompt on two sides
    assert {split: len(rows) for split, rows in splits(holdout=20).items()} == {
        "train": 48,
        "dev": 21,
        "test": 21,
    }
    assert len(splits(train=5, test=2)["train"]) == 5


def test_only_what_is_not_there_is_held_out(tmp_path):
    write(tmp_path / "train.jsonl", generation(40))
    write(tmp_path / "dev.jsonl", generation(3))
    task = load_task(TaskConfig("jsonl", path=str(tmp_path)))
    assert {s: len(task.examples(s)) for s in task.splits} == {"train": 36, "dev": 3, "test": 4}
    write(tmp_path / "test.jsonl", generation(5))
    task = load_task(TaskConfig("jsonl", path=str(tmp_path)))
    assert {s: len(task.examples(s)) for s in task.splits} == {"train": 40, "dev": 3, "test": 5}
    with pytest.raises(UserError, match=r"task\.holdout=7 has no meaning: there are both dev and test"):
        load_task(TaskConfig("jsonl", path=str(tmp_path), holdout=7))


# ------------------------------------------------------------------------------------------------- address


def test_the_address_is_that_of_the_content(tmp_path):
    def identity(path, **settings):
        return task_identity(TaskConfig("jsonl", path=str(path), **settings))

    here = write(tmp_path / "here.jsonl", generation())
    (tmp_path / "there").mkdir()
    there = write(tmp_path / "there" / "other.jsonl", generation())
    assert identity(here).startswith("examples:")
    assert identity(here) == identity(there)
    # The prompt and the answers count, whatever makes them; spare columns do not.
    assert identity(here, template="{prompt}") == identity(here)
    assert identity(here, template="{prompt}!") != identity(here)
    assert identity(here, columns={"target": "prompt"}) != identity(here)
    spare = write(tmp_path / "spare.jsonl", [row | {"spare": 1} for row in generation()])
    assert identity(spare) == identity(here)
    other = generation()
    other[-1]["target"] = "dog"
    assert identity(write(tmp_path / "changed.jsonl", other)) != identity(here)


# ------------------------------------------------------------------------------------------------ mistakes

GOOD = {"prompt": "a", "target": "b"}
LABELLED = [{"text": f"t{i}", "label": ANIMALS[i % 2]} for i in range(4)]


@pytest.mark.parametrize(
    ("rows", "settings", "says"),
    [
        ([GOOD, GOOD | {"target": None}], {}, "line 2: target is null; it must be a text or a number"),
        ([GOOD, GOOD | {"prompt": ["a"]}], {}, r"line 2: prompt is \['a'\]; it must be a text or a number"),
        ([GOOD, {"prompt": "a"}], {}, "line 2 lacks target; it has prompt$"),
        ([GOOD, {"prompt": "a", "targt": "b"}], {}, "line 2 lacks target; .*; did you mean targt?"),
        ([GOOD, GOOD | {"target": " "}], {}, "line 2: target is empty"),
        ([GOOD | {"prompt": ""}], {}, "line 1: prompt is empty"),
        ([{"a": 1, "b": 2}], {}, "line 1 has a, b, and prompt and target is wanted; a row has prompt and"),
        ([{"prompt": "a"}], {}, "line 1 has prompt, and target is wanted"),
        ([{"s1": "a", "label": "x"}], {}, r"text is wanted; .* by 'task.columns={text: ..., label: ...}'"),
        ([GOOD | {"label": "x"}], {}, "line 1 has both a target and a label; say which"),
        ([*LABELLED, {"text": "x", "label": 0.5}], {}, "line 5: label is 0.5; it must be a text, an integer"),
        ([*LABELLED, {"text": "x", "label": None}], {}, "line 5: label is null"),
        ([*LABELLED, {"text": "x", "label": ""}], {}, "line 5: label is empty"),
        ([*LABELLED, {"text": "x", "label": "dog", "text2": "y"}], {}, "line 5 has text2, which the first"),
        ([LABELLED[0]] * 5, {}, r"every label is 'dog' \(.*line 1 and after it\); to classify takes two"),
        (
            [GOOD],
            {"template": "{promt}"},
            "line 1 lacks promt, which task.template names; it has prompt",
        ),
        ([GOOD | {"x": None}], {"template": "{x}"}, "line 1: x is null"),
        ([GOOD | {"x": " "}], {"template": "{x}\\n"}, "line 1: its prompt is empty"),
        ([GOOD], {"columns": {"prompt": "question"}}, "line 1 lacks question; it has prompt, target"),
        (
            [GOOD],
            {"columns": {"text": "prompt"}},
            "columns names text, and these rows have a target to be gen",
        ),
        ([GOOD] * 20, {}, "task.holdout=2 leaves no training example: there are 20, with 1 different inputs"),
        (generation(9), {"holdout": 5}, "task.holdout=5 leaves no training example: there are 9, with 9"),
        (
            [{"text": f"t{i}", "label": "abc"[i % 3]} for i in range(9)],
            {"metric": "f1"},
            "metric f1 is of two labels, of which the second is the positive one; here are 3: use macro_f1",
        ),
        (generation(9), {"metric": "blu"}, "metric=blu is unknown; .*did you mean bleu"),
        (generation(9), {"metric": "macro_f1"}, "macro_f1 judges labels, and in this data text is"),
        (
            LABELLED,
            {"metric": "token_f1"},
            "token_f1 judges text, and .* valid are accuracy, f1, macro_f1, matthews, or",
        ),
    ],
)
def test_what_is_wrong_is_one_line(loaded, rows, settings, says):
    with pytest.raises(UserError, match=says) as caught:
        loaded(rows, **settings)
    assert "\n" not in str(caught.value)


def test_a_split_without_answers_is_told_apart_from_a_row(tmp_path):
    write(tmp_path / "train.jsonl", LABELLED)
    write(tmp_path / "test.jsonl", [{"text": "a"}, {"text": "b"}])
    says = r"test\.jsonl, line 1 lacks label, and so does every row beside it; .* leave their file out"
    with pytest.raises(UserError, match=says):
        load_task(TaskConfig("jsonl", path=str(tmp_path)))


def test_a_label_that_no_training_row_has(tmp_path):
    write(tmp_path / "train.jsonl", LABELLED)
    write(tmp_path / "dev.jsonl", LABELLED)
    write(tmp_path / "test.jsonl", [*LABELLED, {"text": "x", "label": "dogs"}])
    says = r"test\.jsonl, line 5: label is 'dogs', which no training row has; theirs are cat, dog; did you"
    with pytest.raises(UserError, match=says):
        load_task(TaskConfig("jsonl", path=str(tmp_path)))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({}, "takes task.path=FILE_OR_FOLDER or task.hub=owner/name; neither is given"),
        ({"path": "a", "hub": "b/c"}, "both are given"),
        ({"path": "a", "metric": "blue"}, "metric=blue is unknown; valid are accuracy, bleu, .*did you mean"),
        ({"path": "a", "template": "{a"}, "task.template='{a' is not valid: expected '}'"),
        ({"path": "a", "template": "nothing"}, "a column stands in braces by its name alone"),
        ({"path": "a", "template": "{}"}, "a column stands in braces"),
        ({"path": "a", "template": "{a.b}"}, "a column stands in braces"),
        ({"path": "a", "template": "{a!r:>9}"}, "a column stands in braces"),
        ({"path": "a", "template": "{a}", "columns": {"prompt": "b"}}, "leave prompt out of task.columns"),
        ({"path": "a", "columns": {"promt": "b"}}, "names promt, which is no field; valid are prompt, .*did"),
    ],
)
def test_what_is_wrong_in_the_settings_is_said_before_any_data_is_read(settings, says):
    with pytest.raises(UserError, match=says) as caught:
        JSONL.check(TaskConfig("jsonl", **settings))
    assert "\n" not in str(caught.value)


def test_columns_are_pairs_or_an_error():
    assert TaskConfig("jsonl", columns={"target": "b", "prompt": "a"}).columns == (
        ("prompt", "a"),
        ("target", "b"),
    )
    with pytest.raises(
        UserError, match=r"task\.columns=question is not valid; give the column of each field"
    ):
        TaskConfig("jsonl", columns="question")


# ------------------------------------------------------------------------------------------------ training


@pytest.fixture
def trained(config, tmp_path, monkeypatch):
    """`trained(rows, base, kind)`: a finished run on these rows, and its answers on test."""

    def train(rows, base, kind, **changes):
        path = write(tmp_path / "mine.jsonl", rows)
        monkeypatch.setattr(job, "model_identity", lambda _: "tiny")
        data = {"name": "jsonl", "path": str(path), **changes.pop("task", {})}
        planned = config(task=data, **changes)
        task = load_task(planned.task)
        bench = Workbench(base, task, kind(base.tokenizer, task, base.max_length))
        monkeypatch.setattr("experiments.workbench.workbench", lambda *_: bench)
        outcome = job.run_job(PlannedRun(planned, ()))
        assert outcome.status == "finished", outcome.error
        lines = [json.loads(line) for line in (outcome.folder / PREDICTIONS).read_text().splitlines()]
        return outcome.record, [line for line in lines if line["split"] == "test"], task

    return train


def learnable(count=60):
    """The answer is the animal, the last word but one."""
    numbers = list(range(count))
    random.Random(0).shuffle(numbers)
    return [(f"the {PAIRS[n % 6]} {('10', '11', '12', '13', '14')[n % 5]}", ANIMALS[n % 2]) for n in numbers]


def test_a_decoder_writes(trained, word_model):
    rows = [{"prompt": text, "target": f"{answer} {answer}"} for text, answer in learnable()]
    record, answers, task = trained(
        rows, word_model, TextObjective, task={"metric": "token_f1"}, method="full", lr=0.01, steps=60
    )
    assert (record["metric"], record["config"]["task"]["name"]) == ("token_f1", "jsonl")
    assert set(record["metrics"]["last"]["test"]) == {"exact_match", "token_f1"}
    scores = {line["id"]: line["token_f1"] for line in answers}
    assert scores == {
        e.id: task.judge(e, line["prediction"])["token_f1"]
        for e, line in zip(task.examples("test"), answers, strict=True)
    }
    assert record["metrics"]["last"]["test"]["token_f1"] == pytest.approx(sum(scores.values()) / len(scores))
    assert record["metrics"]["last"]["test"]["exact_match"] > 0.9


def test_a_decoder_chooses(trained, word_model):
    rows = [{"text": text, "label": answer} for text, answer in learnable()]
    record, answers, _ = trained(
        rows,
        word_model,
        TextObjective,
        task={"metric": "macro_f1", "holdout": 12},
        method="full",
        lr=0.01,
        steps=200,
    )
    assert {line["prediction"] for line in answers} == {"cat", "dog"}
    assert record["metric"] == "macro_f1"
    assert record["metrics"]["last"]["test"]["macro_f1"] > 0.9


@pytest.mark.parametrize("two", [False, True])
def test_an_encoder_chooses(trained, pair_tokenizer, two):
    """One sentence, or two."""
    from transformers import BertConfig, BertForSequenceClassification

    rows = [{"text": text, "label": answer} for text, answer in learnable()]
    rows = [row | {"text2": "animal"} for row in rows] if two else rows
    tokenizer = pair_tokenizer(["the", "animal", *COLOURS, *ANIMALS, "10", "11", "12", "13", "14"])
    torch.manual_seed(0)
    settings = {"vocab_size": len(tokenizer), "hidden_size": 32, "num_hidden_layers": 2, "num_labels": 2}
    settings |= {"num_attention_heads": 2, "intermediate_size": 32, "max_position_embeddings": 40}
    model = BertForSequenceClassification(BertConfig(**settings)).eval()
    base = BaseModel(model, tokenizer, False, 40, {"name": "tiny", "revision": None, "sha256": None})
    record, answers, task = trained(rows, base, ClassObjective, method="full", lr=0.003, steps=60)
    assert task.labels == ("cat", "dog")
    correct = [line["prediction"] == e.gold for line, e in zip(answers, task.examples("test"), strict=True)]
    assert record["metrics"]["last"]["test"]["accuracy"] == sum(correct) / len(correct) > 0.9


def test_bleu_counts(trained, word_model):
    sacrebleu = pytest.importorskip("sacrebleu")
    rows = [{"prompt": text, "target": f"the {answer} big {text}"} for text, answer in learnable()]
    record, answers, task = trained(
        rows, word_model, TextObjective, task={"metric": "bleu"}, method="full", lr=0.01, steps=40
    )
    golds = [example.gold for example in task.examples("test")]
    expected = sacrebleu.corpus_bleu([line["prediction"] for line in answers], [golds]).score / 100
    assert record["metric"] == "bleu"
    assert record["metrics"]["last"]["test"]["bleu"] == pytest.approx(expected)
    assert expected > 0.05
