"""The notebooks run from top to bottom, and what is committed is what their sources say, without noise."""

from __future__ import annotations

import re

import nbformat
import pytest

from scripts.run_notebooks import NOTEBOOKS, executed, names, read_source, write

SMALL = {
    "1_lora": {"STEPS": 4},
    "2_subspaces": {"STEPS": 2},
    "3_sweep": {"STEPS": 2, "TARGETS": "qv", "SEEDS": "0,1", "EXAMPLES": 30},
}
MOST_BYTES = 600_000
OF_A_MACHINE = re.compile(r"/(home|root|Users|tmp|work|var|opt|usr)/|site-packages|[A-Z]:\\|0x[0-9a-f]{6}")


def committed(name):
    return nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)


def outputs(notebook):
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def text(output):
    """What a reader sees of an output, pictures apart."""
    data = {kind: value for kind, value in output.get("data", {}).items() if not kind.startswith("image/")}
    return output.get("text", "") + "\n".join(map(str, data.values()))


def test_three_notebooks():
    assert names() == list(SMALL)


@pytest.mark.parametrize("name", SMALL)
def test_notebook_is_in_step_with_its_source(name):
    def content(notebook):
        return [(cell.cell_type, cell.source, cell.metadata.get("tags", [])) for cell in notebook.cells]

    found, source = committed(name), read_source(NOTEBOOKS / f"{name}.py")
    assert content(found) == content(source), "run make notebooks"
    assert found.metadata["jupytext"]["formats"] == "ipynb,py:percent"
    nbformat.validate(found)


@pytest.mark.parametrize("name", SMALL)
def test_committed_notebook_is_whole_and_free_of_noise(name):
    notebook = committed(name)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert any("image/png" in output.get("data", {}) for output in outputs(notebook))
    for output in outputs(notebook):
        assert output.output_type != "error"
        assert output.get("name") != "stderr", output.text
        assert not OF_A_MACHINE.search(text(output)), text(output)
    assert all("execution" not in cell.metadata for cell in notebook.cells)  # times of the last execution
    assert (NOTEBOOKS / f"{name}.ipynb").stat().st_size < MOST_BYTES


@pytest.mark.parametrize("name", SMALL)
def test_notebook_executes(name, tmp_path):
    notebook = executed(NOTEBOOKS / f"{name}.py", SMALL[name])
    write(notebook, tmp_path / "executed.ipynb")
    made = nbformat.read(tmp_path / "executed.ipynb", as_version=4)
    assert len(made.cells) == len(committed(name).cells)
    assert not [output.text for output in outputs(made) if output.get("name") == "stderr"]
    assert len(outputs(made)) == len(outputs(committed(name)))


def test_every_notebook_ends_with_something_to_do():
    for name in SMALL:
        assert read_source(NOTEBOOKS / f"{name}.py").cells[-1].source.startswith("## Now you")


def test_unknown_parameter_is_an_error():
    with pytest.raises(ValueError, match="STEP is no parameter of this notebook"):
        executed(NOTEBOOKS / "1_lora.py", {"STEP": 1})
