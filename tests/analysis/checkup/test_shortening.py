"""Names that stay different when they are cut."""

from __future__ import annotations

import pytest

from analysis.checkup.shortening import shortened

UNET = [
    f"unet.{block}.attentions.{part}.transformer_blocks.0.attn{n}.to_{letter}"
    for block in ("down_blocks.*", "mid_block", "up_blocks.*")
    for part in (0, 1)
    for n in (1, 2)
    for letter in ("q", "k", "v", "out.0")
]


@pytest.mark.parametrize("width", [16, 24, 34, 60])
@pytest.mark.parametrize("between", [".", "_"])
def test_what_tells_names_apart_stays(width, between):
    names = [name.replace(".", between) for name in UNET]
    found = shortened(names, width)
    assert len(set(found)) == len(names)
    assert max(map(len, found)) <= width + 24
    for name, short in zip(names, found, strict=True):
        assert short.endswith(name.rpartition(between)[2])


def test_what_all_have_goes():
    names = [f"unet.{side}_blocks.*.attentions.0.ff.to_{q}" for side in ("down", "up") for q in "qk"]
    assert shortened(names, 16) == [
        "…down_blocks.…to_q",
        "…down_blocks.…to_k",
        "…up_blocks.…to_q",
        "…up_blocks.…to_k",
    ]


def test_short_names_stay_as_they_are():
    assert shortened(["q", "v"], 24) == ["q", "v"]
    assert shortened([], 24) == []
    assert shortened(["q", UNET[0]], 24) == ["q", "…0.attn1.to_q"]
