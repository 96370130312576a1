"""The pages of inspect and compare in a real browser, at the widths of a desk and of a telephone."""

from __future__ import annotations

import pytest
import torch

from analysis.checkup.compare import compare
from analysis.checkup.inspect import inspect
from analysis.checkup.page import comparison_page, inspection_page
from tests.analysis.checkup.adapters import llama
from tests.analysis.report.test_browser import BROWSER, look

pytestmark = pytest.mark.skipif(not BROWSER, reason="needs Debian's chromium")


@pytest.fixture
def paths(planted):
    generator = torch.Generator().manual_seed(0)
    found = []
    for name in ("one", "with-a-name-that-is-as-long-as-those-of-checkpoints-are"):
        pairs = {
            llama(layer, letter): (
                torch.randn(48, 8, generator=generator),
                torch.randn(8, 64, generator=generator),
            )
            for layer in range(4)
            for letter in ("q", "gate", "down")
        }
        pairs["vision_tower.blocks.3.some_module_with_a_long_name.projection"] = (
            torch.randn(20, 8, generator=generator),
            torch.randn(8, 30, generator=generator),
        )
        found.append(planted(pairs, name))
    return found


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("kind", ["inspect", "compare"])
def test_nothing_is_lost_and_nothing_scrolls_sideways(paths, tmp_path, width, kind):
    page = inspection_page(inspect(paths[0])) if kind == "inspect" else comparison_page(compare(paths))
    seen, console = look(page, tmp_path, width)
    assert seen == {"folded": width, "unfolded": width, "blank": 0, "lost": 0}
    assert console == []
    assert page.count("<img") == (3 if kind == "inspect" else 2)
