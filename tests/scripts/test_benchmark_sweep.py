"""The sweep's benchmark: the peer does the same task, and tables and ratios follow from what was measured."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from experiments.config import ModelConfig, TaskConfig
from experiments.workbench import workbench

ROOT = Path(__file__).resolve().parents[2]
TINY = ["--steps=2", "--train=16", "--dev=3", "--test=2"]


def load(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def benchmark():
    return load("benchmark_sweep")


@pytest.fixture(scope="module")
def peer():
    return load("peer_trainer")


def test_the_peer_runs_and_is_reported(benchmark, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(benchmark, "RANKS", (2,))
    monkeypatch.setattr(benchmark, "LIBRARIES", "")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    benchmark.main(["--only=peer", *TINY, f"--out={tmp_path / 'out.json'}"])
    printed = capsys.readouterr().out
    assert "r=2 dev, test" in printed
    assert "cpu (1 thread)" in printed
    record = json.loads((tmp_path / "out.json").read_text())
    [measurement] = record["measurements"]
    assert measurement["lane"] == "peer"
    assert measurement["peak_bytes"] > 2**27  # torch alone takes more
    assert set(measurement["accuracy"]["2"]) == {"dev", "test"}
    assert record["commands"]["peer"] == [
        f"python scripts/peer_trainer.py --rank=2 --out=r2.json {' '.join(TINY)}"
    ]
    assert record["ratios"] == {}  # nothing of ours was measured
    assert {"torch", "transformers", "peft"} <= set(record["machine"]["versions"])


def test_the_peer_trains_what_the_configuration_says(peer):
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = compose("config", ["rank=8", "targets=qv"])
    options = vars(peer.parser().parse_args([]))
    del options["out"]
    assert options == {
        "steps": config.model.budget.steps,
        **{key: config[key] for key in ("rank", "alpha", "lr", "warmup", "batch_size", "seed")},
        **{split: config.task[split] for split in ("train", "dev", "test")},
    }
    assert (config.task.seed, config.dropout, config.weight_decay, config.label_smoothing) == (0, 0, 0, 0)
    assert config.clip == 1  # the Trainer's default


def test_the_peer_learns_from_our_tokens_and_targets(peer):
    bench = workbench(ModelConfig("embedded"), TaskConfig("sql", train=16, dev=3, test=2))
    ours = bench.objective.encoded("train")
    theirs = peer.encode(bench.task.examples("train"), bench.base.tokenizer)
    for mine, other in zip(ours, theirs, strict=True):
        assert list(mine.ids) == other["input_ids"]
        assert other["labels"] == [peer.IGNORED] * mine.target_start + list(mine.ids[mine.target_start :])


@pytest.fixture
def measurements(benchmark):
    def measured(lane, seconds, gib, dev):
        accuracy = {1: {"dev": dev, "test": 0.5}, 8: {"dev": 0.875, "test": 1.0}}
        return benchmark.Measurement(lane, seconds, int(gib * 2**30), "cpu (1 thread)", accuracy)

    return [
        measured("ours", 50.0, 2.0, 0.25),
        measured("serial", 90.0, 1.0, 0.25),
        measured("peer", 200.0, 0.5, 0.125),
        measured("ours", 40.0, 1.5, 0.25),
        measured("serial", 100.0, 1.0, 0.25),
        measured("peer", 240.0, 0.75, 0.125),
    ]


def test_ratios_compare_the_fastest_and_the_medians(benchmark, measurements):
    assert benchmark.ratios(measurements) == {
        "serial/ours": {"min": 90 / 40, "median": 95 / 45},
        "peer/ours": {"min": 200 / 40, "median": 220 / 45},
    }
    assert benchmark.ratios([m for m in measurements if m.lane != "ours"]) == {}


def test_the_table_has_a_row_a_lane(benchmark, measurements):
    head, *rows = (line.split() for line in benchmark.table(measurements).splitlines())
    assert " ".join(head) == ("lane fastest, s median, s peak, GiB each run on r=1 dev, test r=8 dev, test")
    scores = ["0.500", "0.875,", "1.000"]
    assert rows == [
        ["ours", "40.0", "45.0", "2.00", "cpu", "(1", "thread)", "0.250,", *scores],
        ["serial", "90.0", "95.0", "1.00", "cpu", "(1", "thread)", "0.250,", *scores],
        ["peer", "200.0", "220.0", "0.75", "cpu", "(1", "thread)", "0.125,", *scores],
    ]


def test_serial_is_our_command_with_one_worker(benchmark):
    options = benchmark._parser().parse_args(["--steps=2", "--dev=3"])
    [ours], [serial] = (benchmark.commands(lane, options) for lane in ("ours", "serial"))
    assert benchmark.shown("ours", ours) == (
        "python run.py -m rank=1,2,4,8 targets=qv wandb.mode=disabled precision=float32 steps=2 task.dev=3"
    )
    assert serial == [*ours, "hydra.launcher.workers=1"]
    assert benchmark.shown("serial", serial).startswith("OMP_NUM_THREADS=1 python run.py -m ")


@pytest.mark.parametrize(("only", "error"), [("our", "'our' is unknown"), ("peer,repeat", "give both")])
def test_wrong_lanes_are_told(benchmark, capsys, only, error):
    with pytest.raises(SystemExit):
        benchmark.main(["--only", only])
    assert error in capsys.readouterr().err
