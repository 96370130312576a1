"""The summary run on W&B, written offline and read back."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from analysis import commands
from analysis.errors import AnalysisError
from analysis.report import publish
from experiments import wandb_run
from tests.analysis.claims.builder import STUDY
from tests.wandb_files import written

wandb = pytest.importorskip("wandb")
REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def fresh(monkeypatch, tmp_path):
    """No key, no mode and no earlier failure; wandb's own files outside the home folder."""
    for name in ("API_KEY", "MODE", "DISABLED", "PROJECT", "ENTITY", "TAGS", "SWEEP_ID", "RUN_ID"):
        monkeypatch.delenv(f"WANDB_{name}", raising=False)
    for name in ("CACHE", "CONFIG", "DATA"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / "own"))
    monkeypatch.setattr(wandb_run, "_given_up", False)


@pytest.fixture
def few(reported):
    """A table, a figure, and what could not be made."""
    names = (("table6", None), ("fig3", "sql"), ("table7", "nli"))
    return {name: reported.made[name] for name in names} | {("fig8", "nli"): AnalysisError("no")}


@pytest.fixture
def elsewhere(reported, tmp_path):
    """The selection, its study's folder where W&B may write."""
    study = dataclasses.replace(reported.selection.study, root=tmp_path / "outputs")
    return dataclasses.replace(reported.selection, study=study)


def test_an_offline_run_has_the_tables_the_figures_and_the_page(reported, few, elsewhere, tmp_path):
    for _ in range(2):
        publish(elsewhere, reported.result, few, "offline", "mine/section-7")
    folder = tmp_path / "outputs" / STUDY / ".wandb"
    files = sorted(folder.rglob("run-*.wandb"))
    assert len(files) == 2
    contents = [written(file) for file in files]
    started = [record.run for content in contents for record in content if record.HasField("run")]
    assert {(run.run_group, run.job_type, run.entity, run.project) for run in started} == {
        (STUDY, "report", "mine", "section-7")
    }
    assert {run.run_id for run in started} == {wandb_run.wandb_id(STUDY, "report")}
    assert {record.exit.exit_code for c in contents for record in c if record.HasField("exit")} == {0}
    history = next(record.history for record in contents[0] if record.HasField("history"))
    logged: dict[str, dict] = {}
    for item in history.item:
        if len(item.nested_key) == 2:
            logged.setdefault(item.nested_key[0], {})[item.nested_key[1]] = json.loads(item.value_json)
    kinds = {key: value["_type"] for key, value in logged.items() if "_type" in value}
    count = len(few["table7", "nli"].tables)
    assert kinds == {
        "table6": "table-file",
        "sql/fig3": "image-file",
        "sql/fig3-z": "image-file",
        **{f"nli/table7-{number}": "table-file" for number in range(1, count + 1)},
        "report": "html-file",
        "report-curves-nli": "image-file",
        "report-curves-sql": "image-file",
    }
    assert logged["sql/fig3"]["caption"] == few["fig3", "sql"].drawings[""].caption
    media = files[0].parent / "files"
    table = json.loads((media / logged["table6"]["path"]).read_text(encoding="utf-8"))
    shown = few["table6", None].tables[0]
    assert table["data"] == [
        [*r.labels, *(c.signed for c in r.cells)] for group in shown.groups for r in group
    ]
    assert len({*table["columns"]}) == len(table["columns"])
    assert (media / logged["report"]["path"]).read_text(encoding="utf-8") == reported.result.texts[".html"]


def test_under_a_sweep_agent_the_report_is_a_run_of_its_own(reported, elsewhere, monkeypatch, tmp_path):
    wandb.teardown()  # it reads the environment once
    for name in ("SWEEP_ID", "RUN_ID"):
        monkeypatch.setenv(f"WANDB_{name}", "theagents")
    publish(elsewhere, reported.result, {}, "offline", "p")
    wandb.teardown()
    (file,) = tmp_path.rglob("run-*.wandb")
    (run,) = [record.run for record in written(file) if record.HasField("run")]
    assert (run.run_id, run.sweep_id, run.project) == (wandb_run.wandb_id(STUDY, "report"), "", "p")


@pytest.mark.parametrize(
    ("variable", "arguments", "project"),
    [
        ("", [], wandb_run.DEFAULT_PROJECT),
        ("mine", [], "mine"),
        ("mine", ["--project", "someone/asked"], "someone/asked"),
    ],
)
def test_a_project_that_is_given_beats_the_environment_s(variable, arguments, project, monkeypatch):
    monkeypatch.setenv("WANDB_PROJECT", variable)
    options = commands._parser().parse_args(["report", "--study", "s", *arguments])
    assert options.project == project


def test_disabled_never_imports_wandb():
    program = (
        "import sys; from experiments.wandb_run import start; from pathlib import Path\n"
        "start(Path('.'), mode='disabled', project='p', entity=None, identity={}).finish(True)\n"
        "import analysis.report.publishing; sys.exit('wandb' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, check=True)


def test_no_trouble_with_wandb_is_more_than_a_line(reported, few, elsewhere, monkeypatch, capsys):
    def init(**_):
        raise RuntimeError("the service\ndoes not start")

    monkeypatch.setattr(wandb, "init", init)
    publish(elsewhere, reported.result, few, "offline", "p")
    error = capsys.readouterr().err
    assert error.startswith("warning: Weights & Biases: it cannot start (RuntimeError: the service does not")
    assert error.endswith("(--wandb disabled: no warning)\n")
    assert error.count("\n") == 1


def test_a_breakdown_in_the_middle_is_one_line(reported, few, elsewhere, monkeypatch, capsys):
    def break_(*_, **__):
        raise BrokenPipeError

    monkeypatch.setattr(wandb, "Table", break_)
    publish(elsewhere, reported.result, few, "offline", "p")
    error = capsys.readouterr().err
    assert "broke down (BrokenPipeError)" in error
    assert error.count("\n") == 1
