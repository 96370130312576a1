"""The loop: its schedule, its determinism, what it trains and what it leaves behind."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import lora
from experiments import store, trainer
from experiments.batches import training_batches
from experiments.errors import UserError
from experiments.methods import Method, lookup
from experiments.store import RunFolder
from experiments.trainer import learning_rate, total_steps

CPU = torch.device("cpu")


def fit(config, desk, name="run", precision="float32"):
    folder = RunFolder(config.root / name)
    folder.path.mkdir(parents=True)
    seen = []
    result = trainer.train(
        config, desk, folder, CPU, precision, lambda values, step: seen.append((step, values))
    )
    return folder, result, seen


@given(st.integers(1, 500), st.floats(0, 50).map(lambda w: w if w < 1 else round(w)))
def test_schedule_rises_to_the_peak_and_falls_towards_zero(steps, warmup):
    rates = [learning_rate(step, steps, 1.0, warmup) for step in range(steps)]
    assert all(0 < rate <= 1 for rate in rates)
    rising = min(steps, round(warmup * steps) if warmup < 1 else warmup)
    assert max(rates) == 1.0
    assert rates[: rising + 1] == sorted(rates[: rising + 1])
    assert rates[rising:] == sorted(rates[rising:], reverse=True)


def test_schedule_values():
    assert [learning_rate(s, 10, 2.0, 2) for s in range(10)] == [1, 2, 2, 1.75, 1.5, 1.25, 1, 0.75, 0.5, 0.25]
    assert learning_rate(0, 100, 1.0, 0.06) == pytest.approx(1 / 6)


def test_epochs_become_optimizer_steps(config):
    assert total_steps(config(steps=7), 1000) == 7
    assert total_steps(config(steps=None, epochs=2), 40) == 10
    assert total_steps(config(steps=None, epochs=2, batch_size=16), 40) == 6
    assert total_steps(config(steps=None, epochs=2, accumulate=5), 40) == 2


def test_same_seed_same_bytes(config, bench):
    """Two trainings of one configuration agree in every byte of every file; another seed does not."""
    desk = bench("sql")
    (one, _, _), (two, _, _) = (fit(config(dropout=0.1), desk, name) for name in ("a", "b"))
    (other, _, _) = fit(config(dropout=0.1, seed=1), desk, "c")
    for name in (store.ADAPTER, store.ADAPTER_BEST, store.ADAPTER_INIT, store.PREDICTIONS):
        assert one.file(name).read_bytes() == two.file(name).read_bytes()
    assert one.file(store.ADAPTER).read_bytes() != other.file(store.ADAPTER).read_bytes()
    losses = [[line.get("loss") for line in store.read_jsonl(f.file(store.HISTORY))] for f in (one, two)]
    assert losses[0] == losses[1]
    for kind in ("full", "bias"):
        (one, _, _), (two, _, _) = (fit(config(method=kind), desk, f"{kind}{n}") for n in (1, 2))
        for name in (store.DELTA, store.DELTA_BEST):
            assert one.file(name).read_bytes() == two.file(name).read_bytes()


@pytest.mark.parametrize("settings", [{"clip": 0.05}, {"clip": 0.0}, {"clip": 0.05, "method": "bias"}])
def test_every_step_is_the_textbooks(config, bench, settings, monkeypatch):
    """Against a loop written out here: AdamW, schedule, clipping, accumulation, dropout, smoothing, order.

    Evaluations on the way change nothing: they draw no dropout, and leave the model in training.
    """
    desk = bench("sql")
    run = config(
        seed=3,
        steps=5,
        accumulate=2,
        batch_size=4,
        eval_every=2,
        bias="all",
        **{"dropout": 0.3, "label_smoothing": 0.2, "weight_decay": 0.1, "warmup": 2, "lr": 0.02, **settings},
    )
    prepare, prepared = Method.prepare, []
    monkeypatch.setattr(Method, "prepare", lambda *a: prepared.append(prepare(*a)) or prepared[-1])
    fit(run, desk)
    [ours] = prepared

    model = prepare(lookup(run.method), desk.base.model, run).train()
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    groups = {True: [], False: []}
    for name, parameter in trained.items():
        groups[name.endswith("bias")].append(parameter)
    optimizer = torch.optim.AdamW(
        [{"params": groups[False], "weight_decay": 0.1}, {"params": groups[True], "weight_decay": 0.0}]
    )
    encoded = desk.objective.encoded("train")
    batches = training_batches([len(example.ids) for example in encoded], 4, seed=3)
    norms = []
    torch.manual_seed(3)
    for rate in (0.01, 0.02, 0.02, 0.02 * 2 / 3, 0.02 / 3):
        gradients = [torch.zeros_like(p) for p in trained.values()]
        for _ in range(2):
            loss = desk.objective.loss(model, [encoded[i] for i in next(batches)], CPU, 0.2)
            for total, new in zip(gradients, torch.autograd.grad(loss, [*trained.values()]), strict=True):
                total += new / 2
        norms.append(torch.stack([g.square().sum() for g in gradients]).sum().sqrt().item())
        shrink = min(1.0, 0.05 / norms[-1]) if run.clip else 1.0
        for parameter, gradient in zip(trained.values(), gradients, strict=True):
            parameter.grad = shrink * gradient
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
    assert min(norms) > 0.05  # so that the limit matters
    for name, parameter in ours.named_parameters():
        if parameter.requires_grad:
            torch.testing.assert_close(parameter, trained[name], atol=2e-5, rtol=1e-3)


@pytest.mark.parametrize(("precision", "rounded"), [("bfloat16", True), ("float32", False)])
def test_losses_and_predictions_are_both_computed_in_the_runs_precision(config, bench, precision, rounded):
    desk, seen = bench("sql"), {"loss": set(), "predict": set()}
    for name, modes in seen.items():
        real = getattr(desk.objective, name)

        def spy(*arguments, real=real, modes=modes):
            modes.add(torch.is_autocast_enabled("cpu"))
            return real(*arguments)

        setattr(desk.objective, name, spy)
    fit(config(steps=2), desk, precision=precision)
    assert seen == {"loss": {rounded}, "predict": {rounded}}


def test_training_lowers_the_loss_and_leaves_the_base_alone(config, bench):
    desk = bench("nli")
    before = {name: tensor.clone() for name, tensor in desk.base.model.state_dict().items()}
    _, result, seen = fit(config(steps=60, lr=0.02, log_every=10, **{"task.name": "nli"}), desk)
    losses = [values["loss"] for _, values in seen if "loss" in values]
    assert losses[-1] < losses[0] - 0.2
    assert result.parameters["trainable"] == result.parameters["adapter"] == 2 * 2 * 2 * (32 + 32)
    for name, tensor in desk.base.model.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_initial_adapter_is_zero_and_last_is_what_was_trained(config, bench):
    folder, _, _ = fit(config(), bench("sql"))
    first, last = (lora.read(folder.file(name)) for name in (store.ADAPTER_INIT, store.ADAPTER))
    assert set(first.factors) == {(layer, letter) for layer in (0, 1) for letter in "qv"}
    for key, factors in first.factors.items():
        assert not factors.B.any()
        assert last.factors[key].B.any()
        assert factors.A.dtype == torch.float32


def test_best_is_the_checkpoint_with_the_highest_dev_score(config, bench, monkeypatch):
    """With evaluations that score 0.1, 0.9, 0.5 at steps 2, 4 and the end, the best is step 4's."""
    desk, scores, states = bench("sql"), iter([0.1, 0.9, 0.5, 0.5, 0.9, 0.9]), []
    real = trainer.evaluate

    def scripted(model, bench, split, device, precision):
        evaluation = real(model, bench, split, device, precision)
        evaluation.metrics["logical_form_accuracy"] = next(scores)
        states.append({k: p.detach().clone() for k, p in model.named_parameters() if p.requires_grad})
        return evaluation

    monkeypatch.setattr(trainer, "evaluate", scripted)
    folder, result, _ = fit(config(eval_every=2), desk)
    assert result.metrics["best"]["step"] == 4
    assert result.metrics["last"]["step"] == 6
    best, last = lora.read(folder.file(store.ADAPTER_BEST)), lora.read(folder.file(store.ADAPTER))
    name = next(key for key in states[1] if key.endswith("lora_B"))
    assert torch.equal(best.factors[0, "q"].B, states[1][name])
    assert torch.equal(last.factors[0, "q"].B, states[2][name])
    checkpoints = {line["checkpoint"] for line in store.read_jsonl(folder.file(store.PREDICTIONS))}
    assert checkpoints == {"last", "best"}


