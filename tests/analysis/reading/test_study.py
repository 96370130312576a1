"""Studies written by the run store itself, and commands read back by run.py's own configuration."""

from __future__ import annotations

import errno
import itertools
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pandas
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

import lora
from analysis import Study, load
from analysis.reading.needs import CONF, MissingRunsError, Need, _grids, command, commands
from experiments.config import read_config
from experiments.plan import plan
from experiments.store import ADAPTER, ADAPTER_BEST, ADAPTER_INIT, DELTA, FAILURE, RUN
from tests.analysis.conftest import check_refused

REPOSITORY = Path(__file__).resolve().parents[3]
GPT2_MEDIUM = "6dcaa7a952f72f9298047fd5137cd6e4f05f41da"  # as pinned in conf/model


@pytest.fixture
def study(make_run, outputs):
    """q,v at ranks 2 and 4 with two seeds each."""
    for rank, seed in itertools.product((2, 4), (0, 1)):
        make_run(rank=rank, seed=seed)
    return Study.open("ranks", outputs)


# ---------------------------------------------------------------------------------- the table


def test_one_row_a_run(make_run, outputs):
    make_run(rank=4, seed=3)
    make_run(method="none")
    make_run(method="full", lr=0.001, targets="q,up")
    make_run(method="bias", seed=2)
    mixed = make_run(
        targets="q,v,up", rank={"q": 1, "v": 2, "up": 2}, **{"task.name": "nli", "task.train": 10}
    )
    frame = load("ranks", outputs)
    assert len(frame) == 5
    assert frame["run"].is_monotonic_increasing
    row = frame[frame["rank"] == 4].iloc[0]
    assert (row["task"], row["model"], row["method"], row["targets"]) == ("sql", "embedded", "lora", "qv")
    assert (row["rank"], row["alpha"], row["scaling"], row["seed"], row["lr"]) == (4, 8.0, "alpha/r", 3, 0.02)
    assert (row["steps"], row["batch_size"], row["task.train"], row["precision"]) == (
        600,
        16,
        8000,
        "float32",
    )
    assert row["trainable"] == row["adapter_parameters"] == 2 * 2 * 4 * 64
    assert (row["metric"], row["dev_last"], row["test_last"]) == ("logical_form_accuracy", 0.53, 0.25)
    assert (row["dev_best"], row["step_last"], row["step_best"], row["seconds"]) == (0.53, 600, 300, 57.5)
    assert Path(row["path"]) == outputs / "ranks" / row["run"]
    row = frame[frame["run"] == mixed.id].iloc[0]
    assert (row["task"], row["task.train"], row["targets"], row["rank"]) == ("nli", 10, "q-v-up", "q1-v2-up2")
    none = frame[frame["method"] == "none"].iloc[0]
    assert none[["targets", "rank", "alpha", "lr", "steps"]].isna().all()
    assert frame[frame["method"] == "bias"].iloc[0]["targets"] is None or pandas.isna(
        frame[frame["method"] == "bias"].iloc[0]["targets"]
    )
    assert frame[frame["method"] == "full"].iloc[0]["targets"] == "q-up"


def test_whole_numbers_stay_whole_where_some_runs_have_none(make_run, outputs):
    make_run(rank=4)
    make_run(method="none")
    frame = load("ranks", outputs)
    for name in ("rank", "seed", "steps", "trainable", "step_best"):
        assert frame[name].dtype == "Int64"
    assert frame["lr"].dtype == "float64"


def test_a_study_without_finished_runs(outputs):
    (outputs / "empty" / "run").mkdir(parents=True)
    study = Study.open("empty", outputs)
    assert list(study.frame.columns) == ["run", "path"]
    assert study.left_out == (("run", "unfinished: no run.json"),)
    check_refused(
        lambda: study.run(rank=4), r"it has no finished run \(1 left out: unfinished: no run\.json\)"
    )


def test_no_such_study(make_run, outputs, tmp_path):
    check_refused(lambda: load("ranks", tmp_path / "nowhere"), "there are no studies in .*nowhere")
    make_run()
    make_run(study="other")
    (outputs / ".launches").mkdir()
    check_refused(lambda: load("rank", outputs), "the studies there are other, ranks; did you mean ranks?")
    check_refused(lambda: load("", outputs), "the studies there are other, ranks$")


