"""Execute the notebooks: each notebooks/NAME.py, in jupytext's percent format, makes NAME.ipynb beside it.

    python scripts/run_notebooks.py            # all; also: make notebooks
    python scripts/run_notebooks.py 2          # those whose name begins with 2

The sources are the .py files: what is changed in an .ipynb by hand is overwritten (`jupytext --sync` brings
it into the source first).  What is written holds nothing that changes from one execution to the next but
results.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nbformat import NotebookNode

REPOSITORY = Path(__file__).resolve().parent.parent
NOTEBOOKS = REPOSITORY / "notebooks"
PARAMETERS = "parameters"
TIMEOUT = 600
"""Seconds that a cell may take."""

ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    # tqdm misses a widget, and transformers warns of itself: neither belongs into a lesson.
    "PYTHONWARNINGS": "ignore:IProgress not found,ignore::FutureWarning",
}


def main() -> None:
    prefixes = tuple(sys.argv[1:])
    sources = [path for path in sorted(NOTEBOOKS.glob("*.py")) if path.name.startswith(prefixes or "")]
    if not sources:
        sys.exit(f"no notebook begins with {' or '.join(prefixes)}; there are {', '.join(names())}")
    for source in sources:
        print(f"{source.relative_to(REPOSITORY)} ...", flush=True)
        write(executed(source), source.with_suffix(".ipynb"))


def names() -> list[str]:
    return [path.stem for path in sorted(NOTEBOOKS.glob("*.py"))]


def read_source(path: Path) -> NotebookNode:
    """The notebook of a source, without outputs; cells are numbered, so that a repeat gives the same ids."""
    import jupytext

    notebook = jupytext.read(path)
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"
    return notebook


def executed(path: Path, parameters: Mapping[str, Any] | None = None) -> NotebookNode:
    """The notebook of a source, run from top to bottom on one thread.

    Args:
        parameters: take the place of those in the cell that is tagged "parameters".

    Raises:
        nbclient.exceptions.CellExecutionError: a cell fails.
        ValueError: there is no such parameter.
    """
    from nbclient import NotebookClient

    notebook = read_source(path)
    if parameters:
        _set(notebook, parameters)
    client = NotebookClient(
        notebook,
        timeout=TIMEOUT,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,  # in one piece, however they arrived
        extra_arguments=["--log-level=ERROR"],
        resources={"metadata": {"path": str(REPOSITORY)}},
    )
    client.execute(env=os.environ | ENVIRONMENT)
    notebook.metadata["language_info"] = {"name": "python"}  # not this machine's version of it
    return notebook


def write(notebook: NotebookNode, path: Path) -> None:
    import nbformat

    path.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")


def _set(notebook: NotebookNode, parameters: Mapping[str, Any]) -> None:
    """Add the values to the cell of parameters, below its own."""
    cell = next(cell for cell in notebook.cells if PARAMETERS in cell.metadata.get("tags", []))
    for name, value in parameters.items():
        if f"{name} = " not in cell.source:
            raise ValueError(f"{name} is no parameter of this notebook; they are\n{cell.source}")
        cell.source += f"\n{name} = {value!r}"


if __name__ == "__main__":
    main()
