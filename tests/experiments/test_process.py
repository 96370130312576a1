"""What spares a training process some work: it is set, and undone where it has to be."""

from __future__ import annotations

import gc
import os

import pytest

from experiments import process


def test_onednn_keeps_more_kernels_than_it_would(monkeypatch):
    monkeypatch.delenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", raising=False)
    process.tune()
    assert int(os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"]) > 1024


def test_what_the_user_set_is_kept(monkeypatch):
    monkeypatch.setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "7")
    process.tune()
    assert os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] == "7"


def test_objects_are_out_of_the_collectors_way_for_a_while_only():
    def stop() -> None:
        with process.long_lived_objects():
            assert gc.get_freeze_count() > 1000
            raise ValueError("stopped")

    with pytest.raises(ValueError, match="stopped"):
        stop()
    assert gc.get_freeze_count() == 0


def test_garbage_of_a_run_is_collected_after_it():
    freed = []

    class Node:
        def __del__(self) -> None:
            freed.append(True)

    node = Node()
    node.itself = node
    with process.long_lived_objects():
        del node
    gc.collect()
    assert freed == [True]
