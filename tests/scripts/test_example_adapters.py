"""The adapters of docs/adapters.md, trained for two steps."""

from __future__ import annotations

import pytest

from analysis.checkup.inspect import inspect
from scripts.example_adapters import train

pytest.importorskip("peft")


def test_an_adapter_is_trained_and_read(shared_data, tmp_path):
    texts = ["name[The Wrestlers], food[Italian] = The Wrestlers serves Italian food."] * 16
    loss = train(str(shared_data / "models" / "stories260K"), texts, 2, 0, 2, tmp_path / "adapter")
    assert 0 < loss < 10
    seen = inspect(tmp_path / "adapter")
    assert seen.title() == "35 projections (q, k, v, o, gate, up, down of 5 layers), r = 2, 11,560 parameters"
    assert (seen.numbers["norm"] > 0).all()