# ---------------------------------------------------------------------------------- what is left out


def reason(outputs, folder):
    study = Study.open("ranks", outputs)
    assert folder.id not in [run.id for run in study.runs]
    assert len(study.runs) == 1
    (left_out,) = study.left_out
    assert left_out[0] == folder.id
    assert "\n" not in left_out[1]
    return left_out[1]


@pytest.fixture
def damaged(make_run):
    """A run to be damaged, beside a good one."""
    make_run(rank=2)
    return make_run(rank=4)


def test_unfinished_and_failed_runs(damaged, outputs):
    damaged.file(RUN).unlink()
    assert reason(outputs, damaged) == "unfinished: no run.json"
    damaged.fail("rank: 600 is too large", "Traceback", "python run.py")
    assert reason(outputs, damaged) == "failed: rank: 600 is too large"
    damaged.file(FAILURE).write_text("{")
    assert reason(outputs, damaged) == "unfinished: no run.json"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"status": "running"}', "\x00\x01", "half"])
def test_damaged_records(damaged, outputs, content):
    whole = damaged.file(RUN).read_text()
    damaged.file(RUN).write_text(whole[: len(whole) // 2] if content == "half" else content)
    assert reason(outputs, damaged) == "run.json is damaged: it is not the whole record of a finished run"


@pytest.mark.parametrize("key", ["config", "metrics", "parameters", "timing", "model", "metric"])
def test_records_that_lack_something(damaged, outputs, key):
    record = json.loads(damaged.file(RUN).read_text())
    damaged.file(RUN).write_text(json.dumps({k: v for k, v in record.items() if k != key}))
    assert reason(outputs, damaged) == f"run.json is damaged: KeyError '{key}'"
    damaged.file(RUN).write_text(json.dumps(record | {key: None}))
    assert reason(outputs, damaged).startswith("run.json is damaged: ")


def link(path, target):
    path.unlink()
    path.symlink_to(target)


@pytest.mark.parametrize(
    ("replace", "said"),
    [
        (lambda path: (path.unlink(), path.mkdir()), "run.json is damaged: it is no file"),
        (lambda path: (path.unlink(), os.mkfifo(path)), "run.json is damaged: it is no file"),
        (lambda path: link(path, "nowhere"), "run.json is damaged: a link to what is not there"),
        (lambda path: link(path, path.name), "cannot be read: Too many levels of symbolic links"),
        (lambda path: link(path, "a" * 300), "cannot be read: File name too long"),
        (lambda path: path.write_bytes(b"\xff\xfe{}"), "run.json is damaged: it is not the whole record"),
        (lambda path: path.write_text("[" * 100_000), "run.json is damaged: RecursionError"),
    ],
)
def test_records_that_are_no_record(damaged, outputs, replace, said):
    replace(damaged.file(RUN))
    assert reason(outputs, damaged).startswith(said)


@pytest.mark.parametrize("name", ["", RUN, ADAPTER])
def test_folders_and_files_that_may_not_be_read(damaged, outputs, monkeypatch, name):
    """As for a user without permission, whoever runs the test."""
    closed = damaged.file(name) if name else damaged.path
    deny(monkeypatch, closed)
    assert "ermission denied" in reason(outputs, damaged)


def deny(monkeypatch, closed):
    """Let the system refuse the folder's content, or the file."""

    def refusing(real, below):
        def call(path, *arguments, **options):
            if closed in ((*Path(path).parents, Path(path)) if below else (*Path(path).parents,)):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
            return real(path, *arguments, **options)

        return call

    monkeypatch.setattr(Path, "stat", refusing(Path.stat, below=False))
    monkeypatch.setattr(Path, "open", refusing(Path.open, below=True))
    monkeypatch.setattr(Path, "iterdir", refusing(Path.iterdir, below=True))
    import safetensors

    monkeypatch.setattr(safetensors, "safe_open", refusing(safetensors.safe_open, below=True))


def test_places_that_are_no_run_folders(make_run, outputs):
    kept = make_run()
    place = kept.path.parent
    (place / "notes.txt").write_text("a file is no run")
    (place / "dangling").symlink_to("nowhere")
    (place / "loop").symlink_to("loop")
    (place / "long").symlink_to("a" * 300)
    (place / "elsewhere").symlink_to(shutil.copytree(kept.path, outputs / "elsewhere"))
    os.mkdir(os.fsencode(place) + b"/b\xff")
    study = Study.open("ranks", outputs)
    assert [run.id for run in study.runs] == ["elsewhere", kept.id]
    assert dict(study.left_out) == {
        "b\\xff": "its name is no UTF-8 text; rename the folder",
        "dangling": "a link to what is not there",
        "long": "cannot be read: File name too long",
        "loop": "cannot be read: Too many levels of symbolic links",
    }


def test_a_study_that_cannot_be_read(make_run, outputs, monkeypatch):
    folder = make_run()
    (outputs / "file").write_text("no study")
    check_refused(lambda: Study.open("file", outputs), "outputs/file is a file; a study is a folder of runs")
    check_refused(lambda: Study.open("a" * 300, outputs), "aaa cannot be read: File name too long$")
    check_refused(lambda: Study.open("x", outputs / ("a" * 300)), "aaa/x cannot be read: File name too long$")
    deny(monkeypatch, folder.path.parent)
    check_refused(lambda: Study.open("ranks", outputs), "outputs/ranks cannot be read: Permission denied$")


def test_of_many_studies_an_error_names_the_first(outputs):
    for number in range(20):
        (outputs / f"s{number:02}").mkdir(parents=True)
    check_refused(lambda: Study.open("ranks", outputs), "are s00, .*, s11, and 8 more$")


def test_records_of_another_format(damaged, outputs):
    record = json.loads(damaged.file(RUN).read_text())
    damaged.file(RUN).write_text(json.dumps(record | {"format": 2}))
    assert reason(outputs, damaged) == "run.json is of format 2; this code reads format 1"


@pytest.mark.parametrize("name", [ADAPTER, ADAPTER_BEST, ADAPTER_INIT])
def test_adapters_that_are_missing_or_truncated(damaged, outputs, name):
    content = damaged.file(name).read_bytes()
    damaged.file(name).write_bytes(content[:-1])
    assert f"{name}: not a safetensors file, or not a whole one" in reason(outputs, damaged)
    damaged.file(name).unlink()
    assert f"{name}: no such file" in reason(outputs, damaged)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rank": 2}, "it has ranks q=2 v=2, alpha 8"),
        ({"alpha": 4.0}, "alpha 4"),
        ({"targets": "q"}, "ranks q=4,"),
        ({"scaling": "1/r"}, "scaling 1/r"),
    ],
)
def test_adapters_of_another_run(damaged, outputs, tiny, changes, said):
    settings = {"targets": "qv", "rank": 4, "alpha": 8.0} | changes
    lora.save(lora.adapt(tiny("gpt2"), **settings), damaged.file(ADAPTER))
    assert said in reason(outputs, damaged)
    assert "is not the adapter of run.json" in reason(outputs, damaged)


