import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora.targets import LETTERS, SCALINGS, parse_ranks, parse_targets, scaling_value, targets_name


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        ("qv", ("q", "v")),
        ("vq", ("q", "v")),
        ("q,v", ("q", "v")),
        ("q v", ("q", "v")),
        ("q", ("q",)),
        (["q", "up"], ("q", "up")),
        (("down", "qk"), ("q", "k", "down")),
        ("qkvo,up,down,gate", LETTERS),
        ("gate,q", ("q", "gate")),
        ("down, o", ("o", "down")),
        ("vv", ("v",)),
    ],
)
def test_targets(given_, expected):
    assert parse_targets(given_) == expected


@given(st.lists(st.sampled_from(LETTERS), min_size=1), st.sampled_from([",", " ", ", "]))
def test_targets_in_any_order_come_in_the_canonical_one(letters, separator):
    parsed = parse_targets(separator.join(letters))
    assert parsed == parse_targets(letters)
    assert set(parsed) == set(letters)
    assert list(parsed) == sorted(parsed, key=LETTERS.index)
    assert parse_targets(parsed) == parsed


@pytest.mark.parametrize(
    ("wrong", "named"), [("qx", "'qx'"), ("q,gat", "'gat'"), ("Q", "'Q'"), (["q", "upq"], "'upq'")]
)
def test_a_wrong_target_is_named_with_the_valid_ones(wrong, named):
    with pytest.raises(ValueError, match=r"valid are q k v o .* up, down") as error:
        parse_targets(wrong)
    assert named in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("wrong", ["", " ,", [], 5, None, [5]])
def test_targets_that_name_nothing(wrong):
    with pytest.raises(ValueError, match="valid are q k v o"):
        parse_targets(wrong)


@pytest.mark.parametrize(("letters", "name"), [("q", "q"), (("q", "v"), "qv"), (["q", "gate"], "q-gate")])
def test_the_name_of_targets(letters, name):
    assert targets_name(letters) == name


def test_ranks():
    assert parse_ranks(4, "vq") == {"q": 4, "v": 4}
    assert list(parse_ranks({"v": 2, "q": 1}, "qv").items()) == [("q", 1), ("v", 2)]


@pytest.mark.parametrize(
    ("rank", "message"),
    [
        (0, "0 is not valid.* at least 1"),
        (-1, "-1 is not valid"),
        (2.0, "2.0 is not valid"),
        ("8", "'8' is not valid"),
        (True, "True is not valid"),
        ([1, 2, 4], "a run with each, -m rank=1,2,4$"),
        ({"q": 1}, "none given for target 'v'"),
        ({"q": 1, "v": 1, "o": 1}, "given for 'o', which is not a target"),
        ({"q": 1, "v": 0}, "0 for 'v'"),
    ],
)
def test_wrong_ranks(rank, message):
    with pytest.raises(ValueError, match=message):
        parse_ranks(rank, "qv")


@given(st.floats(1e-3, 1e3), st.integers(1, 4096))
def test_scalings(alpha, rank):
    assert scaling_value("alpha/r", alpha, rank) == alpha / rank
    assert scaling_value("1/r", alpha, rank) == 1 / rank
    assert scaling_value("alpha/sqrt(r)", alpha, rank) == pytest.approx(alpha * rank**-0.5)


def test_an_unknown_scaling_is_named_with_the_valid_ones():
    with pytest.raises(ValueError, match="'r/alpha' is unknown") as error:
        scaling_value("r/alpha", 8, 8)
    assert all(rule in str(error.value) for rule in SCALINGS)


@pytest.mark.parametrize("alpha", [0, -1, math.inf, math.nan, "8", None, True])
def test_alpha_is_a_positive_number(alpha):
    with pytest.raises(ValueError, match="positive number"):
        scaling_value("alpha/r", alpha, 8)
