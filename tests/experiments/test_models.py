"""Which checkpoints load, under which name a run knows them, and what is said of those that do not."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
import sys
from fractions import Fraction

import pytest
import torch

from experiments.config import ModelConfig
from experiments.errors import UserError
from experiments.identity import checkpoint_identity, file_sha256, weight_files, weights_sha256
from experiments.models import load_base, model_identity, projection_shapes
from experiments.text_objective import TextObjective

CPU = torch.device("cpu")


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


def test_identity_leaves_out_what_does_not_change_the_numbers(copied):
    folder = copied()
    before = checkpoint_identity(folder)
    for name in (
        "README.md",
        "LICENSE.txt",
        "optimizer.pt",
        "training_args.bin",
        "trainer_state.json",
        "tf.h5",
    ):
        (folder / name).write_text("{}")
    (folder / "generation_config.json").write_text('{"repetition_penalty": 1.2}')
    torch.save({}, folder / "pytorch_model.bin")  # safetensors come first
    for name in (".cache", "checkpoint-5", "runs"):
        (folder / name).mkdir()
        (folder / name / "model.safetensors").write_text("other")
    checkpoint_identity.cache_clear()
    assert checkpoint_identity(folder) == before
    for name in ("tokenizer.json", "tokenizer_config.json", "config.json", "model.safetensors"):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content + b" ")
        checkpoint_identity.cache_clear()
        assert checkpoint_identity(folder) != before
        (folder / name).write_bytes(content)
    (folder / "added_tokens.json").write_text("{}")
    checkpoint_identity.cache_clear()
    assert checkpoint_identity(folder) != before


def test_identity_of_shards(tmp_path):
    """Those of the index count, in either format; without a weight of their own nothing else does."""
    index = {"weight_map": {"a": "part-1.bin", "b": "part-2.bin", "c": "part-1.bin"}}
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    for name in ("part-1.bin", "part-2.bin", "part-3.bin"):
        (tmp_path / name).write_text(name)
    assert [path.name for path in weight_files(tmp_path)] == ["part-1.bin", "part-2.bin"]
    before = checkpoint_identity(tmp_path), weights_sha256(tmp_path)
    (tmp_path / "part-3.bin").write_text("other")
    checkpoint_identity.cache_clear()
    assert (checkpoint_identity(tmp_path), weights_sha256(tmp_path)) == before
    (tmp_path / "part-2.bin").write_text("other")
    checkpoint_identity.cache_clear()
    assert checkpoint_identity(tmp_path) != before[0]
    assert weights_sha256(tmp_path) != before[1]


def test_the_embedded_models_identity_is_that_of_its_runs():
    """What results/embedded is addressed by."""
    assert model_identity(ModelConfig("embedded")) == "embedded:e8f2533d3670a54a"


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


def encoder_folder(folder, tiny_kind="Roberta", head="MaskedLM", **changes):
    import transformers

    settings = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    settings |= {"vocab_size": 60, "max_position_embeddings": 40}
    model_class = getattr(transformers, f"{tiny_kind}For{head}")
    model = model_class(model_class.config_class(**settings | changes))
    model.save_pretrained(folder)


def test_encoder_cannot_write_queries(tmp_path):
    encoder_folder(tmp_path / "m")
    with pytest.raises(UserError, match=r"cannot write text; choose.*task=nli"):
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


# ------------------------------------------------------------------------------------------- tokenizers


@pytest.fixture
def copied(gpt2_folder, tmp_path):
    """`copied(**{"config.json": {...}})`: the tiny GPT-2's folder, with settings changed in its files."""

    def copy(name="m", **files):
        folder = tmp_path / name
        shutil.copytree(gpt2_folder, folder)
        for file, changes in files.items():
            path = folder / file
            settings = json.loads(path.read_text()) if path.is_file() else {}
            path.write_text(json.dumps(settings | changes))
        return folder

    return copy


def refused(folder, says, labels=None):
    with pytest.raises(UserError, match=says) as caught:
        load_base(ModelConfig(str(folder)), labels)
    assert "\n" not in str(caught.value)


