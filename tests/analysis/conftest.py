"""Tiny random models of each architecture, and studies of tiny runs made through the run store itself."""

from __future__ import annotations

import pytest
import torch

from analysis.errors import AnalysisError
from tests.settings import VALUES, changed

DEFAULTS = VALUES | {
    "study": "ranks",
    "rank": 4,
    "lr": 0.02,
    "steps": 600,
    "model": {"name": "embedded", "revision": None, "max_length": None, "budget": {"steps": 600}},
    "task": {"name": "sql", "seed": 0, "train": 8000, "dev": 500, "test": 1000},
}
"""The defaults of run.py for the embedded model, but for rank."""


def check_refused(act, message):
    """What `act` does is refused in one line with this message."""
    with pytest.raises(AnalysisError, match=message) as error:
        act()
    assert "\n" not in str(error.value)


@pytest.fixture(autouse=True)
def no_wandb(monkeypatch):
    """Nothing goes to W&B, whatever the machine is set to."""
    monkeypatch.setenv("WANDB_MODE", "disabled")


@pytest.fixture
def tiny():
    """`tiny("gpt2")`: a random model of 2 layers and width 32, the same one for the same name and seed."""

    def build(kind, seed=0, **changes):
        import transformers

        torch.manual_seed(seed)
        gpt2 = {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 29, "n_positions": 16}
        gpt2 |= {"bos_token_id": 0, "eos_token_id": 0}
        other = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 29}
        other |= {"intermediate_size": 80, "max_position_embeddings": 16}
        name, settings = {
            "gpt2": ("GPT2LMHeadModel", gpt2),
            "gpt2-backbone": ("GPT2Model", gpt2),
            "bert": ("BertForMaskedLM", other),
            "roberta": ("RobertaForSequenceClassification", other),
            "roberta-backbone": ("RobertaModel", other),
            "gpt-neox": ("GPTNeoXForCausalLM", other),
            "llama": ("LlamaForCausalLM", other | {"num_key_value_heads": 2}),
            "llama-backbone": ("LlamaModel", other | {"num_key_value_heads": 2}),
            "mistral": ("MistralForCausalLM", other | {"num_key_value_heads": 1}),
            "qwen2": ("Qwen2ForCausalLM", other | {"num_key_value_heads": 2}),
            "qwen3": ("Qwen3ForCausalLM", other | {"num_key_value_heads": 2, "head_dim": 6}),
        }[kind]
        model_class = getattr(transformers, name)
        return model_class(model_class.config_class(**settings | changes)).eval()

    return build


@pytest.fixture
def saved(tiny, tmp_path):
    """`saved("gpt2")`: the tiny model and the folder that its checkpoint is in."""

    def save(kind, folder="base", dtype=None, shards=None, **changes):
        model = tiny(kind, **changes)
        model = model if dtype is None else model.to(dtype)
        model.save_pretrained(tmp_path / folder, **({"max_shard_size": shards} if shards else {}))
        return model, tmp_path / folder

    return save


@pytest.fixture
def random_adapter():
    """`random_adapter(model, targets="qv", rank=4)`: the model adapted, with B nonzero."""
    import lora

    def adapt(model, b_seed=1, **settings):
        lora.adapt(model, **settings)
        generator = torch.Generator().manual_seed(b_seed)
        with torch.no_grad():
            for adapter in lora.adapters(model).values():
                adapter.lora_B.copy_(torch.randn(adapter.lora_B.shape, generator=generator))
        return model

    return adapt


@pytest.fixture
def outputs(tmp_path):
    return tmp_path / "outputs"


@pytest.fixture
def make_run(tiny, random_adapter, outputs):
    """`make_run(rank=8, **{"task.name": "nli"})`: a finished run in the store, as experiments leaves it.

    The changes are of run.py's keys; `record` changes what run.json says besides.
    """
    import lora
    from experiments.config import digest, read_config
    from experiments.store import ADAPTER, ADAPTER_BEST, ADAPTER_INIT, DELTA, DELTA_BEST, RunFolder

    def build(record=(), **changes):
        config = read_config(changed(changes, DEFAULTS))
        scientific = config.scientific(config.precision, "embedded:0123", "generated:4567")
        folder = RunFolder.of(outputs, config.study, config.readable_name(), digest(scientific))
        with folder.lock():
            workspace = folder.begin()
            counts = {"adapter": 0, "head": 0, "bias": 0, "total": 3514880, "trainable": 11520}
            if config.method == "lora":
                choice = {"targets": config.targets, "rank": config.rank, "alpha": config.alpha}
                choice |= {"scaling": config.scaling, "seed": config.seed}
                lora.save(lora.adapt(tiny("gpt2"), **choice), workspace.file(ADAPTER_INIT))
                for number, name in enumerate((ADAPTER, ADAPTER_BEST)):
                    adapted = random_adapter(tiny("gpt2"), b_seed=100 * config.seed + number, **choice)
                    lora.save(adapted, workspace.file(name))
                counts = lora.parameter_counts(adapted)
            elif config.method == "full":
                from safetensors.torch import save_file

                keys = [f"layers.{layer}.{letter}.dW" for layer in (0, 1) for letter in config.targets]
                for number, name in enumerate((DELTA, DELTA_BEST)):
                    tensors = {
                        key: torch.full((32, 32), float(10 * number + i))
                        for i, key in enumerate(keys, start=1)
                    }
                    metadata = {"format": "lora-delta", "version": "1"}
                    save_file(tensors, workspace.file(name), metadata=metadata)
            scores = {"logical_form_accuracy": 0.5 + config.seed / 100, "execution_accuracy": 0.6}
            last = {"step": 600, "dev": scores, "test": {"logical_form_accuracy": 0.25}}
            content = {
                "name": config.readable_name(),
                "study": config.study,
                "config": scientific,
                "metric": "logical_form_accuracy",
                "metrics": {"last": last, "best": last | {"step": 300, "chosen_on": "dev"}},
                "parameters": counts,
                "timing": {"seconds": 57.5, "seconds_training": 50.0},
                "model": {"name": config.model.name, "revision": None, "sha256": None},
            }
            folder.publish(workspace, content | dict(record))
        return folder

    return build
