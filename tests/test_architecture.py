"""Who may import whom: run.py -> experiments -> lora, and analysis -> lora; both meet in the run store.

Besides the store, analysis takes from experiments only what is no training code: how files are identified,
where results come from, the W&B sink, the terminal, what equal budgets are, where conf/ is, what metrics are
(their values can be computed anew for other examples), and the embedded
model's files.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
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
    "experiments.metrics",
    "experiments.embedded.checkpoint",
)


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
                names = [str(node.module)]
            else:
                continue
            for name in names:
                yield str(file.relative_to(ROOT)), name


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
