import dataclasses
import errno
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from analysis import commands
from analysis.commands import main
from analysis.registry import COMMANDS
from analysis.selection import Selection
from tests.analysis.planted import STUDY, planted, write_run

__all__ = ["planted"]

REPOSITORY = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "matplotlib", "pandas", "scipy", "transformers", "datasets")
TENSORLESS = ("table5", "table6", "baselines")


def python(*arguments, **environment):
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


@pytest.fixture
def study(planted, tmp_path):
    """`study("fig3", ...)`: main() on the planted study, its files in `study.out`."""

    def run(*arguments):
        place = ["--study", STUDY, "--root", str(planted.root), "--out", str(tmp_path / "results")]
        return main([arguments[0], *place, *arguments[1:]])

    run.out = tmp_path / "results"
    return run


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["fig3", "--help"],
        ["fig3"],
        ["fig3", "--study", "x", "--seeds", "a"],
    ],
)
def test_help_and_wrong_arguments_need_nothing_heavy(arguments):
    code = (
        "import sys; from analysis.commands import main; status = main(sys.argv[1:]);"
        f"heavy = [name for name in {HEAVY} if name in sys.modules];"
        "print('HEAVY', heavy); sys.exit(status)"
    )
    done = python("-c", code, *arguments)
    assert done.stdout.splitlines()[-1] == "HEAVY []"
    assert done.returncode == (0 if "--help" in arguments else 2)


@pytest.mark.parametrize(
    "code",
    [
        *(f"from analysis.commands import main; assert main(['{name}', *place]) == 0" for name in TENSORLESS),
        "from analysis.claims.accuracy import Answers, qv_beats_q;"
        "from analysis.selection import Selection; from analysis.reading.study import Study;"
        "qv_beats_q(Answers(Selection.of(Study.open(place[1], place[3]), 'sql'), 0.01))",
    ],
    ids=[*TENSORLESS, "claim"],
)
def test_what_reads_answers_alone_imports_no_torch(code, tmp_path):
    place = [
        "--study",
        "embedded",
        "--root",
        str(REPOSITORY / "results/embedded/runs"),
        "--out",
        str(tmp_path),
    ]
    heavy = "{'torch', 'scipy', 'matplotlib', 'transformers'}"
    done = python("-c", f"import sys; place = {place}; {code}; print({heavy} & {{*sys.modules}} or 'light')")
    assert (done.stdout.splitlines()[-1:], done.stderr) == (["light"], "")


def test_the_grid_draws_and_imports_no_torch(tmp_path):
    place = ["--study", "embedded", "--root", str(REPOSITORY / "results/embedded/runs"), "--task", "sql"]
    place += ["--seeds", "0,1", "--out", str(tmp_path)]
    code = f"import sys; from analysis.commands import main; assert main(['grid', *{place}]) == 0;"
    done = python("-c", code + "print({'torch', 'transformers', 'datasets'} & {*sys.modules} or 'light')")
    assert (done.stdout.splitlines()[-1:], done.stderr) == (["light"], "")
    assert (tmp_path / "grid-seed0-1.png").stat().st_size > 10_000


def test_help_names_every_command():
    done = python("-m", "analysis", "--help")
    assert done.returncode == 0
    for name in (*COMMANDS, "all"):
        assert re.search(rf"^  {name}\b", done.stdout, re.MULTILINE)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "COMMAND"),
        (["fig5", "--study", "x"], "'fig5' is no command; valid are claims, grid, fig3,"),
        (["figure3", "--study", "x"], "did you mean fig3?"),
        (["phi", "--study", "x"], "did you mean fig3?"),
        (["Table-6", "--study", "x"], "did you mean table6?"),
        (["tabel6", "--study", "x"], "'tabel6' is no command"),
        (["inspct", "PATH"], "archive, across, inspect, compare, resize; did you mean inspect?"),
        (["fig3", "--study", "x", "--ranks", "4"], "give two different ranks, as in 4,16"),
        (["fig3"], "--study"),
        (["fig3", "--study", "x", "--basis", "C"], "invalid choice: 'C'"),
        (["fig3", "--study", "x", "--layer", "0"], "layers are counted from 1"),
        (["fig3", "--study", "x", "--seeds", "1,1"], "give different integers"),
        (["fig3", "--study", "x", "--targets", "z"], "'z' is not a projection"),
        (["fig3", "--study", "x", "--choose", "lr"], "write KEY=VALUE"),
    ],
)
def test_wrong_arguments_are_one_line_and_status_2(arguments, message, capsys):
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1


