"""One file is all that a figure takes: it is in the help, in `all` and in the report."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from analysis.reading.study import Study
from analysis.registry import COMMANDS, Command
from experiments.errors import UserError
from tests.analysis.planted import STUDY, planted, write_run
from tests.analysis.report.reading import Page

__all__ = ["planted"]

ROOT = Path(__file__).resolve().parents[2]
FIGURE = '''
"""How large the study is."""
from analysis.registry import command
from analysis.result import Drawing, Result

@command(
    "size", "how many runs there are", every_task=True, selects=("seeds",), title="The size", place="first"
)
def size(selection, margin=1.0):
    import pandas
    from matplotlib.figure import Figure

    runs = selection.study.runs
    figure = Figure()
    figure.add_subplot().plot([0, len(runs)])
    numbers = pandas.DataFrame({"runs": [len(runs)], "margin": [margin]})
    drawing = Drawing(figure, "So many runs has the study.")
    return Result("size", numbers, {}, {"": drawing}, answers=["It is small."])
'''
PROGRAM = """
import sys
import analysis.figures
analysis.figures.__path__.append(sys.argv.pop(1))
from analysis.commands import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def analysis(tmp_path):
    """The command line of a program that has the toy figure."""
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "size.py").write_text(FIGURE)

    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-c", PROGRAM, str(tmp_path / "figures"), *arguments],
            cwd=ROOT,
            check=False,
            capture_output=True,
            text=True,
        )

    return run


def test_a_figure_of_one_file_is_everywhere(analysis, planted, tmp_path):
    assert "size how many runs there are" in " ".join(analysis("--help").stdout.split())
    options = analysis("size", "--help").stdout
    assert "--seeds" in options
    assert "--margin" in options
    assert "--basis" not in options
    root = tmp_path / "outputs"
    for seed in (0, 1, 2):
        write_run(root, planted.base, 8, seed)
    place = ["--study", STUDY, "--root", str(root), "--out", str(tmp_path / "out")]
    others = ",".join(name for name in COMMANDS if name != "report")
    done = analysis("all", *place, "--margin", "3", "--skip", others, "--wandb", "disabled")
    assert done.returncode == 0, done.stderr
    runs = len(Study.open(STUDY, root).runs)
    assert (tmp_path / "out" / "size.csv").read_text() == f"runs,margin\n{runs},3\n"
    assert (tmp_path / "out" / "size.png").is_file()
    page = Page.read((tmp_path / "out" / "report-margin3.html").read_text(encoding="utf-8"))
    block = page.section("first").one("div", id="size")
    assert block.one("img").attributes["alt"] == "The size: how many runs there are"
    assert block.one("figcaption").text == "So many runs has the study."
    assert page.section("first").all("p", class_="answer")[0].text == "It is small."


def test_two_commands_of_one_name_are_an_error():
    def another(selection):
        raise AssertionError

    with pytest.raises(UserError, match=r"command fig3 is defined twice: in analysis\.figures\S* and tests"):
        COMMANDS.register(Command("fig3", another, "a second"), another)


def test_a_commands_own_options_are_the_parameters_of_its_function():
    assert COMMANDS["grid"].own == ("margin", "paper", "metric")
    assert COMMANDS["report"].own == ("margin",)
    assert [name for name in COMMANDS if COMMANDS[name].sums_up] == ["report"]
    assert "margin" not in COMMANDS["table5"].options