@pytest.mark.parametrize(
    ("scores", "best"),
    [((0.5, 0.5, 0.1), 2), ((0.1, 0.5, 0.5), 6), ((0.0, 0.0, 0.0), 6), ((0.2, 0.1, 0.0), 2)],
)
def test_of_equal_scores_the_last_step_wins_then_the_earliest(config, bench, monkeypatch, scores, best):
    real, left = trainer.evaluate, iter(scores)

    def evaluate(model, bench, split, device, precision):
        evaluation = real(model, bench, split, device, precision)
        evaluation.metrics["logical_form_accuracy"] = next(left, 0.0) if split == "dev" else 0.0
        return evaluation

    monkeypatch.setattr(trainer, "evaluate", evaluate)
    assert fit(config(eval_every=2), bench("sql"))[1].metrics["best"]["step"] == best


def test_the_test_split_has_no_say_in_which_checkpoint_is_best(config, bench, monkeypatch):
    """At the end dev falls and test rises: the best stays the one before, and test is only reported."""
    desk, real, seen = bench("sql"), trainer.evaluate, []
    scripted = {"dev": iter([0.2, 0.9, 0.1, 0.9]), "test": iter([0.8, 0.3])}

    def evaluate(model, bench, split, device, precision):
        evaluation = real(model, bench, split, device, precision)
        evaluation.metrics["logical_form_accuracy"] = next(scripted[split])
        seen.append(split)
        return evaluation

    monkeypatch.setattr(trainer, "evaluate", evaluate)
    _, result, _ = fit(config(eval_every=2), desk)
    assert seen == ["dev", "dev", "dev", "test", "dev", "test"]
    assert result.metrics["best"]["step"] == 4
    assert result.metrics["best"]["chosen_on"] == "dev"
    assert result.metrics["best"]["dev"]["logical_form_accuracy"] == 0.9
    assert result.metrics["best"]["test"]["logical_form_accuracy"] == 0.3
    assert result.metrics["last"]["test"]["logical_form_accuracy"] == 0.8