def test_a_gpt2_without_tokenizer_files(copied):
    folder = copied()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    refused(folder, r"no tokenizer; put its files .*: tokenizer\.json, or vocab\.json and merges\.txt$")
    (folder / "vocab.json").write_text('{"a": 0, "b": 1, "<|endoftext|>": 2}')
    refused(folder, r"vocab\.json and merges\.txt \(there is no merges\.txt\)")


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("Bert", r"tokenizer\.json, or vocab\.txt"),
        ("Roberta", r"tokenizer\.json, or vocab\.json and merges\.txt"),
        ("XLMRoberta", r"tokenizer\.json, or sentencepiece\.bpe\.model"),
    ],
)
def test_an_encoder_without_tokenizer_files(kind, says, tmp_path):
    encoder_folder(tmp_path / "m", kind)
    refused(tmp_path / "m", says, labels=3)


def test_a_tokenizer_of_special_tokens_alone(copied, tmp_path):
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    folder = copied()
    empty = Tokenizer(WordLevel({"<unk>": 0, "<eos>": 1}, unk_token="<unk>"))
    PreTrainedTokenizerFast(tokenizer_object=empty, unk_token="<unk>", eos_token="<eos>").save_pretrained(
        folder
    )
    refused(folder, r"the checkpoint has no tokenizer; put its files beside the weights: tokenizer\.json")


def test_a_tokenizer_of_sentencepiece_without_the_package(tmp_path, monkeypatch):
    """The library then speaks of tiktoken."""
    encoder_folder(tmp_path / "m", "DebertaV2")
    (tmp_path / "m" / "spm.model").write_bytes(b"\x0a\x0b")
    monkeypatch.setattr("experiments.tokenizing.find_spec", lambda name: None)
    refused(tmp_path / "m", "is a sentencepiece model; pip install sentencepiece", labels=3)


def test_a_damaged_tokenizer(copied):
    folder = copied()
    (folder / "tokenizer.json").write_text("{")
    refused(folder, "the tokenizer cannot be loaded")


def test_a_text_models_tokenizer_needs_an_end_of_text(copied):
    folder = copied(**{"tokenizer_config.json": {"eos_token": None}})
    refused(
        folder, "the tokenizer has no end-of-text token, with which every answer ends; name it as eos_token"
    )


def test_a_tokenizer_with_ids_beyond_the_table(copied, word_model):
    folder = copied()
    larger = copy.deepcopy(word_model.tokenizer)
    larger.add_tokens(["Zanzibar"])
    larger.save_pretrained(folder)
    rows = len(word_model.tokenizer)
    refused(folder, f"another model's: it has token 'Zanzibar' with id {rows}, and .* table has {rows} rows")


@pytest.mark.parametrize("pad", [None, "[a new one]"])
def test_a_text_model_needs_no_pad_token_of_its_own(copied, word_model, pad, bench):
    """Which id pads is of no account, so that none, and one beyond the table, are the end of text."""
    folder = copied()
    tokenizer = copy.deepcopy(word_model.tokenizer)
    tokenizer.pad_token = None
    if pad:
        tokenizer.add_special_tokens({"pad_token": pad})
        assert tokenizer.pad_token_id == len(word_model.tokenizer)
    tokenizer.padding_side = "left"
    tokenizer.save_pretrained(folder)
    base = load_base(ModelConfig(str(folder)), labels=None)
    assert base.tokenizer.pad_token_id == word_model.tokenizer.eos_token_id
    task = bench("sql").task
    ours = TextObjective(base.tokenizer, task, 96)
    theirs = bench("sql").objective
    batch = theirs.encoded("dev")
    assert [*ours.encoded("dev")] == [*batch]
    assert ours.predict(base.model, batch, CPU) == theirs.predict(word_model.model, batch, CPU)
    torch.testing.assert_close(
        ours.loss(base.model, batch, CPU, 0.0), theirs.loss(word_model.model, batch, CPU, 0.0)
    )


def test_an_encoder_with_a_tokenizer_that_joins_no_sentences(tmp_path, word_model):
    encoder_folder(tmp_path / "m", "Bert", "SequenceClassification", vocab_size=len(word_model.tokenizer))
    word_model.tokenizer.save_pretrained(tmp_path / "m")
    refused(
        tmp_path / "m",
        "sets no marks around and between two sentences, so it is not that of a bert",
        labels=3,
    )


