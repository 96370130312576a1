"""W0 from files, held against the same model in memory."""

from __future__ import annotations

import hashlib
import json
import shutil
from types import SimpleNamespace

import pytest
import safetensors.torch
import torch

import lora
from analysis.reading import base_weights
from analysis.reading.base_weights import BaseWeights
from analysis.reading.checkpoint import Checkpoint
from experiments.identity import content_identity, weights_sha256
from lora.adapting import projections
from lora.targets import LETTERS
from tests.analysis.conftest import check_refused
from tests.lora.tiny_models import tiny_model

KINDS = [
    "gpt2",
    "gpt2-backbone",
    "bert",
    "roberta",
    "roberta-backbone",
    "gpt-neox",
    "llama",
    "llama-backbone",
]
KINDS += ["mistral", "qwen2", "qwen3"]


def check_equal(weights, model):
    places = list(projections(model))
    assert weights.layers == places[-1][0] + 1
    for layer, letter in places:
        W, expected = weights.projection(layer, letter), lora.projection(model, layer, letter)
        assert torch.equal(W, expected.float())
        assert W.dtype == torch.float32
        assert W.is_contiguous()
        assert weights.shape(layer, letter) == tuple(W.shape)


def change_config(folder, **settings):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | settings))


@pytest.mark.parametrize("kind", KINDS)
def test_every_projection_of_every_architecture(saved, kind):
    model, folder = saved(kind)
    check_equal(BaseWeights.open(folder), model)
    check_equal(BaseWeights.open(str(folder)), model)


@pytest.mark.parametrize(
    "kind", ["distilbert", "deberta-v2", "opt", "gemma2", "gemma3", "phi3", "t5", "t5-gated", "vit"]
)
def test_the_other_architectures(tmp_path, kind):
    model = tiny_model(kind)
    model.save_pretrained(tmp_path)
    check_equal(BaseWeights.open(tmp_path), model)


@pytest.mark.parametrize("kind", KINDS)
def test_sharded(saved, kind):
    model, folder = saved(kind, shards="15KB")
    assert len(list(folder.glob("*.safetensors"))) > 2
    check_equal(BaseWeights.open(folder), model)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("kind", ["gpt2", "gpt-neox", "llama"])
def test_stored_in_another_precision(saved, kind, dtype):
    model, folder = saved(kind, dtype=dtype)
    assert lora.projection(model, 0, "q").dtype == dtype
    check_equal(BaseWeights.open(folder), model)


def test_oblong_projections_keep_their_orientation(saved):
    weights = BaseWeights.open(saved("llama")[1])
    assert [weights.shape(0, letter) for letter in LETTERS] == [
        (32, 32),
        (16, 32),
        (16, 32),
        (32, 32),
        (80, 32),
        (80, 32),
        (32, 80),
    ]


def test_only_the_matrix_asked_for_is_read(saved, monkeypatch):
    _, folder = saved("gpt2", shards="15KB")
    read = []
    whole = base_weights.open_tensors

    class Spy:
        def __init__(self, path):
            self.path, self.file = path, whole(path)

        def __enter__(self):
            return self

        def __exit__(self, *error):
            return None

        def get_slice(self, name):
            read.append((self.path.name, name))
            return self.file.get_slice(name)

    monkeypatch.setattr(base_weights, "open_tensors", Spy)
    weights = BaseWeights.open(folder)
    assert read == []
    W = weights.projection(1, "v")
    index = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
    name = "transformer.h.1.attn.c_attn.weight"
    assert read == [(index[name], name)]
    assert W.untyped_storage().nbytes() == 4 * 32 * 32  # not a view of the fused weight


def test_the_embedded_model():
    from experiments.embedded.checkpoint import FOLDER, verify

    weights = BaseWeights.open("embedded")
    stored = safetensors.torch.load_file(FOLDER / "model.safetensors")["transformer.h.1.attn.c_attn.weight"]
    d = stored.shape[0]
    assert torch.equal(weights.projection(1, "k"), stored[:, d : 2 * d].T.float())
    assert weights.sha256() == verify()


