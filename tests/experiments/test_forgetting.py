"""Forgetting: the loss is the library's own, of text that no pretraining saw, in training and afterwards."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch

from analysis.reading.study import Study
from experiments import forgetting, job, trainer
from experiments.embedded.checkpoint import read_recipe
from experiments.errors import UserError
from experiments.methods import lookup
from experiments.plan import PlannedRun, plan
from experiments.store import FAILURE, PREDICTIONS, RUN

CPU = torch.device("cpu")


@pytest.fixture
def run(bench, monkeypatch):
    desk = bench("sql")
    monkeypatch.setattr("experiments.workbench.workbench", lambda *_: desk)
    monkeypatch.setattr(job, "model_identity", lambda _: "tiny")
    return lambda config, sweep=None: job.run_job(PlannedRun(config, ("rank=2",)), sweep)


@pytest.fixture
def untrained(monkeypatch):
    """From now on nothing may be trained."""

    def forbid():
        monkeypatch.setattr("experiments.trainer.train", lambda *_: pytest.fail("it is trained"))

    return forbid


def by_library(model, texts, tokenizer):
    """The mean over tokens of transformers' own loss, text by text."""
    total, count = 0.0, 0
    for text in texts:
        ids = torch.tensor([[*tokenizer(text)["input_ids"], tokenizer.eos_token_id]])
        if ids.shape[1] <= 96:
            with torch.no_grad():
                total += model(input_ids=ids, labels=ids).loss.item() * (ids.shape[1] - 1)
            count += ids.shape[1] - 1
    return total / count, count


def test_the_loss_is_the_library_s(config, bench):
    desk = bench("sql")
    found = forgetting.pretraining_text(config(forgetting=True), desk, CPU, "float32")
    expected, tokens = by_library(desk.base.model.eval(), forgetting._drawn(), desk.base.tokenizer)
    assert found.before == pytest.approx(expected, rel=1e-5)
    assert found.tokens == tokens
    again = forgetting.pretraining_text(config(forgetting=True), desk, CPU, "float32")
    assert again is found  # once a process


def test_no_pretraining_has_drawn_from_this_stream():
    recipe = read_recipe()
    seeds = {recipe["seed"], recipe["start"]["recipe"]["seed"]}
    assert forgetting.SEED not in seeds


def test_it_is_measured_in_training_and_changes_nothing_else(config, run):
    plain = run(config(study="plain", eval_every=2))
    asked = run(config(study="asked", eval_every=2, forgetting=True))
    assert asked.name == plain.name
    assert asked.record["metrics"] == plain.record["metrics"]
    assert asked.record["config"] == plain.record["config"]
    assert "forgetting" not in plain.record
    told = asked.record["forgetting"]
    assert told["text"].startswith("embedded:")
    assert told["last"] != told["before"]
    (row,) = Study.open("asked", config().root).frame.to_dict("records")
    assert row["forgetting_last"] == pytest.approx(told["last"] - told["before"])


def test_what_is_not_trained_forgets_nothing(config, run):
    told = run(config(method="none", forgetting=True)).record["forgetting"]
    assert told["before"] == told["last"] == told["best"]


@pytest.mark.parametrize(
    "settings",
    [{}, {"dora": True}, {"init": "pissa"}, {"train": "A"}, {"method": "bias"}, {"method": "adapter_h"}],
)
def test_a_finished_run_is_measured_without_training(config, run, untrained, monkeypatch, settings):
    """Both checkpoints, of which the best is another than the last."""
    scores: list[float] = []
    measured = trainer.evaluate

    def told(model, bench, split, *rest):
        found = measured(model, bench, split, *rest)
        if split == "dev":
            found.metrics["logical_form_accuracy"] = scores.pop(0)
        return found

    monkeypatch.setattr(trainer, "evaluate", told)
    settings = {"steps": 4, "lr": 0.05, "eval_every": 2, **settings}
    scores[:] = [0.9, 0.1, 0.9]
    expected = run(config(study="asked", forgetting=True, **settings)).record
    scores[:] = [0.9, 0.1, 0.9]
    first = run(config(**settings))
    files = {path.name: path.read_bytes() for path in first.folder.iterdir() if path.name != RUN}
    untrained()
    found = run(config(forgetting=True, **settings))
    assert (found.status, found.folder) == ("finished", first.folder), found.error
    assert expected["metrics"]["best"]["step"] == 2
    told, meant = found.record["forgetting"], expected["forgetting"]
    assert told.pop("text") == meant.pop("text")
    assert told == pytest.approx(meant, rel=1e-6)
    assert found.record["forgetting"]["last"] != found.record["forgetting"]["best"]
    kept = {name: value for name, value in found.record.items() if name not in ("forgetting", "sweep")}
    assert kept == {name: value for name, value in first.record.items() if name != "sweep"}
    assert files == {path.name: path.read_bytes() for path in first.folder.iterdir() if path.name != RUN}
    assert run(config(forgetting=True, **settings)).status == "kept"
    assert run(config(**settings)).status == "kept"


