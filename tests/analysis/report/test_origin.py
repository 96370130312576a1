"""Settings, sources and commands."""

from __future__ import annotations

import itertools
import shlex

import pytest

from analysis.commands import _chosen, _parser
from analysis.reading.study import Study
from analysis.report import origin
from analysis.report.runs import place
from analysis.selection import Selection


@pytest.fixture
def mixed(make_run, outputs):
    """Two ranks, an uneven one, full fine-tuning and biases, as run.py leaves them."""
    for rank, seed in ((4, 0), (4, 1), (8, 0)):
        make_run(rank=rank, seed=seed)
    make_run(rank={"q": 4, "v": 8})
    make_run(method="full", lr=0.001)
    make_run(method="full", lr=0.001, seed=1)
    make_run(method="bias", lr=0.01)
    return Study.open("ranks", outputs)


def trained(line):
    """The runs of a line: its words, and each combination of what it sweeps."""
    words = shlex.split(line)
    assert words[:3] == ["python", "run.py", "-m"]
    settings = dict(word.split("=", 1) for word in words[3:])
    swept = {}
    for key in ("targets", "rank", "seed"):
        value = settings.pop(key, None)
        swept[key] = [None] if value is None else [value] if value.startswith("{") else value.split(",")
    return settings, list(itertools.product(*swept.values()))


def test_commands_train_exactly_the_runs(mixed):
    selection = Selection.of_tasks(mixed)
    lines = origin.training_commands(selection, mixed.runs)
    found = sorted(
        (settings.get("method", "lora"), *(str(word) for word in run))
        for settings, runs in map(trained, lines)
        for run in runs
    )
    assert found == sorted(
        [
            ("lora", "qv", "4", "0"),
            ("lora", "qv", "4", "1"),
            ("lora", "qv", "8", "0"),
            ("lora", "qv", "{q: 4, v: 8}", "0"),
            ("full", "qv", "None", "0"),
            ("full", "qv", "None", "1"),
            ("bias", "None", "None", "0"),
        ]
    )
    for settings, _ in map(trained, lines):
        assert settings["study"] == "ranks"
        assert settings["root"] == str(mixed.root)
        # The rate of the biases is run.py's default, so it is not written.
        assert settings.get("lr") == {"full": "0.001", "bias": None}.get(settings.get("method"), "0.02")


def test_commands_are_what_run_py_reads(mixed):
    """Hydra composes each to the settings that its runs recorded."""
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from analysis.reading.needs import CONF
    from experiments.config import read_config

    recorded = {
        (run.settings["method"], str(run.settings.get("rank")), run.settings["seed"]): run
        for run in mixed.runs
    }
    seen = set()
    for line in origin.training_commands(Selection.of_tasks(mixed), mixed.runs):
        settings, runs = trained(line)
        for targets, rank, seed in runs:
            overrides = [f"{key}={value}" for key, value in settings.items()]
            overrides += [f"{k}={v}" for k, v in (("targets", targets), ("rank", rank), ("seed", seed)) if v]
            with initialize_config_dir(str(CONF), version_base="1.3"):
                values = OmegaConf.to_container(compose("config", overrides=overrides), resolve=True)
            config = read_config(values)
            key = (config.method, config.rank_name if config.method == "lora" else "None", config.seed)
            wanted = recorded[key].record["config"]
            made = config.scientific(
                config.precision, wanted["model"]["identity"], wanted["task"]["identity"]
            )
            assert made == wanted
            seen.add(key)
    assert seen == {*recorded}


def test_settings_are_all_told_once(mixed):
    shared = {row.labels[0]: row.cells[0].text for row in origin.shared_settings(mixed.runs).groups[0]}
    differing = {row.labels[0]: row.cells[0].text for row in origin.differing_settings(mixed.runs).groups[0]}
    assert {*shared} & {*differing} == set()
    assert {*shared} | {*differing} == {key for run in mixed.runs for key in run.settings}
    assert differing["method"] == "bias (1); full (2); lora (4)"
    assert differing["rank"] == "4 (2); 8 (1); q4-v8 (1)"
    assert differing["lr"] == "0.001 (2); 0.01 (1); 0.02 (4)"
    assert shared["alpha"] == "8 (4 runs)"
    assert shared["batch_size"] == "16"


def test_what_was_not_recorded_is_said(mixed):
    told = {row.labels[0]: row.cells[0].text for row in origin.sources(mixed.runs).groups[0]}
    assert told["commit"] == told["device"] == told["finished"] == "not recorded"
    assert told["base model"] == "embedded"


def test_the_analysis_line_makes_this_selection(mixed):
    chosen = {"basis": "B", "layer": 1, "seeds": (0, 1), "split": "dev", "choice": {"lr": 0.02}}
    selection = Selection.of_tasks(mixed, "sql", **chosen)
    line = shlex.split(origin.analysis_command(selection, 2.0))
    assert line[:4] == ["python", "-m", "analysis", "report"]
    options = _parser().parse_args(line[3:])
    again = _chosen(options)
    assert again.pop("task") == "sql"
    assert {key: again[key] for key in chosen} == chosen
    assert options.margin == 2
    assert (options.study, options.root) == ("ranks", mixed.root)


def test_runs_in_the_order_of_the_paper(mixed):
    names = [(run.settings["method"], run.settings.get("rank")) for run in sorted(mixed.runs, key=place)]
    assert names[:4] == [("lora", 4), ("lora", 4), ("lora", 8), ("lora", "q4-v8")]
    assert [method for method, _ in names[4:]] == ["bias", "full", "full"]