# ---------------------------------------------------------------------------------- what is not W0


def test_a_folder_with_an_adapter_beside_the_weights(saved):
    _, folder = saved("gpt2")
    (folder / "adapter_config.json").write_text("{}")
    check_refused(lambda: BaseWeights.open(folder), r"holds adapter_config\.json.*W must be W0")


def test_a_peft_adapter_names_its_base(saved, tmp_path):
    model, _ = saved("gpt2")
    lora.export_peft(lora.adapt(model), tmp_path / "adapter", "org/its-base")
    check_refused(
        lambda: BaseWeights.open(tmp_path / "adapter"), r"a PEFT adapter, which has no W0.*\(org/its-base\)"
    )


@pytest.mark.filterwarnings("ignore::FutureWarning")  # transformers', of names that peft uses
@pytest.mark.parametrize("library", ["lora", "peft"])
def test_weights_of_an_adapted_model(saved, library):
    model, folder = saved("bert")
    if library == "lora":
        lora.adapt(model)
    else:
        peft = pytest.importorskip("peft")
        model = peft.get_peft_model(model, peft.LoraConfig(target_modules=["query"])).base_model.model
    tensors = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    safetensors.torch.save_file(tensors, folder / "model.safetensors")
    check_refused(lambda: BaseWeights.open(folder), r"(lora_A|base_layer).*saved from an adapted model")


def test_quantised_weights(saved):
    _, folder = saved("gpt2")
    tensors = safetensors.torch.load_file(folder / "model.safetensors")
    tensors = {name: tensor.to(torch.int8) for name, tensor in tensors.items()}
    safetensors.torch.save_file(tensors, folder / "model.safetensors")
    check_refused(lambda: BaseWeights.open(folder).projection(0, "q"), r"is torch\.int8; W must be floating")
    change_config(folder, quantization_config={"quant_method": "gptq"})
    check_refused(lambda: BaseWeights.open(folder), "the weights are quantised")


# ---------------------------------------------------------------------------------- what is not there


@pytest.mark.parametrize("name", ["./nowhere", "/no/such/folder", "~/none", "a/b/c"])
def test_no_such_folder(name):
    check_refused(
        lambda: BaseWeights.open(name), "there is no such folder; give the folder of a Hugging Face"
    )


def test_a_folder_without_a_checkpoint(tmp_path):
    check_refused(lambda: BaseWeights.open(tmp_path), r"a folder without a config\.json")
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    check_refused(
        lambda: BaseWeights.open(tmp_path),
        r"holds no weights: none of model\.safetensors, .*index\.json is there",
    )


def test_damaged_files(saved):
    _, folder = saved("gpt2")
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[:-5])
    check_refused(
        lambda: BaseWeights.open(folder), r"model\.safetensors: not a safetensors file, or not a whole"
    )
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text("{")
    check_refused(lambda: BaseWeights.open(folder), r"index\.json: not a JSON file, or not a whole")
    (folder / "model.safetensors.index.json").write_text("{}")
    check_refused(lambda: BaseWeights.open(folder), "no index of a sharded checkpoint")
    (folder / "config.json").write_text("[]")
    check_refused(lambda: BaseWeights.open(folder), r"config\.json: holds a list")


def test_a_shard_is_missing(saved):
    _, folder = saved("bert", shards="15KB")
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    name = "bert.encoder.layer.1.attention.self.value.weight"
    shard = index["weight_map"][name]
    (folder / shard).unlink()
    weights = BaseWeights.open(folder)
    check_refused(lambda: weights.projection(1, "v"), f"{shard} is missing; it holds {name}")
    del index["weight_map"][name]
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    check_refused(lambda: BaseWeights.open(folder).projection(1, "v"), f"holds no {name}")


