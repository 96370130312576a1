"""Who may import whom: run.py -> experiments -> lora, and analysis -> lora; both meet in the run store.

Besides the store, analysis takes from experiments only what is no training code: how files are identified,
where results come from, the W&B sink, the terminal, what equal budgets are, where conf/ is, what metrics are
(their values can be computed anew for other examples), what methods are called, how a file registers what it
defines, and the embedded model's files.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SHARED = (
    "experiments.store",
    "experiments.identity",
    "experiments.provenance",
    "experiments.wandb_run",
    "experiments.terminal",
    "experiments.budget",
    "experiments.config",
    "experiments.errors",
    "experiments.methods",
    "experiments.metrics",
    "experiments.metrics.metric",
    "experiments.registry",
    "experiments.embedded.checkpoint",
)


PACKAGES = ("lora", "experiments", "analysis", "hydra_plugins")


def imported(package: str) -> Iterator[tuple[str, str]]:
    """(file, module) of every import in a package, wherever in a file it stands."""
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{file}: a relative import"
                names = [_module(f"{node.module}.{alias.name}") or str(node.module) for alias in node.names]
            else:
                continue
            for name in names:
                yield str(file.relative_to(ROOT)), name


def _module(name: str) -> str:
    """The name, where it is that of a module of the project."""
    path = ROOT / name.replace(".", "/")
    return name if path.with_suffix(".py").is_file() or (path / "__init__.py").is_file() else ""


def _name(file: str) -> str:
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def of(package: str, owner: str) -> set[tuple[str, str]]:
    return {(file, name) for file, name in imported(owner) if name.partition(".")[0] == package}


def test_lora_knows_nothing_of_the_others() -> None:
    assert not of("experiments", "lora") | of("analysis", "lora")
    assert not {
        pair for pair in imported("lora") if pair[1].partition(".")[0] in ("hydra", "wandb", "datasets")
    }


def test_training_knows_nothing_of_the_analysis() -> None:
    assert not of("analysis", "experiments")


def test_the_analysis_takes_no_training_code() -> None:
    assert not {pair for pair in of("experiments", "analysis") if pair[1] not in SHARED}


@pytest.mark.parametrize("module", SHARED)
def test_what_both_share_is_light(module: str) -> None:
    heavy = "{'torch', 'transformers', 'datasets', 'wandb', 'numpy', 'pandas'}"
    program = f"import sys, {module}; sys.exit(not {heavy}.isdisjoint(sys.modules))"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)


def test_no_module_imports_itself_by_way_of_others() -> None:
    """Wherever an import stands: in a function, or under TYPE_CHECKING, it hides a circle and opens none."""
    graph: dict[str, set[str]] = {}
    for file, name in (pair for package in PACKAGES for pair in imported(package)):
        if _module(name):
            graph.setdefault(_name(file), set()).add(name)
    assert len(graph) > 100
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a circle: {' <- '.join(error.args[1])}")