def test_an_adapter_that_lacks_layers(damaged, outputs, tiny):
    lora.save(lora.adapt(tiny("gpt2", n_layer=1), "qv", rank=4), damaged.file(ADAPTER))
    assert "512 parameters, run.json q=4 v=4, 8, alpha/r and 1024" in reason(outputs, damaged)


def test_full_fine_tuning_without_its_deltas(make_run, outputs):
    make_run()
    full = make_run(method="full", targets="qv")
    other = make_run(method="full", targets="q", seed=1)
    shutil.copy(other.file(DELTA), full.file(DELTA))
    shutil.rmtree(other.path)
    assert reason(outputs, full) == "delta.safetensors is of q, run.json of qv"


# ---------------------------------------------------------------------------------- choosing runs


def test_the_run_of_these_settings(study):
    run = study.run(task="sql", targets="qv", rank=4, seed=1)
    assert (run.settings["rank"], run.settings["seed"]) == (4, 1)
    assert run.record["id"] == run.id
    assert study.run(targets=["v", "q"], rank={"q": 4, "v": 4}, seed=1) is run
    assert study.run(rank=4, seed=1, lr=0.02, **{"task.train": 8000}) is run


def test_ranks_by_letter_and_longer_targets(make_run, outputs):
    make_run(targets="q,up", rank={"q": 4, "up": 8})
    study = Study.open("ranks", outputs)
    (run,) = study.runs
    for targets in ("q,up", ["up", "q"], "q-up"):
        assert study.run(targets=targets) is run
    assert study.run(rank={"q": 4, "up": 8}) is run
    assert study.run(rank="q4-up8") is run


