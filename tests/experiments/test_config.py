"""Wrong values end in one line that names the valid ones; the address depends on the science alone."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
from pathlib import Path

import pytest
import yaml

from experiments.config import (
    CONF,
    ModelConfig,
    RunConfig,
    TaskConfig,
    WandbConfig,
    digest,
    read_config,
)
from experiments.errors import UserError, nearest
from experiments.keys import choices_of, keys
from tests.settings import VALUES, changed

DEFAULTS = VALUES | {
    "study": "default",
    "lr": 0.005,
    "batch_size": 32,
    "precision": "auto",
    "device": "auto",
    "model": {"name": "embedded", "budget": {"steps": 400}},
    "task": {"name": "sql", "seed": 0, "train": 100, "dev": 10, "test": 10},
    "wandb": VALUES["wandb"] | {"mode": "auto"},
}


def values(**changes):
    return changed(changes, DEFAULTS)


def address(**changes):
    return digest(read_config(values(**changes)).scientific("float32", "model", "task"))


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("targets", "qx", "'x' is unknown"),
        ("rank", 0, "at least 1"),
        ("rank", {"q": 4}, "none given for target 'v'"),
        ("rank", 2.5, "integer"),
        ("alpha", -1, "alpha=-1 is not valid; give a number above 0"),
        ("scaling", "alpha/2", "alpha/r, 1/r, alpha/sqrt"),
        ("method", "loar", "did you mean lora"),
        ("task.name", "sqll", "did you mean sql"),
        ("init", "zeros", "gaussian, kaiming"),
        ("bias", "some", "none, lora_only, all"),
        ("lr", 0, "above 0"),
        ("lr", "fast", "a number"),
        ("dropout", 1.0, "below 1"),
        ("batch_size", 0, "at least 1"),
        ("steps", -3, "at least 1"),
        ("seed", True, "integer"),
        ("precision", "fp8", "auto, float32, bfloat16"),
        ("force", "yes", "true or false"),
        ("study", "../x", "names a folder"),
        ("wandb.mode", "off", "auto, online, offline, disabled"),
        ("task.train", 0, "at least 1"),
        ("lr", float("nan"), "lr=nan is not valid; give a number above 0"),
        ("lr", True, "lr=True is not valid; give a number above 0"),
        ("dropout", -0.1, "of at least 0 and below 1"),
        ("steps", "many", "steps=many is not valid; give an integer of at least 1, or null"),
        ("device", None, "device=None is not valid; valid are auto, cpu, cuda, cuda:1 and so on, mps"),
        ("device", "tpu", "device=tpu is not valid; valid are auto, cpu, cuda, cuda:1 and so on, mps"),
        ("model.max_length", 4, "model.max_length=4 is not valid; give an integer of at least 8, or null"),
        ("wandb.entity", True, "wandb.entity=True is not valid; give text, or null"),
    ],
)
def test_wrong_value_is_one_line_that_names_the_valid_ones(key, value, says):
    with pytest.raises(UserError, match=says) as caught:
        read_config(values(**{key: value}))
    assert "\n" not in str(caught.value)


def test_budget_is_steps_or_epochs_or_the_models():
    assert read_config(values()).steps == 400
    assert read_config(values(epochs=2)).steps is None
    assert read_config(values(epochs=2)).epochs == 2.0
    with pytest.raises(UserError, match="both given"):
        read_config(values(epochs=2, steps=10))
    with pytest.raises(UserError, match="no default"):
        read_config(values(**{"model.budget": {}}))


def test_targets_and_ranks_are_normalised():
    assert address(targets="vq") == address(targets="qv") == address(targets=["q", "v"])
    assert address(rank={"v": 8, "q": 8}) == address(rank=8)
    assert address(rank={"v": 4, "q": 8}) != address(rank=8)


@pytest.mark.parametrize(
    "changes",
    [
        {"study": "other"},
        {"device": "cpu"},
        {"force": True},
        {"log_every": 1},
        {"wandb.mode": "disabled"},
        {"root": "elsewhere"},
        {"steps": 400},
        {"alpha": 8.0},
    ],
)
def test_address_ignores_what_does_not_change_the_numbers(changes):
    assert address(**changes) == address()


def test_address_ignores_where_the_data_lies():
    here, there = ({"task.name": "jsonl", "task.path": path} for path in ("here", "there"))
    assert address(**here) == address(**there)
    assert address(**here) != address(**here, **{"task.metric": "token_f1"})


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"rank": 4},
        {"targets": "q"},
        {"alpha": 16},
        {"lr": 0.001},
        {"steps": 401},
        {"batch_size": 16},
        {"task.train": 99},
        {"task.seed": 1},
        {"method": "full"},
        {"dropout": 0.1},
        {"scaling": "1/r"},
        {"eval_every": 100},
    ],
)
def test_address_changes_with_what_changes_the_numbers(changes):
    assert address(**changes) != address()


def test_rank_does_not_matter_where_it_is_not_used():
    assert address(method="full", rank=1) == address(method="full", rank=2)


PINNED = [
    ({}, "sql-embedded-qv-r8-lr0.005-seed0", "7ab7dcbea8"),
    ({"seed": 3}, "sql-embedded-qv-r8-lr0.005-seed3", "b6a6b08772"),
    ({"targets": "q", "rank": 1}, "sql-embedded-q-r1-lr0.005-seed0", "e0192b65b7"),
    ({"targets": "qkvo", "rank": 64, "seed": 4}, "sql-embedded-qkvo-r64-lr0.005-seed4", "58a7baa34a"),
    ({"rank": {"q": 4, "v": 8}}, "sql-embedded-qv-rq4-v8-lr0.005-seed0", "a7587179c7"),
    ({"targets": ["q", "up"], "rank": 2}, "sql-embedded-q-up-r2-lr0.005-seed0", "89df22c552"),
    ({"alpha": 16, "scaling": "alpha/sqrt(r)"}, "sql-embedded-qv-r8-lr0.005-seed0", "34f160b85e"),
    (
        {"scaling": "1/r", "init": "kaiming", "dropout": 0.1, "bias": "all"},
        "sql-embedded-qv-r8-lr0.005-seed0",
        "f03eea862e",
    ),
    (
        {
            "lr": 0.0002,
            "epochs": 5,
            "batch_size": 8,
            "warmup": 500,
            "weight_decay": 0.01,
            "clip": 0.0,
            "label_smoothing": 0.1,
        },
        "sql-embedded-qv-r8-lr0.0002-seed0",
        "e0b749e4ee",
    ),
    (
        {
            "steps": 7,
            "accumulate": 2,
            "eval_every": 100,
            "log_every": 1,
            "precision": "bfloat16",
            "device": "cuda",
            "force": True,
            "study": "other",
        },
        "sql-embedded-qv-r8-lr0.005-seed0",
        "ce304f3b87",
    ),
    (
        {"task.name": "nli", "task.seed": 2, "task.train": None},
        "nli-embedded-qv-r8-lr0.005-seed0",
        "9faa0c7ae4",
    ),
    (
        {"task.name": "mnli", "task.holdout": 100, "task.path": "x"},
        "mnli-embedded-qv-r8-lr0.005-seed0",
        "c9158b1fca",
    ),
    ({"task.name": "wikisql"}, "wikisql-embedded-qv-r8-lr0.005-seed0", "2e86c5250f"),
    (
        {"model.name": "/models/gpt2/", "model.revision": "v2", "model.max_length": 128},
        "sql-gpt2-qv-r8-lr0.005-seed0",
        "eb719faac7",
    ),
    ({"method": "full"}, "sql-embedded-full-lr0.005-seed0", "01567fa24c"),
    (
        {"method": "full", "targets": "qkvo", "rank": 2, "lr": 0.0005},
        "sql-embedded-full-lr0.0005-seed0",
        "738fdf9151",
    ),
    (
        {"method": "full", "task.name": "nli", "seed": 1, "eval_every": 50},
        "nli-embedded-full-lr0.005-seed1",
        "f0d846e690",
    ),
    ({"method": "full", "task.name": "mnli", "alpha": 2}, "mnli-embedded-full-lr0.005-seed0", "7919ccba69"),
    ({"method": "bias"}, "sql-embedded-bias-lr0.005-seed0", "bdd0ede02e"),
    (
        {"method": "bias", "targets": "o", "lr": 0.01, "seed": 2},
        "sql-embedded-bias-lr0.01-seed2",
        "1d97d16f99",
    ),
    (
        {"method": "bias", "task.name": "mnli", "steps": 9, "model.max_length": 64},
        "mnli-embedded-bias-lr0.005-seed0",
        "c3aa2a4e0a",
    ),
    ({"method": "bias", "bias": "all", "epochs": 2.5}, "sql-embedded-bias-lr0.005-seed0", "983b9ff995"),
    ({"method": "none"}, "sql-embedded-none-seed0", "8df9f80095"),
    ({"method": "none", "lr": 1.0, "seed": 5, "targets": "k"}, "sql-embedded-none-seed5", "d7a6753f64"),
    ({"method": "none", "task.name": "nli", "eval_every": 3}, "nli-embedded-none-seed0", "c4dfea378a"),
    (
        {"method": "none", "task.name": "mnli", "model.max_length": 64},
        "mnli-embedded-none-seed0",
        "058d607f39",
    ),
]
"""Names and addresses of version 2 of the science: those of runs that people have."""


@pytest.mark.parametrize(("changes", "name", "address"), PINNED)
def test_names_and_addresses_stay(changes, name, address):
    config = read_config(values(**changes))
    assert config.readable_name() == name
    assert digest(config.scientific("float32", "model", "task")) == address


def test_readable_name():
    assert read_config(values()).readable_name() == "sql-embedded-qv-r8-lr0.005-seed0"
    mixed = read_config(values(targets="qv", rank={"q": 4, "v": 8}, **{"model.name": "/models/gpt2/"}))
    assert mixed.readable_name() == "sql-gpt2-qv-rq4-v8-lr0.005-seed0"
    assert read_config(values(method="full")).readable_name() == "sql-embedded-full-lr0.005-seed0"
    assert isinstance(mixed.root, Path)


@pytest.fixture
def sized(tmp_path):
    """`sized(model_type="llama", ...)`: a model of which there is nothing but config.json."""

    def write(**sizes):
        (tmp_path / "config.json").write_text(json.dumps(sizes))
        return {"model.name": str(tmp_path)}

    return write


@pytest.fixture
def square(sized):
    """3 layers, d = 64: one rank of one letter costs 384 parameters."""
    return sized(model_type="gpt2", n_embd=64, n_head=4, n_layer=3)


def test_a_run_found_by_budget_is_the_run_found_by_rank(square):
    for targets, rank in (("q", 8), ("k", 8), ("qv", 4), ("qkvo", 2)):
        assert read_config(values(targets=targets, budget="q8", **square)).rank == dict.fromkeys(
            targets, rank
        )
        assert address(targets=targets, budget="q8", **square) == address(
            targets=targets, rank=rank, **square
        )
    found = address(targets="q", budget=8 * 384, rank=3, **square)
    assert found == address(targets="q", rank=8, **square)
    assert address(budget=None) == address()


def test_a_budget_is_of_the_model_at_hand(sized):
    """As Llama has it: W_k and W_v have a quarter of W_q's rows."""
    heads = {"num_attention_heads": 8, "num_key_value_heads": 2}
    llama = sized(model_type="llama", hidden_size=64, intermediate_size=96, num_hidden_layers=3, **heads)
    ranks = {
        targets: read_config(values(targets=targets, budget="q8", **llama)).rank
        for targets in ("q", "k", "qv", "qkvo")
    }
    # 8 * 128 parameters a layer; one rank of W_k is 16 + 64
    assert ranks == {
        "q": {"q": 8},
        "k": {"k": 13},
        "qv": {"q": 5, "v": 5},
        "qkvo": {"q": 2, "k": 2, "v": 2, "o": 2},
    }