def test_wrong_layers_letters_and_architectures(saved):
    _, folder = saved("gpt2")
    weights = BaseWeights.open(folder)
    check_refused(lambda: weights.projection(2, "q"), "layer 2 does not exist; this model has 0 to 1")
    check_refused(lambda: weights.shape(-1, "q"), "layer -1 does not exist")
    check_refused(
        lambda: weights.projection(0, "w"), "'w' is not a projection; valid are q k v o gate up down"
    )
    change_config(folder, model_type="bert")
    check_refused(lambda: BaseWeights.open(folder), r"this bert model has no bert\.encoder\.layer")
    change_config(folder, model_type="mamba")
    check_refused(lambda: BaseWeights.open(folder), "model type 'mamba' is not in the table of architectures")
    change_config(folder, model_type="gpt2")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({k: v for k, v in config.items() if k != "n_embd"}))
    check_refused(lambda: BaseWeights.open(folder).projection(0, "q"), "hidden_size")


# ---------------------------------------------------------------------------------- the hub

REPOSITORY, COMMIT = "org/tiny", "c0ffee" * 6 + "c0ff"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache of the hub, without a network; gives the folder of the repository's files."""
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    repository = tmp_path / "cache" / "models--org--tiny"
    snapshot = repository / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    return snapshot


def test_from_the_local_cache(saved, cache):
    model, folder = saved("llama", shards="15KB")
    shutil.copytree(folder, cache, dirs_exist_ok=True)
    weights = BaseWeights.open(REPOSITORY)
    check_equal(weights, model)
    assert weights.checkpoint.revision == COMMIT
    assert weights.sha256() is None
    check_equal(BaseWeights.open(REPOSITORY, revision=COMMIT), model)


def test_what_the_cache_lacks_is_one_line_without_a_network(saved, cache):
    check_refused(
        lambda: BaseWeights.open(REPOSITORY), r"config\.json is not in the local cache.*hf download org/tiny"
    )
    check_refused(lambda: BaseWeights.open(REPOSITORY, revision="v2"), "not in the local cache")
    check_refused(lambda: BaseWeights.open("no such model"), "not in the local cache")
    _, folder = saved("gpt2", shards="15KB")
    shutil.copy(folder / "config.json", cache)
    check_refused(lambda: BaseWeights.open(REPOSITORY), r"model\.safetensors or .*bin\.index\.json is not in")
    shutil.copy(folder / "model.safetensors.index.json", cache)
    weights = BaseWeights.open(REPOSITORY)
    check_refused(lambda: weights.projection(0, "q"), r"model-0000.*hf download org/tiny")


def test_only_what_is_needed_is_downloaded_and_of_one_commit(saved, cache, monkeypatch):
    from huggingface_hub.errors import RemoteEntryNotFoundError

    model, folder = saved("bert", shards="15KB")
    asked = []

    def download(repository, name, revision=None):
        asked.append((name, revision))
        if not (folder / name).is_file():
            raise RemoteEntryNotFoundError("404", response=SimpleNamespace(headers={}, request=None))
        return shutil.copy(folder / name, cache / name)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    weights = BaseWeights.open(REPOSITORY)
    (cache.parent.parent / "refs" / "main").write_text("0" * 40)  # the branch moves on; this model does not
    assert torch.equal(weights.projection(1, "up"), lora.projection(model, 1, "up"))
    weights.projection(1, "up")
    index = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
    assert asked == [
        ("config.json", None),
        ("model.safetensors", COMMIT),
        ("model.safetensors.index.json", COMMIT),
        (index["bert.encoder.layer.1.intermediate.dense.weight"], COMMIT),
    ]
    asked.clear()
    (folder / "config.json").unlink()
    (cache / "config.json").unlink()
    check_refused(lambda: BaseWeights.open(REPOSITORY), r"the hub has no config\.json there")


# ---------------------------------------------------------------------------------- the digest in run.json


def test_one_file_is_called_by_its_sha256(saved):
    _, folder = saved("gpt2")
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    weights = BaseWeights.open(folder)
    assert weights.sha256() == digest
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes() + b"\0")
    assert weights.sha256() != digest


def test_several_files_are_called_as_experiments_calls_them(saved):
    _, folder = saved("gpt2", shards="15KB")
    (folder / "README.md").write_text("not counted")
    (folder / ".cache").mkdir()
    (folder / ".cache" / "file").write_text("not counted")
    (folder / "sub").mkdir()
    (folder / "sub" / "file").write_text("not counted")
    weights = BaseWeights.open(folder)
    assert weights.sha256() == weights_sha256(folder)
    assert weights.has_sha256(weights_sha256(folder))
    assert weights.has_sha256(content_identity(folder))  # in records of before
    assert not weights.has_sha256("0" * 16)


