"""What every test shares: one thread, and where the real data files may be."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory):
    """What tests make of data lies in a folder of theirs."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("LORA_SECTION7_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def one_thread():
    """Matrices this small only lose by being shared out."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real releases: $LORA_TEST_DATA, or ../shared/data beside the repository."""
    folder = Path(os.environ.get("LORA_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set LORA_TEST_DATA to test with the official releases")
    return folder