def test_other_methods_have_no_use_for_a_budget():
    assert address(method="full", budget="q8") == address(method="full")


@pytest.mark.parametrize(
    ("budget", "says"),
    [
        ("x8", "'x' is not a projection"),
        ("eight", "such as q8: what W_q alone costs"),
        (0, "budget=0 is not valid"),
        (100, "too small for targets=qv: r=1 costs 768"),
        (10_000_000, "a full rank of 64 costs 49,152"),
    ],
)
def test_a_wrong_budget_is_one_line(square, budget, says):
    with pytest.raises(UserError) as error:
        read_config(values(budget=budget, **square))
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_targets_can_be_those_that_rank_names():
    mixed = read_config(values(targets=None, rank={"v": 8, "q": 4}))
    assert (mixed.targets, mixed.rank) == (("q", "v"), {"q": 4, "v": 8})
    assert address(targets=None, rank={"v": 2, "q": 2}) == address(targets="qv", rank=2)
    with pytest.raises(UserError, match="targets=null means the letters that rank names, and it names none"):
        read_config(values(targets=None))


@pytest.mark.parametrize(
    ("word", "hint"),
    [("tabel5", "; did you mean table5?"), ("fig6", ""), ("table8", ""), ("loss", ""), ("fig3", "fig3?")],
)
def test_the_nearest_choice_is_named_where_there_is_one(word, hint):
    found = nearest(word, ["fig3", "fig4", "table5", "table6", "table7"])
    assert found.endswith(hint)
    assert bool(found) == bool(hint)