@pytest.mark.parametrize(
    ("model_pad", "tokenizer_pad", "says"),
    [
        (1, "[UNK]", None),
        (1, "[PAD]", "pad_token_id is 1 in config.json and 0 in the tokenizer, and a roberta model counts"),
        (1, None, "pad_token_id is 1 in config.json and missing in the tokenizer"),
        (None, "[PAD]", "pad_token_id is missing in config.json and 0 in the tokenizer"),
    ],
)
def test_roberta_and_its_tokenizer_agree_on_the_pad_token(
    model_pad, tokenizer_pad, says, tmp_path, pair_tokenizer
):
    """Its positions are counted over what is not padding."""
    folder = tmp_path / "m"
    tokenizer = pair_tokenizer(["a"], pad_token=tokenizer_pad)
    encoder_folder(folder, "Roberta", vocab_size=len(tokenizer))
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(settings | {"pad_token_id": model_pad}))
    tokenizer.save_pretrained(folder)
    if says:
        refused(folder, says, labels=3)
    else:
        assert load_base(ModelConfig(str(folder)), labels=3).max_length == 40 - 1 - 1


# ------------------------------------------------------------------------------------------- decoding

STEERING = {
    "repetition_penalty": 5.0,
    "no_repeat_ngram_size": 1,
    "suppress_tokens": [*range(5, 60)],
    "begin_suppress_tokens": [*range(5, 60)],
    "forced_bos_token_id": 7,
    "forced_eos_token_id": 7,
    "bad_words_ids": [[9], [11]],
    "min_length": 300,
    "min_new_tokens": 5,
    "max_length": 3,
    "max_time": 0.0,
    "stop_strings": ["a"],
    "do_sample": True,
    "temperature": 9.0,
    "top_k": 3,
    "top_p": 0.2,
    "num_beams": 3,
    "num_return_sequences": 2,
    "length_penalty": 4.0,
    "exponential_decay_length_penalty": [1, 3.0],
    "diversity_penalty": 1.0,
    "encoder_repetition_penalty": 2.0,
    "guidance_scale": 3.0,
    "sequence_bias": [[[8], 50.0]],
    "eos_token_id": [8, 9],
    "pad_token_id": 8,
    "bos_token_id": 8,
    "use_cache": False,
    "return_dict_in_generate": True,
    "output_scores": True,
    "remove_invalid_values": True,
    "renormalize_logits": True,
    "token_healing": True,
    "prompt_lookup_num_tokens": 3,
}


@pytest.mark.parametrize("file", ["generation_config.json", "config.json"])
@pytest.mark.parametrize(
    "setting", ["repetition_penalty", "num_return_sequences", "suppress_tokens", "eos_token_id", "all"]
)
def test_greedy_is_greedy_whatever_the_checkpoint_says(copied, word_model, bench, setting, file):
    """Settings of generation, in their own file or, as in old checkpoints, in config.json, steer nothing."""
    folder = copied(**{file: STEERING if setting == "all" else {setting: STEERING[setting]}})
    if file == "config.json":
        (folder / "generation_config.json").unlink()
    base = load_base(ModelConfig(str(folder)), labels=None)
    objective = TextObjective(base.tokenizer, bench("sql").task, 96)
    batch = objective.encoded("dev")[:2]
    expected = bench("sql").objective.predict(word_model.model, batch, CPU)
    assert any(expected)
    assert objective.predict(copy.deepcopy(base.model), batch, CPU) == expected


# ------------------------------------------------------------------------------------------- weights