def test_no_such_run(study):
    check_refused(
        lambda: study.run(targets="qv", rank=64),
        r"study ranks has no run with targets=qv, rank=64, method=lora; it has targets \(qv\); rank \(2, 4\)",
    )
    check_refused(lambda: study.run(zzz=1), "zzz is not a setting of the runs .*valid are")
    check_refused(lambda: study.run(batchsize=1), "did you mean batch_size?")
    check_refused(lambda: study.run(learning_rate=1e-3), "did you mean lr?")
    check_refused(lambda: study.run(label_smoothing_factor=0), "did you mean label_smoothing?")
    check_refused(lambda: study.run(targets="w"), "'w' is not a projection")


def test_several_runs(study, make_run, outputs):
    check_refused(
        lambda: study.run(rank=4), r"2 such runs; they differ in seed \(0, 1\): choose one, as in seed=0"
    )
    make_run(rank=4, lr=0.01, **{"task.train": 10})
    study = Study.open("ranks", outputs)
    check_refused(
        lambda: study.run(rank=4, seed=0),
        r"they differ in task\.train \(10, 8000\); lr \(0\.01, 0\.02\): choose one, as in "
        r"\*\*\{'task\.train': 10\}",
    )
    assert study.run(rank=4, seed=0, lr=0.01).settings["task.train"] == 10


def test_another_task_is_told_without_its_details(study, make_run, outputs):
    make_run(rank=4, **{"task.name": "nli", "task.train": 10})
    make_run(method="none", **{"task.name": "nli"})
    study = Study.open("ranks", outputs)
    check_refused(
        lambda: study.run(rank=4, seed=0), r"they differ in task \(nli, sql\): choose one, as in task='nli'$"
    )
    check_refused(lambda: study.run(rank=64, method="lora"), r"it has rank \(2, 4\); method \(lora, none\)")


def test_a_copy_of_a_run(study, outputs):
    run = study.run(rank=4, seed=0)
    shutil.copytree(run.path, run.path.with_name("a-copy"))
    study = Study.open("ranks", outputs)
    check_refused(lambda: study.run(rank=4, seed=0), f"one run in several folders: a-copy, {run.id}; remove")


# ---------------------------------------------------------------------------------- a run's files


def test_the_adapters_of_a_run(study):
    run = study.run(rank=4, seed=1)
    for file, adapter in ((ADAPTER, run.adapter()), (ADAPTER_BEST, run.adapter("best"))):
        expected = lora.read(run.path / file).factors
        assert list(adapter) == list(expected)
        assert all(torch.equal(adapter[key].B, expected[key].B) for key in expected)
    assert not torch.equal(run.adapter()[0, "q"].B, run.adapter("best")[0, "q"].B)
    initial = run.initial()
    assert all(
        not pair.B.any() and torch.equal(pair.A, run.adapter()[key].A) for key, pair in initial.items()
    )
    check_refused(lambda: run.adapter("first"), "checkpoint 'first' is unknown; valid are last, best")
    check_refused(run.deltas, "a run with method=lora; only method=full leaves delta.safetensors")


def test_the_deltas_of_a_run(make_run, outputs):
    make_run(method="full", targets="q,up")
    run = Study.open("ranks", outputs).run(method="full")
    assert list(run.deltas()) == [(0, "q"), (0, "up"), (1, "q"), (1, "up")]
    assert run.deltas()[1, "up"].unique().tolist() == [4.0]
    assert run.deltas("best")[0, "q"].unique().tolist() == [11.0]
    check_refused(run.adapter, "a run with method=full; only method=lora leaves adapter.safetensors")


def test_the_base_of_a_run(make_run, outputs, saved):
    from experiments.identity import file_sha256

    model, folder = saved("gpt2")
    told = {"name": str(folder), "revision": None, "sha256": file_sha256(folder / "model.safetensors")}
    make_run(record={"model": told})
    run = Study.open("ranks", outputs).run()
    assert run.settings["model"] == str(folder)
    assert torch.equal(run.base().projection(1, "k"), lora.projection(model, 1, "k"))
    moved = shutil.move(folder, folder.with_name("moved"))
    check_refused(run.base, "there is no such folder")
    assert torch.equal(run.base(moved).projection(1, "k"), lora.projection(model, 1, "k"))