def test_what_is_not_given_is_as_in_the_library():
    options = commands._parser().parse_args(["fig3", "--study", STUDY])
    defaults = {field.name: field.default for field in dataclasses.fields(Selection)}
    for name in ("targets", "basis", "checkpoint", "layer", "seeds", "device", "base"):
        assert getattr(options, name) == defaults[name], name


def test_a_figure_leaves_its_files_and_prints_a_line_for_each(study, capsys):
    assert study("fig3") == 0
    names = [
        "fig3.pdf",
        "fig3.png",
        "fig3.txt",
        "fig3-z.pdf",
        "fig3-z.png",
        "fig3-z.txt",
        "fig3.csv",
        "fig3.json",
    ]
    assert capsys.readouterr().out.splitlines() == [str(study.out / name) for name in names]
    assert sorted(os.listdir(study.out)) == sorted(names)


def test_another_process_makes_the_same_bytes_without_a_window_system(study, planted, tmp_path):
    assert study("fig3") == 0
    code = (
        "import sys; from analysis.commands import main; status = main(sys.argv[1:]);"
        "assert 'matplotlib.pyplot' not in sys.modules; sys.exit(status)"
    )
    place = ["--study", STUDY, "--root", str(planted.root), "--out", str(tmp_path / "again")]
    done = python("-c", code, "fig3", *place, PYTHONHASHSEED="17")
    assert (done.returncode, done.stderr) == (0, "")
    for path in study.out.iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes(), path.name


def test_a_table_is_printed_and_written(study, capsys):
    assert study("table7", "--layer", "1") == 0
    assert "Table 7, layer 1 of 5" in capsys.readouterr().out
    assert sorted(os.listdir(study.out)) == [
        f"table7-layer1.{ending}" for ending in ("csv", "json", "md", "tex")
    ]


def test_errors_of_the_library_are_one_line_and_status_1(study, planted, capsys):
    assert main(["fig3", "--study", "plante", "--root", str(planted.root)]) == 1
    assert study("fig3", "--layer", "9") == 1
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("error: study 'plante'")
    assert second.startswith("error: --layer 9")
    assert not study.out.exists()


def test_missing_runs_come_with_the_command(study, capsys):
    assert study("fig4", "--seeds", "0,7") == 1
    error, command = capsys.readouterr().err.splitlines()
    assert error.startswith("error: study planted lacks 1 run: qv r=64 seed=7")
    assert command.strip().startswith("python run.py -m study=planted")
    assert command.endswith("targets=qv rank=64 seed=7")


