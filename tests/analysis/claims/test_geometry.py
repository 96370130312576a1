"""What claims are judged from, on adapters in memory."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from analysis import amplification, null_projected_norm
from analysis.claims import weights
from analysis.claims.geometry import FEW, LARGE, MANY, SMALL, Geometry, Lifts
from analysis.reading import tensors
from tests.analysis.claims.builder import FALSE, LAYERS, TRUE, D, factors, weight


class Run:
    """A run whose adapter and base are in memory; `changed` may exchange one projection's factors."""

    def __init__(self, truth, rank, seed, changed):
        self.truth, self.changed = truth, changed
        self.settings = {"rank": rank, "seed": seed}

    def adapter(self, checkpoint):
        return self

    layers = tuple(range(LAYERS))

    def __getitem__(self, key):
        rank, seed = self.settings["rank"], self.settings["seed"]
        return self.changed(factors(self.truth, *key, rank, seed), rank, seed, key[0])

    def base(self, source):
        return SimpleNamespace(projection=weight)


class Selection:
    """Three seeds at Table 7's ranks."""

    targets, letters, layer, seeds = "qv", ("q", "v"), None, None
    checkpoint, device, base = "last", "cpu", None

    def __init__(self, truth=TRUE, changed=lambda factors, rank, seed, layer: factors):
        self.there = {
            (rank, seed): Run(truth, rank, seed, changed) for rank in (FEW, MANY) for seed in (0, 1, 2)
        }

    def available(self):
        return [*self.there.values()]

    def runs(self, ranks, seeds):
        return {(rank, seed): self.there[rank, seed] for rank in ranks for seed in seeds}


def test_lifts_are_those_of_table_7():
    found = Geometry(Selection(FALSE)).lifts
    for rank, lifts in found.items():
        assert lifts.lift.shape == lifts.own.shape == (3, LAYERS)
        pair = factors(FALSE, 1, "q", rank, 2)
        one = amplification(weight(1, "q"), pair.B, pair.A, pair.scaling)
        assert (lifts.lift[2, 1], lifts.factor[2, 1]) == pytest.approx((one.lift, one.factor))
        S = torch.linalg.svdvals(weight(1, "q"))
        null = null_projected_norm(float(S.norm()), (D, D), rank)
        assert lifts.own[:, 1] == pytest.approx(np.full(3, float(S[:rank].norm()) / null))
    assert found[FEW].lift == pytest.approx(found[FEW].own, rel=1e-6)  # along W's own top directions


def test_the_others_are_held_against_all_but_the_first_of_the_large_rank(monkeypatch):
    """A direction of r = 8 that is the first of r = 64 is not among the others of r = 64."""
    axes = torch.eye(D, dtype=torch.float64)
    small = torch.stack([axes[5], axes[0], axes[63], (axes[2] + axes[90]) / 2**0.5, axes[64], *axes[91:94]])

    class Axes(Selection):
        def __init__(self):
            self.there = {(rank, 0): Run(TRUE, rank, 0, None) for rank in (SMALL, LARGE)}

    def directions(selection, run, layer, letter):
        return SimpleNamespace(vectors={SMALL: small, LARGE: axes[:LARGE]}[run.settings["rank"]])

    monkeypatch.setattr(tensors, "directions", directions)

    found = Geometry(Axes()).overlap("q")
    assert found.top.tolist() == [[0.0] * LAYERS]
    assert found.others[0, 0] == pytest.approx([0, 1, 0.5, 0, 0, 0, 0])
    assert (found.top_null, found.others_null) == pytest.approx((1 / D, (LARGE - 1) / (D - 1)))


def test_what_random_directions_give_is_known_well():
    """Their error is small beside what one seed's lift varies by, which is as much as a random one's."""
    for lifts in Geometry(Selection()).lifts.values():
        logarithms = np.log(lifts.random)
        assert (logarithms == logarithms[:1]).all()  # of one W, the same for every seed
        assert not np.array_equal(logarithms[:, 0], logarithms[:, 1])
        spread = logarithms[0].std(axis=1)
        assert (spread / np.sqrt(logarithms.shape[2]) < np.maximum(0.1 * spread, 0.01)).all()
        assert np.square(lifts.random).mean() == pytest.approx(1, rel=0.05)


