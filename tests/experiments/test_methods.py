"""What is trained, with which settings, and that what is stored is what was trained."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import lora
from experiments import job, methods, store
from experiments.errors import UserError
from experiments.help import help_page
from experiments.methods import lookup
from experiments.plan import PlannedRun
from experiments.store import RunFolder

REPOSITORY = Path(__file__).resolve().parents[2]


def test_every_setting_of_lora_reaches_the_model(config, word_model):
    settings = {"targets": "qv", "rank": {"q": 2, "v": 3}, "alpha": 7.0, "scaling": "alpha/sqrt(r)"}
    settings |= {"init": "kaiming", "dropout": 0.3, "bias": "all", "seed": 5}
    ours = lookup("lora").prepare(word_model.model, config(**settings))
    reference = lookup("full").prepare(word_model.model, config(method="full"))
    expected = lora.adapt(reference, **settings)
    assert {n for n, p in ours.named_parameters() if p.requires_grad} == {
        n for n, p in expected.named_parameters() if p.requires_grad
    }
    for (name, one), (_, two) in zip(ours.named_parameters(), expected.named_parameters(), strict=True):
        assert torch.equal(one, two), name
    for key, adapter in lora.adapters(ours).items():
        assert adapter.scaling == pytest.approx(7.0 / adapter.lora_A.shape[0] ** 0.5), key
    rates = {m.p for m in ours.modules() if isinstance(m, torch.nn.Dropout)} - {0.0}
    assert rates == {0.3} == {m.p for m in expected.modules() if isinstance(m, torch.nn.Dropout)} - {0.0}


def test_dw_is_what_was_added_to_w0(config, word_model, tmp_path):
    run = config(method="full", targets="qo")
    full = lookup("full")
    model = full.prepare(word_model.model, run)
    with torch.no_grad():
        model.transformer.h[1].attn.c_proj.weight += 0.5
    folder = RunFolder(tmp_path)
    for best in (False, True):
        full.save(model, word_model.model, run, folder, best=best)
        deltas = load_file(folder.file(store.DELTA_BEST if best else store.DELTA))
        torch.testing.assert_close(deltas["layers.1.o.dW"], torch.full((32, 32), 0.5))
        assert not any(delta.any() for name, delta in deltas.items() if name != "layers.1.o.dW")


@pytest.mark.parametrize("name", ["lora", "full", "bias"])
def test_a_snapshot_is_what_was_trained_then(config, word_model, name):
    method = lookup(name)
    model = method.prepare(word_model.model, config(method=name))
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    state = method.snapshot(model)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 1.0
    assert all(torch.equal(state[n], before[n]) for n in state)
    method.restore(model, state)
    assert all(torch.equal(p, before[n]) for n, p in model.named_parameters())


# ------------------------------------------------------------------------------------------------ one's own

GAINS = """
from experiments.methods import METHODS, Method, train_only


@METHODS.register
class Gains(Method):
    name, label, learning_rate = "gains", "the gains of the norms alone", 0.05

    def adapt(self, model, config):
        return train_only(model, lambda name: ".ln_" in name and name.endswith("weight"))
"""


@pytest.fixture
def registry(monkeypatch):
    """The registry as it is, and as it was again after the test."""
    assert "lora" in methods.METHODS
    monkeypatch.setattr(methods.METHODS, "_entries", dict(methods.METHODS._entries))
    before = {*sys.modules}
    yield methods
    for name in {*sys.modules} - before:
        if name.rpartition(".")[2] in ("lab", "gains", "nothing", "second", "unnamed"):
            del sys.modules[name]


@pytest.fixture
def gains(registry, tmp_path, monkeypatch):
    """One more file in the package, as a contributor adds it."""
    (tmp_path / "gains.py").write_text(GAINS)
    monkeypatch.setattr(registry, "__path__", [*registry.__path__, str(tmp_path)])
    monkeypatch.setattr(registry.METHODS, "_complete", False)


@pytest.fixture
def elsewhere(registry, tmp_path, monkeypatch):
    """The same file in a package of one's own."""
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab/gains.py").write_text(GAINS)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path / "lab"


def test_a_method_is_added_by_one_file(gains, config, bench, monkeypatch):
    """It is offered, trained and stored; its runs have a name, and an address without LoRA's settings."""
    desk = bench("sql")
    monkeypatch.setattr("experiments.workbench.workbench", lambda *_: desk)
    monkeypatch.setattr(job, "model_identity", lambda _: "tiny")
    with pytest.raises(
        UserError, match=r"valid are .*full, gains, lora, .*or an import path .* did you mean gains\?"
    ):
        config(method="gain")
    assert "\n  method=gains            the gains of the norms alone\n" in help_page()
    run = config(method="gains", lr=None, steps=2)
    outcome = job.run_job(PlannedRun(run, ("method=gains",)))
    assert outcome.status == "finished", outcome.error
    assert outcome.name.startswith("sql-embedded-gains-lr0.05-seed0-")
    record = outcome.record
    assert record["parameters"] == record["parameters"] | {"adapter": 0, "trainable": 5 * 32}
    assert (record["config"]["method"], record["config"]["lr"]) == ("gains", 0.05)
    assert not {"targets", "rank", "alpha", "bias"} & record["config"].keys()
    stored = load_file(outcome.folder / store.DELTA)
    assert len(stored) == 5
    assert all((gain - 1).any() for gain in stored.values())


def test_a_method_that_lies_elsewhere_is_named_by_its_import_path(elsewhere, config):
    run = config(method="lab.gains:Gains")
    assert run.scientific("float32", "model", "task")["method"] == "gains"
    assert run.readable_name() == "sql-embedded-gains-lr0.01-seed0"
    assert pickle.loads(pickle.dumps(run)) == run
    (elsewhere / "nothing.py").touch()
    (elsewhere / "second.py").write_text(GAINS)
    (elsewhere / "unnamed.py").write_text(GAINS.replace("name, label, learning_rate = ", "name, label, _ = "))
    for name, says in (
        (
            "lab.unnamed:Gains",
            r"lab\.unnamed\.Gains lacks learning_rate; a method has name, label, learning_rate",
        ),
        ("lab.nothing:Gains", "cannot be imported .*no attribute"),
        (
            "lab.second:Gains",
            r"gains is defined twice: in lab\.gains and lab\.second; give one of them another",
        ),
        (
            "lab.gone:Gains",
            r"cannot be imported \(No module named 'lab\.gone'\); valid are adapter_h, .*full",
        ),
    ):
        with pytest.raises(UserError, match=says):
            config(method=name)


def test_a_setting_that_there_is_not_is_one_line(registry, elsewhere, config):
    (elsewhere / "gains.py").write_text(GAINS.replace("    name", '    settings = ("rnak",)\n    name', 1))
    with pytest.raises(
        UserError, match=r"has 'rnak' among its settings; valid are targets, rank, .* mean rank\?"
    ):
        config(method="lab.gains:Gains")


@pytest.mark.parametrize("name", ["loar", "", ".lora", "lo-ra.x", None, 3, ["lora"]])
def test_what_is_no_method_is_one_line(config, name):
    with pytest.raises(
        UserError, match=r"is unknown; valid are adapter_h, .*bias, .*full, lora, .*none, .*or an import path"
    ) as error:
        config(method=name)
    assert "\n" not in str(error.value)


def test_names_and_labels_import_no_torch():
    program = (
        "import sys; from experiments.methods import METHODS\n"
        "print(*(one.label for one in METHODS.values()), sep='\\n'); sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr
    assert len({*done.stdout.splitlines()}) == len(methods.METHODS) == 12