def test_full_fine_tuning_must_be_trained_with_it(config, run, untrained):
    """Of it dW of the targets is kept alone; that is said, the run stays, and force trains it."""
    first = run(config(method="full", lr=0.001))
    outcome = run(config(method="full", lr=0.001, forgetting=True))
    assert outcome.status == "failed"
    assert outcome.error.endswith(
        "does not hold all that method=full trains; train it again, with what is asked for, by force=true"
    )
    assert json.loads((first.folder / RUN).read_text()) == first.record
    forced = run(config(method="full", lr=0.001, forgetting=True, force=True))
    assert forced.record["forgetting"]["last"] != forced.record["forgetting"]["before"]
    assert forced.record["metrics"] == first.record["metrics"]
    assert not (first.folder / FAILURE).exists()


def test_a_truncated_run_is_measured_too(config, run, untrained):
    run(config(steps=3, lr=0.05))
    cut = run(config(method="truncated", keep=1, steps=3, lr=0.05))
    untrained()
    found = run(config(method="truncated", keep=1, steps=3, lr=0.05, forgetting=True)).record["forgetting"]
    assert (cut.folder / PREDICTIONS).is_file()
    assert found["last"] == found["best"] != found["before"]


def test_a_text_of_one_s_own(config, run, bench, tmp_path):
    desk = bench("sql")
    words = [word for text in forgetting._drawn()[:60] for word in text.split()]
    file = tmp_path / "text.txt"
    file.write_text(" ".join(words))
    record = run(config(forgetting=str(file))).record["forgetting"]
    ids = desk.base.tokenizer(" ".join(words))["input_ids"]
    windows = [ids[start : start + 96] for start in range(0, len(ids), 96)]
    losses = [
        (
            desk.base.model.eval()(input_ids=torch.tensor([w]), labels=torch.tensor([w])).loss.item(),
            len(w) - 1,
        )
        for w in windows
        if len(w) > 1
    ]
    assert record["tokens"] == sum(count for _, count in losses)
    expected = sum(loss * count for loss, count in losses) / record["tokens"]
    assert record["before"] == pytest.approx(expected, rel=1e-5)
    # Another text is measured anew.
    file.write_text(" ".join(words[:100]))
    again = run(config(forgetting=str(file)))
    assert again.status == "finished"
    assert again.record["forgetting"]["text"] != record["text"]


def test_what_is_wrong_is_one_line(config, run, bench, tmp_path):
    assert "there is no such file; give true or a file of text" in run(config(forgetting="nowhere.txt")).error
    (tmp_path / "short.txt").write_text("is")
    assert "fewer than two tokens" in run(config(forgetting=str(tmp_path / "short.txt"))).error
    (tmp_path / "strange.txt").write_text("quantum chromodynamics of the gluon field")
    assert "unknown to this model" in run(config(forgetting=str(tmp_path / "strange.txt"))).error
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\x00")
    assert "cannot be read as text" in run(config(forgetting=str(tmp_path / "bytes.txt"))).error
    with pytest.raises(UserError, match=r"give a file of text such as it was trained on: forgetting=FILE"):
        forgetting.text_of(config(forgetting=True, **{"model.name": "gpt2"}))
    desk = bench("sql")
    encoder = dataclasses.replace(desk, base=dataclasses.replace(desk.base, generates=False))
    with pytest.raises(UserError, match="is an encoder, which predicts no next token"):
        forgetting.pretraining_text(config(forgetting=True), encoder, CPU, "float32")
    for value in ("forgetting=[1]", "forgetting=''"):
        with pytest.raises(UserError, match="give true, false, or a file of text"):
            plan([value])


def test_every_method_that_trains_all_it_keeps_can_be_loaded(config, word_model, tmp_path):
    """A stored state that is another's is refused."""
    from experiments.store import RunFolder

    run = config(method="bias")
    method = lookup("bias")
    model = method.prepare(word_model.model, run)
    with pytest.raises(UserError, match="does not hold all that method=bias trains"):
        method.load(model, RunFolder(tmp_path), best=False)
