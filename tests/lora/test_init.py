import inspect
import subprocess
import sys

import pytest

import lora


def test_the_package_and_its_tables_do_not_import_torch():
    names = "lora, lora.targets, lora.architectures, lora.files"
    code = f"import sys, {names}; print('torch' in sys.modules, *lora.targets.parse_targets('vq'))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["False", "q", "v"]


@pytest.mark.parametrize("name", lora.__all__)
def test_every_public_name_is_there_and_documented(name):
    value = getattr(lora, name)
    assert not inspect.ismodule(value)
    assert value.__name__ == name
    assert value.__doc__


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'lora' has no attribute 'subtract'"):
        lora.subtract  # noqa: B018


def test_dir_lists_the_public_names():
    assert set(lora.__all__) <= set(dir(lora))