# ------------------------------------------------------------------------------------------- the declaration


def test_every_key_of_the_configuration_is_declared_and_none_else():
    written = yaml.safe_load((CONF / "config.yaml").read_text(encoding="utf-8"))
    assert written.keys() - {"defaults", "hydra"} | {"model", "task"} == keys(RunConfig).keys() | {"budget"}
    assert written["wandb"].keys() == keys(WandbConfig).keys()
    for group, part, others in (
        ("task", TaskConfig, set()),
        ("model", ModelConfig, {"budget", "lr", "warmup"}),
    ):
        for file in (CONF / group).glob("*.yaml"):
            values = yaml.safe_load(file.read_text(encoding="utf-8"))
            assert values.get("model", values).keys() <= keys(part).keys() | others | {"defaults"}, file


def test_the_choices_are_those_of_the_code_that_takes_them():
    from experiments.wandb_run import MODES
    from lora.adapter import INITS
    from lora.adapting import BIASES
    from lora.targets import SCALINGS

    declared = keys(RunConfig)
    assert choices_of(declared["init"]) == INITS
    assert choices_of(declared["bias"]) == BIASES
    assert choices_of(declared["scaling"]) == SCALINGS
    assert choices_of(keys(WandbConfig)["mode"]) == MODES
    assert choices_of(declared["alpha"]) == ()