# ---------------------------------------------------------------------------------- .bin


def pickled(model, folder, shards=0, legacy=False):
    """The same checkpoint with its weights as .bin: one file, or as many as `shards` with an index."""
    for path in folder.glob("model*.safetensors*"):
        path.unlink()
    tensors = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    if not shards:
        torch.save(tensors, folder / "pytorch_model.bin", _use_new_zipfile_serialization=not legacy)
        return folder
    index = {}
    for number in range(shards):
        part = dict(list(tensors.items())[number::shards])
        name = f"pytorch_model-{number + 1:05}-of-{shards:05}.bin"
        torch.save(part, folder / name)
        index |= dict.fromkeys(part, name)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": index}))
    return folder


@pytest.mark.parametrize("form", [{}, {"legacy": True}, {"shards": 3}])
@pytest.mark.parametrize("kind", ["gpt2", "gpt2-backbone", "roberta", "gpt-neox", "llama"])
def test_a_bin_checkpoint_has_the_numbers_of_its_safetensors(saved, kind, form):
    model, folder = saved(kind)
    check_equal(BaseWeights.open(folder), model)
    pickled(model, folder, **form)
    weights = BaseWeights.open(folder)
    check_equal(weights, model)
    if "shards" not in form:
        assert weights.sha256() == hashlib.sha256((folder / "pytorch_model.bin").read_bytes()).hexdigest()


def test_safetensors_beside_a_bin_are_read(saved):
    """As training does."""
    model, folder = saved("bert")
    torch.save({"other": torch.ones(1)}, folder / "pytorch_model.bin")
    check_equal(BaseWeights.open(folder), model)


class Program:
    def __reduce__(self):
        return print, ("run",)


def test_a_bin_that_is_no_file_of_tensors(saved, capsys):
    model, folder = saved("gpt2")
    path = pickled(model, folder) / "pytorch_model.bin"
    whole = path.read_bytes()
    for content in (whole[:200], b"", b"\x00" * 99):
        path.write_bytes(content)
        check_refused(lambda: BaseWeights.open(folder), r"model\.bin: not a file of tensors alone, or not")
    torch.save({"transformer.h.0.attn.c_attn.weight": Program()}, path)
    check_refused(lambda: BaseWeights.open(folder), "not a file of tensors alone.*save the model as safet")
    assert capsys.readouterr().out == ""
    torch.save([torch.ones(1)], path)
    check_refused(lambda: BaseWeights.open(folder), "holds no tensors by name")


# ---------------------------------------------------------------------------------- where a run's base is


def recorded(folder, name):
    return {"name": name, "revision": None, "sha256": weights_sha256(folder), "path": str(folder)}


def test_a_folder_with_a_relative_name_is_found_from_elsewhere(saved, tmp_path, monkeypatch):
    _, folder = saved("gpt2")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert Checkpoint.recorded(recorded(folder, "models/base")) == str(folder)
    monkeypatch.chdir(tmp_path)
    told = recorded(folder, "base") | {"path": str(tmp_path / "gone")}
    assert Checkpoint.recorded(told) == "base"
    del told["path"]  # in records of before
    assert Checkpoint.recorded(told) == "base"
    monkeypatch.chdir(tmp_path / "elsewhere")
    check_refused(lambda: Checkpoint.recorded(told), r"base: there is no such folder any more.*--base FOLDER")
    told = recorded(folder, "base") | {"path": str(tmp_path / "gone")}
    check_refused(lambda: Checkpoint.recorded(told), r"gone: there is no such folder any more")


def test_what_is_no_folder_is_asked_for_by_its_name():
    for name, sha256 in (("org/model", None), ("embedded", "0" * 64)):
        assert Checkpoint.recorded({"name": name, "revision": None, "sha256": sha256}) == name
