"""A wheel has every file that the packages read: it is installed where there is no checkout."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from experiments.config import CONF

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGES = ("lora", "experiments", "analysis", "hydra_plugins")
SOURCES = (*PACKAGES, "conf", "pyproject.toml", "README.md", "LICENSE")
NOT_READ = {".py", ".pyc", ".pyi", ".md"}

pytest.importorskip("setuptools", minversion="77")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The content of a wheel, as pip makes it, unpacked: what a folder of installed packages has."""
    source = tmp_path_factory.mktemp("source")
    for name in SOURCES:
        place = REPOSITORY / name
        if place.is_dir():
            shutil.copytree(
                place,
                source / name,
                symlinks=True,
                ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"),
            )
        else:
            shutil.copy(place, source / name)
    build = "from setuptools import build_meta; build_meta.build_wheel('wheel')"
    done = subprocess.run(
        [sys.executable, "-c", build], cwd=source, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = (source / "wheel").glob("*.whl")
    folder = tmp_path_factory.mktemp("installed")
    zipfile.ZipFile(wheel).extractall(folder)
    return folder


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_the_configuration_is_in_it_whole(installed: Path) -> None:
    assert files(installed / "experiments" / "conf") == files(CONF)


@pytest.mark.parametrize("package", PACKAGES)
def test_every_module_and_every_file_that_is_read_is_in_it(package: str, installed: Path) -> None:
    there = {name for name in files(REPOSITORY / package) if not name.startswith("conf/")}
    wanted = {name for name in there if Path(name).suffix not in NOT_READ - {".py"}}
    assert wanted - files(installed / package) == set()


def test_it_finds_its_configuration_without_a_checkout(installed: Path, tmp_path: Path) -> None:
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from analysis.reading.needs import Need, commands\n"
        "from experiments.config import CONF; from experiments.plan import plan\n"
        "assert len(plan(['-m', '+experiment=table6', 'seed=0', 'task=sql']).runs) == 18\n"
        "print(CONF); print(*commands('s', 'outputs', {'task': 'sql', 'model': 'gpt2'}, [Need('qv', 8, 0)]))"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", program, str(installed)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    place, command = done.stdout.splitlines()
    assert Path(place) == (installed / "experiments" / "conf").resolve()
    assert command == "python run.py -m study=s task=sql model=gpt2 targets=qv rank=8 seed=0"