def test_a_configuration_goes_to_other_processes_and_its_parts_are_keys_of_caches():
    config = read_config(values(rank={"q": 4, "v": 8}, **{"model.max_length": 64}))
    assert pickle.loads(pickle.dumps(config)) == config == copy.deepcopy(config)
    assert dataclasses.replace(config, seed=1) == read_config(
        values(rank={"q": 4, "v": 8}, seed=1, **{"model.max_length": 64})
    )
    assert (
        len({config.model, copy.deepcopy(config.model), config.task, pickle.loads(pickle.dumps(config.task))})
        == 2
    )
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.seed = 1


@pytest.mark.parametrize(
    "make",
    [
        lambda: TaskConfig("sql", trian=5),
        lambda: TaskConfig("sql", train=0),
        lambda: ModelConfig("embedded", max_length="long"),
        lambda: ModelConfig(),
        lambda: dataclasses.replace(read_config(values()), lr=-1.0),
    ],
)
def test_what_is_not_declared_or_not_valid_is_refused_in_code_too(make):
    with pytest.raises(ValueError, match="validation error"):
        make()


def test_numbers_that_are_names_are_taken_as_text():
    config = read_config(values(**{"model.name": 2024, "model.revision": 1234567}))
    assert (config.model.name, config.model.revision) == ("2024", "1234567")