def test_another_base_than_the_run_was_trained_on(make_run, outputs, saved):
    _, folder = saved("gpt2")
    make_run(record={"model": {"name": str(folder), "revision": None, "sha256": "0" * 64}})
    make_run(rank=2, record={"model": {"name": "embedded", "revision": None, "sha256": "1" * 64}})
    study = Study.open("ranks", outputs)
    check_refused(
        study.run(rank=4).base, r"but .* was trained on 000000000000\.\.\., so its W is not the run's W0"
    )
    check_refused(study.run(rank=2).base, r"embedded: its weights have sha256 .* trained on 111111111111")


# ---------------------------------------------------------------------------------- what is missing


def jobs(command):
    """The overrides of each job that a command starts, checked as run.py checks them."""
    program, script, multirun, *arguments = shlex.split(command)
    assert (program, script, multirun) == ("python", "run.py", "-m")
    plan([multirun, *arguments])
    parsed = OverridesParser.create().parse_overrides(arguments)
    return BasicSweeper.split_arguments(parsed, max_batch_size=None)[0]


def trained_by(command):
    """The configuration of each run that a command trains, checked as run.py checks it."""
    configs = []
    with initialize_config_dir(str(CONF), version_base="1.3"):
        for job in jobs(command):
            config = compose("config", overrides=list(job))
            values = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
            configs.append(read_config({str(key): value for key, value in values.items()}))
    return configs


def cells(configs):
    return [
        Need(config.targets_name, rank, config.seed)
        for config in configs
        for rank in set(config.rank.values())
    ]


def missing_from(study, needs, **choice):
    with pytest.raises(MissingRunsError) as error:
        study.require(needs, **choice)
    return error.value


def test_runs_that_are_there(study):
    needs = [Need("qv", 4, 1), Need("vq", 2, 0), Need("qv", 4, 1)]
    found = study.require(needs)
    assert [(run.settings["rank"], run.settings["seed"]) for run in found] == [(4, 1), (2, 0), (4, 1)]


def test_missing_runs_are_listed_with_one_command_for_a_grid(study, outputs):
    needs = [Need("qv", rank, seed) for rank in (4, 8, 64) for seed in (0, 1)]
    error = missing_from(study, needs)
    absent = [need for need in needs if need.rank != 4]
    assert list(error.missing) == absent
    assert len(error.commands) == 1
    configs = trained_by(error.commands[0])
    assert sorted(cells(configs), key=str) == sorted(absent, key=str)
    assert str(error).startswith("study ranks lacks 4 runs: qv r=8 seed=0; qv r=8 seed=1; qv r=64 seed=0;")
    assert error.commands[0] in str(error)
    assert {(config.study, config.root, config.method) for config in configs} == {("ranks", outputs, "lora")}


def test_the_commands_differ_from_the_studys_runs_in_rank_and_seed_alone(make_run, outputs):
    """The same scientific configuration, so the same address in the store as a run of the first sweep."""
    changes = {
        "lr": 3e-5,
        "alpha": 16,
        "scaling": "alpha/sqrt(r)",
        "init": "kaiming",
        "dropout": 0.1,
        "bias": "lora_only",
        "steps": None,
        "epochs": 2.5,
        "batch_size": 7,
        "warmup": 50.0,
        "clip": 0.0,
        "eval_every": 100,
        "precision": "bfloat16",
        "task.name": "nli",
        "task.train": 123,
        "task.seed": 9,
        "model.max_length": 64,
    }
    make_run(**changes)
    (run,) = Study.open("ranks", outputs).runs
    error = missing_from(Study.open("ranks", outputs), [Need("q,up", 8, 5)])
    (config,) = trained_by(error.commands[0])
    again = config.scientific(config.precision, "embedded:0123", "generated:4567")
    expected = run.record["config"] | {"targets": "q-up", "rank": {"q": 8, "up": 8}, "seed": 5}
    assert again == expected


def written(outputs, *words):
    return shlex.join(["python", "run.py", "-m", "study=ranks", f"root={outputs}", *words])


