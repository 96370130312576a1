"""The committed weights are the ones of the manifest; the script rebuilds such a checkpoint."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from experiments.embedded import pretraining
from experiments.embedded.checkpoint import (
    FILES,
    FOLDER,
    WEIGHTS,
    read_checkpoint,
    read_recipe,
    verify,
)

REPOSITORY = Path(__file__).resolve().parent.parent.parent.parent
LIMIT_BYTES = 12_000_000


def test_committed_weights_are_the_manifests():
    assert len(verify()) == 64
    assert (FOLDER / WEIGHTS).stat().st_size <= LIMIT_BYTES
    model, tokenizer = read_checkpoint()
    assert model.config.vocab_size == len(tokenizer) == model.get_input_embeddings().num_embeddings
    assert model.lm_head.weight is model.transformer.wte.weight


def test_committed_vocabulary_is_the_tasks():
    _, tokenizer = read_checkpoint()
    assert tokenizer.get_vocab().keys() == {*pretraining.words(), "<pad>", "<eos>", "<unk>"}


@pytest.mark.parametrize("name", FILES)
def test_damaged_file_is_refused(name, tmp_path):
    folder = tmp_path / "weights"
    shutil.copytree(FOLDER, folder)
    content = bytearray((folder / name).read_bytes())
    content[-2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(ValueError, match="damaged; restore it with git or rebuild it"):
        read_checkpoint(folder)


def pretrain(out: Path, *options: str | Path) -> list[float]:
    """Run the script, short and narrow; the losses that it tells."""
    sizes = ["--steps", "25", "--width", "64", "--layers", "2", "--batch-size", "8", "--block", "64"]
    command = [sys.executable, REPOSITORY / "scripts" / "pretrain_embedded.py", "--out", out, *sizes]
    command += ["--log-every", "5", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return [float(line.split()[3]) for line in done.stdout.splitlines() if line.startswith("step")]


@pytest.fixture(scope="module")
def first(tmp_path_factory) -> tuple[Path, list[float]]:
    """A short run of a narrow model, and the losses that it told."""
    folder = tmp_path_factory.mktemp("checkpoint") / "first"
    return folder, pretrain(folder)


def test_script_rebuilds_a_checkpoint(first, tmp_path):
    """A short run of a narrow model, twice: the same bytes, and a model that has learned something."""
    folder, losses = first
    assert pretrain(tmp_path / "again") == losses
    assert losses[-1] < losses[0] - 0.1
    assert verify(tmp_path / "again") == verify(folder)
    model, tokenizer = read_checkpoint(folder)
    with torch.no_grad():
        assert model(**tokenizer("fact max is running", return_tensors="pt")).logits.isfinite().all()


def test_script_goes_on_from_a_checkpoint(first, tmp_path):
    folder, losses = first
    more = pretrain(tmp_path / "second", "--start", folder, "--seed", "1")
    assert more[0] < losses[0] - 0.1
    assert more[-1] < losses[-1]
    assert verify(tmp_path / "second") != verify(folder)
    recipe = read_recipe(tmp_path / "second")
    assert (recipe["seed"], recipe["start"]["recipe"]["seed"]) == (1, 0)
    assert recipe["start"]["sha256"] == verify(folder)