def test_weight_decay_is_on_weights_and_the_factors_not_on_biases_and_norms(config, bench, monkeypatch):
    """Of the optimizer that a run trains with."""
    used = []

    class Spy(torch.optim.AdamW):
        def __init__(self, groups, **settings):
            groups = list(groups)
            used.append({id(p): group["weight_decay"] for group in groups for p in group["params"]})
            super().__init__(groups, **settings)

    monkeypatch.setattr(torch.optim, "AdamW", Spy)
    models = []
    real = Method.prepare
    monkeypatch.setattr(Method, "prepare", lambda *a: models.append(real(*a)) or models[-1])
    for number, settings in enumerate(({"method": "full"}, {"bias": "all"}, {"method": "bias"})):
        fit(config(weight_decay=0.3, steps=1, lr=1e-4, **settings), bench("sql"), str(number))
    full, factors, biases = (
        {name: decay[id(p)] for name, p in model.named_parameters() if p.requires_grad}
        for model, decay in zip(models, used, strict=True)
    )
    assert {name for name, decay in full.items() if decay == 0} == {
        name for name in full if name.endswith("bias") or ".ln_" in name
    }
    assert full["transformer.h.0.ln_1.weight"] == full["transformer.ln_f.weight"] == 0
    assert full["transformer.h.0.attn.c_attn.weight"] == full["transformer.wte.weight"] == 0.3
    assert {name.rpartition(".")[2]: decay for name, decay in factors.items()} == {
        "lora_A": 0.3,
        "lora_B": 0.3,
        "bias": 0.0,
    }
    assert set(biases.values()) == {0.0}


def test_decay_goes_by_what_a_parameter_is_not_by_its_shape(config):
    class Gain(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.gain, self.rows_bias = (
                torch.nn.Parameter(torch.ones(3)),
                torch.nn.Parameter(torch.ones(2, 2)),
            )

    class ScaleNorm(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.ones(2, 2))

    model = torch.nn.Sequential(Gain(), ScaleNorm(), torch.nn.LayerNorm(2))
    model[2].bias.requires_grad_(False)
    decayed, others = trainer.optimizer_groups(model, config(weight_decay=0.1))
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.1, 0.0)
    assert [id(p) for p in decayed["params"]] == [id(model[0].gain)]
    assert [id(p) for p in others["params"]] == [
        *map(id, (model[0].rows_bias, model[1].scale, model[2].weight))
    ]