def test_what_was_written_for_a_neighbour_is_written_again_with_its_values_replaced(make_run, outputs):
    told = ["lr=0.005", "steps=400", "batch_size=32", "log_every=5", "wandb.tags=[a b]"]
    place = ["study=else", "root=/else", "seed=0", "targets=qv", "rank=4", "force=true", "budget=q8"]
    make_run(
        rank=4,
        batch_size=32,
        record={"overrides": ["+experiment=table5", "task=sql", *place, *told]},
        lr=0.005,
        steps=400,
    )
    (command,) = missing_from(Study.open("ranks", outputs), [Need("qv", 64, 0)]).commands
    swept = ["budget=null", "precision=float32", "targets=qv", "rank=64", "seed=0"]
    assert command == written(outputs, "+experiment=table5", "task=sql", *told, *swept)
    (config,) = trained_by(command)
    assert (config.rank, config.log_every, config.study) == ({"q": 64, "v": 64}, 5, "ranks")


def test_what_a_neighbours_words_do_not_make_follows_from_its_settings(make_run, outputs):
    """A file of conf/ may have changed since, or be that of another folder."""
    make_run(rank=4, lr=0.005, steps=400, alpha=16, record={"overrides": ["alpha=2", "task.train=8000"]})
    study = Study.open("ranks", outputs)
    (command,) = missing_from(study, [Need("qv", 64, 0)]).commands
    (config,) = trained_by(command)
    assert (config.alpha, config.task.train) == (16, 8000)
    assert "alpha=2 task.train=8000 alpha=16" in command
    [run] = study.runs
    run.record["overrides"] = ["+experiment=gone", "lr=0.005"]
    (command,) = missing_from(study, [Need("qv", 64, 0)]).commands
    assert "gone" not in command
    assert trained_by(command) == [config]


def test_what_is_default_is_not_written(make_run, outputs):
    make_run(lr=0.005, steps=400)
    (command,) = missing_from(Study.open("ranks", outputs), [Need("qv", 64, 0)]).commands
    assert command == (
        f"python run.py -m study=ranks root={outputs} task=sql model=embedded precision=float32 "
        "targets=qv rank=64 seed=0"
    )


@pytest.mark.parametrize(
    ("name", "identity", "written", "revision"),
    [
        ("gpt2-medium", "hub:gpt2-medium@main", ["model=gpt2-medium", "model.revision=main"], "main"),
        ("gpt2-medium", f"hub:gpt2-medium@{GPT2_MEDIUM}", ["model=gpt2-medium"], GPT2_MEDIUM),
        (
            "org/other",
            "hub:org/other@v1.0",
            ["model=hf", "model.name=org/other", "model.revision=v1.0"],
            "v1.0",
        ),
        ("/home/me/my model", "files:12ab", ["model=hf", 'model.name="/home/me/my model"'], None),
    ],
)
def test_models_by_name_folder_and_revision(make_run, outputs, name, identity, written, revision):
    folder = make_run()
    record = json.loads(folder.file(RUN).read_text())
    record["model"]["name"], record["config"]["model"]["identity"] = name, identity
    record["config"]["model"]["max_length"] = 512
    folder.file(RUN).write_text(json.dumps(record))
    (command,) = missing_from(Study.open("ranks", outputs), [Need("qv", 64, 0)]).commands
    assert all(word in shlex.split(command) for word in written)
    (config,) = trained_by(command)
    assert (config.model.name, config.model.revision, config.model.max_length) == (name, revision, 512)
    assert (config.steps, config.epochs, config.batch_size, config.lr) == (600, None, 16, 0.02)


def test_the_release_of_a_real_task_is_asked_for(make_run, outputs):
    folder = make_run(**{"task.name": "wikisql", "task.train": None})
    record = json.loads(folder.file(RUN).read_text())
    record["config"]["task"]["identity"] = "files:0123"
    folder.file(RUN).write_text(json.dumps(record))
    error = missing_from(Study.open("ranks", outputs), [Need("qv", 64, 0)])
    assert "task.path=???" in error.commands[0]
    assert str(error).splitlines()[-1].strip().startswith("(task.path: the release")
    (config,) = trained_by(error.commands[0].replace("task.path=???", "task.path=data.tar.bz2"))
    assert (config.task.name, config.task.path, config.task.train) == ("wikisql", "data.tar.bz2", None)


