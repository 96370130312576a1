"""Which checkpoints load, under which name a run knows them, and what is said of those that do not."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest
import torch

from experiments.config import ModelConfig
from experiments.errors import UserError
from experiments.models import load_base, model_identity, projection_shapes


@pytest.fixture(autouse=True)
def fresh():
    load_base.cache_clear()
    yield
    load_base.cache_clear()


@pytest.fixture(scope="session")
def gpt2_folder(tmp_path_factory, word_model):
    """A checkpoint folder as `save_pretrained` writes it."""
    folder = tmp_path_factory.mktemp("checkpoints") / "tiny-gpt2"
    word_model.model.save_pretrained(folder)
    word_model.tokenizer.save_pretrained(folder)
    return folder


def test_embedded_model():
    base = load_base(ModelConfig("embedded"), labels=None)
    assert base.generates
    assert base.model.config.n_embd == 256
    assert 4 <= base.model.config.n_layer <= 6
    assert {p.dtype for p in base.model.parameters()} == {torch.float32}
    assert load_base(ModelConfig("embedded"), labels=None) is base
    assert model_identity(ModelConfig("embedded")).startswith("embedded:")


def test_folder(gpt2_folder, word_model):
    base = load_base(ModelConfig(str(gpt2_folder)), labels=None)
    assert base.generates
    assert base.max_length == 96
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        torch.testing.assert_close(base.model.eval()(ids).logits, word_model.model(ids).logits)
    assert len(base.provenance["sha256"]) == 64


def test_identity_follows_the_content_not_the_place(gpt2_folder, tmp_path):
    moved = tmp_path / "elsewhere"
    shutil.copytree(gpt2_folder, moved)
    assert model_identity(ModelConfig(str(moved))) == model_identity(ModelConfig(str(gpt2_folder)))
    settings = json.loads((moved / "config.json").read_text())
    (moved / "config.json").write_text(json.dumps(settings | {"layer_norm_epsilon": 1e-6}))
    other = tmp_path / "changed"
    shutil.copytree(moved, other)
    assert model_identity(ModelConfig(str(other))) != model_identity(ModelConfig(str(gpt2_folder)))


def test_hub_identity_names_the_revision():
    assert model_identity(ModelConfig("org/model")) == "hub:org/model@main"
    assert model_identity(ModelConfig("org/model", revision="v2")) == "hub:org/model@v2"


@pytest.mark.parametrize("name", ["./nowhere", "/no/such/folder", "~/none", "a/b/c"])
def test_missing_folder(name):
    with pytest.raises(UserError, match="no such folder") as caught:
        load_base(ModelConfig(name), labels=None)
    assert "\n" not in str(caught.value)


def test_folder_that_is_no_checkpoint(tmp_path):
    with pytest.raises(UserError, match=r"without a config\.json"):
        load_base(ModelConfig(str(tmp_path)), labels=None)


def test_damaged_checkpoint(gpt2_folder, tmp_path):
    damaged = tmp_path / "damaged"
    shutil.copytree(gpt2_folder, damaged)
    (damaged / "model.safetensors").write_bytes(b"\x00" * 100)
    with pytest.raises(UserError, match="cannot be loaded") as caught:
        load_base(ModelConfig(str(damaged)), labels=None)
    assert "\n" not in str(caught.value)


def test_unreachable_hub_tells_what_to_do(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"hf download no-such/model.*model=embedded") as caught:
        load_base(ModelConfig("no-such/model"), labels=None)
    assert "\n" not in str(caught.value)


def encoder_folder(folder, tiny_kind="Roberta"):
    import transformers

    settings = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    settings |= {"vocab_size": 60, "max_position_embeddings": 40}
    model_class = getattr(transformers, f"{tiny_kind}ForMaskedLM")
    model = model_class(model_class.config_class(**settings))
    model.save_pretrained(folder)


def test_encoder_cannot_write_queries(tmp_path):
    encoder_folder(tmp_path / "m")
    with pytest.raises(UserError, match=r"cannot write queries; choose.*task=nli"):
        load_base(ModelConfig(str(tmp_path / "m")), labels=None)


def test_unknown_architecture(tmp_path):
    folder = tmp_path / "m"
    encoder_folder(folder)
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(settings | {"model_type": "albert"}))
    with pytest.raises(UserError, match="albert model; known architectures are gpt2, bert"):
        load_base(ModelConfig(str(folder)), labels=3)


def test_shapes_are_those_of_the_model(gpt2_folder):
    import lora

    for name in ("embedded", str(gpt2_folder)):
        model = load_base(ModelConfig(name), labels=None).model
        shapes, layers = projection_shapes(ModelConfig(name))
        assert layers == model.config.num_hidden_layers
        assert shapes == {letter: tuple(lora.projection(model, 0, letter).shape) for letter in shapes}


def test_shapes_need_config_json_alone_and_no_torch(tmp_path):
    encoder_folder(tmp_path / "m")
    (tmp_path / "m/model.safetensors").unlink()
    code = (
        "import sys; from experiments.config import ModelConfig; from experiments.models import "
        f"projection_shapes as shapes; print(shapes(ModelConfig({str(tmp_path / 'm')!r}))[0]['up']); "
        "sys.exit(bool({'torch', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "(32, 16)\n"), done.stderr


def test_shapes_that_cannot_be_had(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    contents = {"albert": '{"model_type": "albert"}', "bare": '{"model_type": "gpt2"}', "damaged": "{"}
    for name, content in contents.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(content)
    for name, says in {
        str(tmp_path / "albert"): "model type 'albert' is not in the table",
        str(tmp_path / "bare"): "no shapes of W are known: the config of this gpt2 model has no hidden_size",
        str(tmp_path / "damaged"): "the checkpoint cannot be loaded",
        "./nowhere": "there is no such folder",
        "no-such/model": "hf download no-such/model",
    }.items():
        with pytest.raises(UserError) as error:
            projection_shapes(ModelConfig(name))
        assert says in str(error.value)
        assert "\n" not in str(error.value)
