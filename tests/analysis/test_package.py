"""The package's public names."""

import importlib
import pkgutil
import subprocess
import sys
from types import ModuleType

import pytest

import analysis


def test_every_public_name_is_there_whatever_was_imported_before():
    """No function is called as a module: importing that module would put it in the function's place."""
    for module in pkgutil.iter_modules(analysis.__path__):
        if not module.name.startswith("__"):
            importlib.import_module(f"analysis.{module.name}")
    for name in analysis.__all__:
        assert not isinstance(getattr(analysis, name), ModuleType), name
        assert callable(getattr(analysis, name)), name
        assert name in dir(analysis)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'ph'"):
        _ = analysis.ph


def test_importing_it_imports_nothing_heavy():
    program = (
        "import sys, analysis, analysis.errors; "
        "sys.exit(not {'torch', 'numpy', 'scipy', 'matplotlib', 'pandas'}.isdisjoint(sys.modules))"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