def test_a_study_whose_runs_leave_it_open(study, make_run, outputs):
    make_run(rank=2, seed=5, lr=0.01)
    make_run(rank=2, seed=6, lr=0.01)
    study = Study.open("ranks", outputs)
    needs = [Need("qv", 64, 0)]
    check_refused(
        lambda: study.require(needs),
        r"those it has differ in lr \(0\.01, 0\.02\); say which .*as in lr=0\.01",
    )
    (command,) = missing_from(study, needs, lr=0.01).commands
    assert "lr=0.01" in shlex.split(command)


def test_a_study_without_lora_runs(make_run, outputs):
    make_run(method="none", **{"task.name": "nli"})
    (command,) = missing_from(Study.open("ranks", outputs), [Need("qv", 64, 0)]).commands
    (config,) = trained_by(command)
    assert (config.task.name, config.model.name, config.lr) == ("nli", "embedded", 0.005)
    shutil.rmtree(outputs / "ranks")
    (outputs / "ranks").mkdir()
    study = Study.open("ranks", outputs)
    (command,) = missing_from(study, [Need("qv", 64, 0)], task="nli", lr=0.5).commands
    (config,) = trained_by(command)
    assert (config.task.name, config.lr, config.rank, config.study) == (
        "nli",
        0.5,
        {"q": 64, "v": 64},
        "ranks",
    )


def test_grids_hold_each_missing_run_once_and_nothing_else():
    """Every choice of runs out of two targets, two ranks and two seeds."""
    every = list(itertools.product(("q", "qv"), (4, 8), (0, 1)))
    for chosen in itertools.product((False, True), repeat=len(every)):
        absent = list(itertools.compress(every, chosen))
        grids = _grids([Need(*cell) for cell in absent])
        held = [cell for box in grids for cell in itertools.product(*box)]
        assert sorted(held) == sorted(absent)
        assert len(grids) <= min(
            len({(cell[a], cell[b]) for cell in absent}) for a, b in ((0, 1), (0, 2), (1, 2))
        )


@pytest.mark.parametrize(
    ("absent", "lines"),
    [
        (itertools.product(["q", "qv"], [4, 8, 64], [0, 1]), 1),
        ([("qv", 4, 0), ("qv", 8, 0), ("qv", 8, 1)], 2),
        ([("qv", 4, 0), ("qv", 8, 1)], 2),
        ([("q", 8, 0), ("q", 8, 1), ("v", 8, 0), ("v", 8, 1), ("qv", 64, 0)], 2),
        ([("q", 8, 0), ("v", 8, 0), ("q", 4, 1), ("v", 4, 1)], 2),
    ],
)
def test_as_few_lines_as_grids(absent, lines):
    needs = [Need(*cell) for cell in absent]
    written = commands("ranks", "outputs", {"task": "sql", "model": "embedded"}, needs)
    assert len(written) == lines
    named = [job[-3:] for command in written for job in jobs(command)]
    assert sorted(named) == sorted(
        [f"targets={need.targets}", f"rank={need.rank}", f"seed={need.seed}"] for need in needs
    )


def test_needs_name_real_targets():
    assert Need("up,q", 4, 0) == Need("q-up", 4, 0)
    check_refused(lambda: Need("w", 4, 0), "'w' is not a projection")


def test_a_study_that_is_not_there_is_told_without_torch(tmp_path):
    script = (
        "import sys; from analysis.reading.study import load\n"
        "try: load('x')\n"
        "except ValueError: print(sorted({'torch', 'pandas', 'hydra', 'transformers'} & sys.modules.keys()))"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert result.stdout == "[]\n"


def test_many_seeds_in_a_row_are_a_range_that_run_py_reads():
    swept = {"targets": ["qv"], "rank": [1, 64], "seed": [*range(5, 46)]}
    line = command("mine", "outputs", {"task": "sql"}, swept)
    assert line.endswith("targets=qv rank=1,64 'seed=range(5,46)'")
    (override,) = OverridesParser.create().parse_overrides([shlex.split(line)[-1]])
    assert [*override.sweep_string_iterator()] == [str(seed) for seed in range(5, 46)]
    few = command("mine", "outputs", {"task": "sql"}, {**swept, "seed": [3, 4, 5, 7, 8, 9]})
    assert few.endswith("seed=3,4,5,7,8,9")
