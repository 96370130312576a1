"""Wrong values end in one line that names the valid ones; the address depends on the science alone."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest

from experiments.config import content_identity, digest, read_config
from experiments.errors import UserError

VALUES = {
    "study": "default",
    "seed": 0,
    "method": "lora",
    "targets": "qv",
    "rank": 8,
    "alpha": 8,
    "scaling": "alpha/r",
    "init": "gaussian",
    "dropout": 0.0,
    "bias": "none",
    "lr": 0.005,
    "steps": None,
    "epochs": None,
    "batch_size": 32,
    "accumulate": 1,
    "warmup": 0.06,
    "weight_decay": 0.0,
    "clip": 1.0,
    "label_smoothing": 0.0,
    "eval_every": None,
    "log_every": 10,
    "precision": "auto",
    "device": "auto",
    "force": False,
    "root": "outputs",
    "model": {"name": "embedded", "budget": {"steps": 400}},
    "task": {"name": "sql", "seed": 0, "train": 100, "dev": 10, "test": 10},
    "wandb": {"mode": "auto", "project": "p", "entity": None, "tags": []},
}


def values(**changes):
    changed = copy.deepcopy(VALUES)
    for key, value in changes.items():
        node = changed
        *path, last = key.split(".")
        for step in path:
            node = node[step]
        node[last] = value
    return changed


def address(**changes):
    return digest(read_config(values(**changes)).scientific("float32", "model", "task"))


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("targets", "qx", "'x' is unknown"),
        ("rank", 0, "at least 1"),
        ("rank", {"q": 4}, "none given for target 'v'"),
        ("rank", 2.5, "integer"),
        ("alpha", -1, "positive"),
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
        {"task.path": "moved"},
    ],
)
def test_address_ignores_what_does_not_change_the_numbers(changes):
    assert address(**changes) == address()


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


def test_identity_is_the_content_not_the_place(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name / "sub").mkdir(parents=True)
        (tmp_path / name / "sub" / "x.json").write_text("1")
    assert content_identity(tmp_path / "a") == content_identity(tmp_path / "b")
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "x.json").write_text("1")
    assert content_identity(tmp_path / "c") != content_identity(tmp_path / "a")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "x.json").write_text("2")
    assert content_identity(tmp_path / "d") != content_identity(tmp_path / "c")


def test_readable_name():
    assert read_config(values()).readable_name() == "sql-embedded-qv-r8-lr0.005-seed0"
    mixed = read_config(values(targets="qv", rank={"q": 4, "v": 8}, **{"model.name": "/models/gpt2/"}))
    assert mixed.readable_name() == "sql-gpt2-qv-rq4-v8-lr0.005-seed0"
    assert read_config(values(method="full")).readable_name() == "sql-embedded-full-lr0.005-seed0"
    assert isinstance(mixed.root, Path)