def test_runs_that_are_left_out_are_named_and_the_rest_is_used(planted, tmp_path, capsys):
    root = tmp_path / "outputs"
    shutil.copytree(planted.root, root)
    half = write_run(root, planted.base, 8, 5)
    half.file("run.json").unlink()
    torn = write_run(root, planted.base, 64, 5)
    torn.file("adapter.safetensors").write_bytes(torn.file("adapter.safetensors").read_bytes()[:-40])
    place = ["--study", STUDY, "--root", str(root), "--out", str(tmp_path / "results")]
    assert main(["fig3", *place]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert {line.split(":")[1].strip() for line in lines} == {half.id, torn.id}
    assert all(line.startswith("left out: ") for line in lines)


@pytest.mark.parametrize(
    ("settings", "shown"),
    [
        ({"PYTHONIOENCODING": "ascii"}, b"donnees"),
        ({"PYTHONIOENCODING": "cp1252"}, b"donn\xe9es"),
        ({"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}, b"donn"),
    ],
)
def test_a_terminal_that_lacks_a_character_is_no_trouble(planted, tmp_path, settings, shown):
    root = tmp_path / "outputs"
    write_run(root, planted.base, 8, 0)
    (root / STUDY / "données").mkdir()
    place = ["--study", STUDY, "--root", str(root), "--out", str(tmp_path / "results")]
    done = subprocess.run(
        [sys.executable, "-m", "analysis", "spectra", *place],
        cwd=REPOSITORY,
        env={**os.environ, **settings},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith(b"left out: " + shown)
    assert "ΔW" in (tmp_path / "results/spectra.txt").read_text(encoding="utf-8")


def test_a_file_that_may_no_longer_be_read_costs_what_reads_it_alone(planted, tmp_path, monkeypatch, capsys):
    def make(selection):
        raise PermissionError(errno.EACCES, "Permission denied", "predictions.jsonl")

    toy = dataclasses.replace(COMMANDS["fig3"], make=make)
    monkeypatch.setitem(COMMANDS._entries, "fig3", toy)
    write_run(tmp_path, planted.base, 8, 0)
    place = ["--study", STUDY, "--root", str(tmp_path), "--out", str(tmp_path / "results")]
    lacking = "grid,fig4,fig6,fig7,fig8,table6"  # more runs than one
    assert main(["all", *place, "--skip", lacking, "--wandb", "disabled"]) == 1
    errors = capsys.readouterr().err.splitlines()
    told = [line for line in errors if line.startswith("error: ")]
    assert told == ["error: fig3: predictions.jsonl cannot be read: Permission denied"]
    made = {path.stem for path in (tmp_path / "results").iterdir()}
    assert made == {"table7", "spectra", "claims", "report"}


def test_where_nothing_can_be_written_is_one_line(study, capsys):
    study.out.write_text("a file where the folder should be")
    assert study("fig3") == 1
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith(f"error: {study.out}/fig3.pdf cannot be written: File exists; give another")


def test_settings_choose_among_runs(planted, tmp_path, capsys):
    for rank in (8, 64):
        write_run(tmp_path, planted.base, rank, 0)
    write_run(tmp_path, planted.base, 8, 0, lr=0.5)
    place = ["--study", STUDY, "--root", str(tmp_path), "--out", str(tmp_path / "results")]
    assert main(["fig3", *place]) == 1
    assert "they differ in lr (0.02, 0.5): choose one" in capsys.readouterr().err
    assert main(["fig3", *place, "--choose", "learning_rate=0.02"]) == 2
    assert "learning_rate is not a setting of the runs" in capsys.readouterr().err
    assert main(["fig3", *place, "--choose", "lr=0.3"]) == 1
    assert main(["fig3", *place, "--choose", "lr=0.02"]) == 0
    assert (tmp_path / "results" / "fig3-lr0.02.csv").is_file()


def test_all_makes_what_it_can(planted, tmp_path, capsys):
    write_run(tmp_path, planted.base, 8, 0)
    place = ["--study", STUDY, "--root", str(tmp_path), "--out", str(tmp_path / "results")]
    assert main(["all", *place]) == 1
    made = {path.stem.removesuffix("-z") for path in (tmp_path / "results").iterdir()}
    assert made == {"table7", "spectra", "claims", "report"}
    told = [line.split(": ")[:2] for line in capsys.readouterr().err.splitlines() if line[:1] != " "]
    assert [name for kind, name in told if kind == "error"] == ["grid", "table6"]  # it has no predictions
    assert [name for kind, name in told if kind == "not made"] == [
        *("fig3", "fig4", "fig6", "fig7", "fig8", "baselines", "table5")
    ]