def test_weight_decay_shrinks_what_the_loss_leaves_alone(config, bench):
    """AdamW's own rule: with B at zero A has no gradient at the first step, and shrinks by lr * decay."""
    folder, _, _ = fit(config(steps=1, lr=0.01, weight_decay=0.5, warmup=0.0), bench("sql"))
    first, last = (
        lora.read(folder.file(name)).factors[0, "q"] for name in (store.ADAPTER_INIT, store.ADAPTER)
    )
    torch.testing.assert_close(last.A, first.A * (1 - 0.01 * 0.5), atol=0, rtol=1e-6)


def test_one_line_for_every_prediction(config, bench):
    desk = bench("sql")
    folder, result, _ = fit(config(), desk)
    lines = store.read_jsonl(folder.file(store.PREDICTIONS))
    assert [(line["split"], line["id"]) for line in lines] == [
        (split, example.id) for split in ("dev", "test") for example in desk.task.examples(split)
    ]
    dev = [line["correct"] for line in lines if line["split"] == "dev"]
    assert result.metrics["last"]["dev"]["logical_form_accuracy"] == sum(dev) / len(dev)


def test_full_fine_tuning_saves_dw_of_each_target(config, bench):
    from safetensors.torch import load_file

    desk = bench("sql")
    folder, result, _ = fit(config(method="full", targets="qo", lr=0.001), desk)
    deltas = load_file(folder.file(store.DELTA))
    assert set(deltas) == {f"layers.{layer}.{letter}.dW" for layer in (0, 1) for letter in "qo"}
    assert all(delta.dtype == torch.float32 and delta.any() for delta in deltas.values())
    assert result.parameters["trainable"] == result.parameters["total"]
    assert not folder.file(store.ADAPTER).exists()


def test_bias_trains_biases_alone(config, bench):
    from safetensors.torch import load_file

    desk = bench("sql")
    folder, result, _ = fit(config(method="bias"), desk)
    biases = [p for name, p in desk.base.model.named_parameters() if name.endswith("bias")]
    assert result.parameters["trainable"] == result.parameters["bias"] == sum(p.numel() for p in biases)
    assert all(name.endswith("bias") for name in load_file(folder.file(store.DELTA)))


def test_accumulation_equals_the_larger_batch(config, bench):
    """Nothing but rounding differs, where all targets have the same length."""
    desk = bench("nli", train=16)
    key = {"task.name": "nli", "steps": 3}
    (a, _, _) = fit(config(batch_size=16, **key), desk, "a")
    (b, _, _) = fit(config(batch_size=8, accumulate=2, **key), desk, "b")
    one, two = (lora.read(f.file(store.ADAPTER)).factors[1, "v"].B for f in (a, b))
    torch.testing.assert_close(one, two, atol=1e-4, rtol=1e-3)


def test_diverging_loss_names_the_step_and_the_likely_cause(config, bench):
    with pytest.raises(UserError, match=r"diverged at step \d+ .*lr=") as caught:
        fit(config(lr=1e30, clip=0.0, steps=20, warmup=0.0), bench("sql"))
    assert "clip=1" in str(caught.value)


def test_rank_above_the_matrix_is_one_line(config, bench):
    with pytest.raises(UserError, match=r"at most 32 is possible"):
        fit(config(rank=33), bench("sql"))


def test_history_has_loss_rate_and_gradient_norm(config, bench):
    folder, _, seen = fit(config(), bench("sql"))
    lines = [json.loads(line) for line in folder.file(store.HISTORY).read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == [2, 4, 6]
    assert [line["step"] for line in lines] == [step for step, _ in seen]
    assert {"loss", "lr", "grad_norm", "steps_per_second", "tokens_per_second"} < set(lines[0])
    assert [key for line in lines for key in line if key.endswith("logical_form_accuracy")] == [
        "dev/logical_form_accuracy",
        "test/logical_form_accuracy",
    ]