def test_a_lift_is_a_root_mean_square_over_layers_and_a_geometric_mean_over_seeds():
    lift = np.array([[1.0, 7.0], [3.0, 4.0], [2.0, 14.0]])
    random = np.exp(0.1 * np.random.default_rng(0).standard_normal((1, 2, 500))).repeat(3, axis=0)
    lifts = Lifts(lift, random, 9 * lift, 1 / lift, np.ones((3, 2)), np.full((3, 2), np.nan))
    geometry = SimpleNamespace(
        lifts={FEW: lifts, MANY: dataclasses.replace(lifts, lift=2 * lift)}, weight="q"
    )
    few, many = weights.dw_correlates_with_w(geometry).parts
    expected = np.cbrt(np.sqrt((1 + 49) / 2) * np.sqrt((9 + 16) / 2) * np.sqrt((4 + 196) / 2))
    assert (few.value, many.value) == pytest.approx((expected, 2 * expected))
    chance = np.exp(np.log(np.sqrt(np.square(random[0]).mean(axis=0))).mean())
    assert (few.null, many.null) == pytest.approx((chance, chance))


def test_the_fall_of_the_factor_is_the_claim_and_its_null_a_remark():
    """In every layer and seed the factor falls to a tenth and its null to a fifth, times 1 +- 1 %."""
    off = np.exp(0.01 * np.random.default_rng(1).standard_normal((2, 3, 2)))
    random = np.exp(0.1 * np.random.default_rng(0).standard_normal((1, 2, 500))).repeat(3, axis=0)
    few = Lifts(off[0], random, off[0], 20 * off[0], np.full((3, 2), 40.0), off[0])
    many = Lifts(2 * off[1], random, off[1], 2 * off[1], np.full((3, 2), 8.0), off[1])
    found = weights.amplification_falls(SimpleNamespace(lifts={FEW: few, MANY: many}, weight="q"))
    (part,) = found.parts
    expected = np.exp(np.log(0.1 * off[1] / off[0]).mean())
    assert (part.value, part.null) == pytest.approx((expected, 0.2))
    assert (part.wanted, part.paper, part.p_for < 0.001) == ("< 1", "0.087", True)
    assert "by chance 1: it falls more than by chance; the paper's is 2.69." in found.note
    rising = weights.amplification_falls(SimpleNamespace(lifts={FEW: many, MANY: few}, weight="q"))
    assert rising.parts[0].p_against < 0.001
    assert "it falls less than by chance" in rising.note


def test_a_rank_deficient_dw_is_held_against_its_own_rank():
    def halved(pair, rank, seed, layer):
        if (rank, seed, layer) != (MANY, 1, 0):
            return pair
        B = pair.B.clone()
        B[:, MANY // 2 :] = 0
        return dataclasses.replace(pair, B=B)

    lifts = Geometry(Selection(changed=halved)).lifts[MANY]
    S = torch.linalg.svdvals(weight(0, "q"))
    for seed, rank in ((0, MANY), (1, MANY // 2)):
        null = null_projected_norm(float(S.norm()), (D, D), rank)
        assert lifts.own[seed, 0] == pytest.approx(float(S[:rank].norm()) / null)
    assert lifts.random[1, 0].std() > 1.5 * lifts.random[0, 0].std()  # fewer directions vary more
    assert np.square(lifts.random[1, 0]).mean() == pytest.approx(1, rel=0.2)


def test_a_layer_that_one_seed_did_not_train_is_left_out_and_named():
    def frozen(pair, rank, seed, layer):
        unmoved = (rank, seed, layer) == (FEW, 1, 0)
        return dataclasses.replace(pair, B=0 * pair.B) if unmoved else pair

    whole, part = (Geometry(Selection(changed=changed)) for changed in (lambda *a: a[0], frozen))
    assert np.isnan(part.lifts[FEW].lift[1]).tolist() == [True, False]
    for claim in (
        weights.dw_correlates_with_w,
        weights.dw_lies_off_the_top_of_w,
        weights.amplification_falls,
    ):
        assert "1 of 2 layers left out (dW = 0" in claim(part).note
        assert "left out" not in claim(whole).note