def test_layers_that_config_json_leaves_out_are_not_dropped_in_silence(copied):
    refused(
        copied(**{"config.json": {"n_layer": 1}}), "the checkpoint has 2 layers and its config.json says 1"
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_named(copied, value):
    from safetensors.torch import load_file, save_file

    folder = copied()
    tensors = load_file(folder / "model.safetensors")
    tensors["transformer.h.1.mlp.c_fc.weight"][3, 2] = value
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    refused(
        folder, r"transformer\.h\.1\.mlp\.c_fc\.weight holds NaN or infinity, so the checkpoint is damaged"
    )


def test_a_pickle_that_is_a_program_is_one_line(copied):
    folder = copied()
    (folder / "model.safetensors").unlink()
    torch.save({"transformer.wte.weight": Fraction(1, 2)}, folder / "pytorch_model.bin")
    refused(folder, r"\.bin file is damaged or holds more than tensors.*give the model as safetensors")


def test_a_bin_checkpoint_trains_under_the_address_of_its_content(copied, word_model):
    folder = copied()
    (folder / "model.safetensors").unlink()
    torch.save(word_model.model.state_dict(), folder / "pytorch_model.bin")
    base = load_base(ModelConfig(str(folder)), labels=None)
    assert torch.equal(base.model.transformer.wte.weight, word_model.model.transformer.wte.weight)
    assert base.provenance["sha256"] == file_sha256(folder / "pytorch_model.bin")


def test_an_adapter_beside_the_weights_is_refused(copied):
    refused(copied(**{"adapter_config.json": {}}), r"holds adapter_config\.json, an adapter")


def test_a_folders_place_is_recorded(gpt2_folder, monkeypatch):
    monkeypatch.chdir(gpt2_folder.parent)
    base = load_base(ModelConfig("./tiny-gpt2"), labels=None)
    assert base.provenance["name"] == "./tiny-gpt2"
    assert base.provenance["path"] == str(gpt2_folder.resolve())
    assert "path" not in load_base(ModelConfig("embedded"), labels=None).provenance


def test_another_tasks_head_is_left_out_and_other_shapes_are_told(tmp_path, pair_tokenizer):
    tokenizer = pair_tokenizer(["a"])
    folder = tmp_path / "m"
    encoder_folder(folder, "Bert", "SequenceClassification", vocab_size=len(tokenizer), num_labels=7)
    tokenizer.save_pretrained(folder)
    assert load_base(ModelConfig(str(folder)), labels=3).model.classifier.weight.shape == (3, 16)
    load_base.cache_clear()
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(settings | {"intermediate_size": 31}))
    refused(
        folder, r"lacks 3 weights of a bert model, such as .*intermediate.* another shape there", labels=3
    )


def test_the_hub_is_not_asked_offline_and_that_is_said(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    asked = []
    monkeypatch.setattr("socket.getaddrinfo", lambda *where, **_: asked.append(where))
    with pytest.raises(UserError, match=r"HF_HUB_OFFLINE keeps the hub from being asked; unset it"):
        load_base(ModelConfig("no-such/model"), labels=None)
    assert not asked


@pytest.mark.parametrize("model_type", ["gpt2", "mine"])
def test_code_of_a_checkpoint_is_never_run(copied, tmp_path, model_type):
    """Of a known architecture it is not needed; another one is refused."""
    mark = tmp_path / "mark"
    code = {"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.Own"}
    folder = copied(**{"config.json": {"auto_map": code, "model_type": model_type}})
    (folder / "own.py").write_text(f"open({str(mark)!r}, 'w')\nclass Own: ...\n")
    if model_type == "gpt2":
        assert load_base(ModelConfig(str(folder)), labels=None).model.config.model_type == "gpt2"
    else:
        refused(folder, "whose code lies in the checkpoint, and that is never run; known architectures are")
    assert not mark.exists()


def test_a_model_that_only_the_analysis_knows_says_so(copied):
    settings = {"model_type": "t5", "d_model": 32, "d_kv": 16, "d_ff": 64, "num_heads": 2}
    refused(copied(**{"config.json": settings}), "is a t5 model, which `lora.adapt` adapts and no task here")


def test_it_is_loaded_in_float32_and_what_it_is_stored_in_is_recorded(tmp_path, word_model):
    folder = tmp_path / "m"
    model = copy.deepcopy(word_model.model).to(torch.bfloat16)
    model.config.dequantised_from = "Q4_1"
    model.save_pretrained(folder)
    word_model.tokenizer.save_pretrained(folder)
    base = load_base(ModelConfig(str(folder)), labels=None)
    assert {parameter.dtype for parameter in base.model.parameters()} == {torch.float32}
    assert base.provenance["stored"] == "bfloat16"
    assert base.provenance["dequantised_from"] == "Q4_1"


def test_a_decoder_answers_with_the_likeliest_label(copied):
    """On a task with labels it needs no head, and any checkpoint of a text model will do."""
    from experiments.parts import TaskConfig
    from experiments.tasks import load_task

    task = load_task(TaskConfig("nli", train=4, dev=4, test=2))
    base = load_base(ModelConfig(str(copied())), labels=len(task.labels))
    assert base.generates
    objective = TextObjective(base.tokenizer, task, base.max_length)
    assert set(objective.predict(base.model, objective.encoded("dev")[:], CPU)) <= {*task.labels}
