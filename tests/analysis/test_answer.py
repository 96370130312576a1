"""The smallest weights and rank that will do: how often the procedure errs, and what it says."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.answer import answer, decide
from analysis.errors import AnalysisError
from analysis.grid import grids
from analysis.statistics import Needed, Outcomes, compare, holm
from tests.analysis.statistics.conftest import answers, binomial_limits
from tests.analysis.test_grid import reference, select, study

__all__ = ["binomial_limits", "study"]

MARGIN, HALF = 0.1, 0.025


def simulated(generator, accuracies, seeds, seed_sd, examples=200):
    difficulty = generator.standard_normal(examples)
    return {
        number: Outcomes(answers(generator, seeds, examples, one, seed_sd=seed_sd, difficulty=difficulty))
        for number, one in enumerate(accuracies)
    }


def decisions(accuracies, seeds, seed_sd, studies, generator_seed=0):
    generator = np.random.default_rng(generator_seed)
    return [
        decide(simulated(generator, accuracies, seeds, seed_sd), MARGIN, resamples=500)
        for _ in range(studies)
    ]


@pytest.mark.parametrize(("seeds", "seed_sd"), [(3, 0.05), (3, 0.3), (5, 0.05)])
def test_none_of_many_cells_at_the_margin_is_called_within_it(seeds, seed_sd, binomial_limits):
    """Every cell but the best is worse by just the margin, or by more: none may be named, however many."""
    studies = 120
    accuracies = [0.7, *[0.6] * 4, *[0.45] * 3]
    found = decisions(accuracies, seeds, seed_sd, studies)
    wrong = sum(bool(one.within - {0}) for one in found)
    assert wrong / studies <= binomial_limits(HALF, studies)[1]


@pytest.mark.parametrize(("seeds", "seed_sd"), [(2, 0.3), (3, 0.3), (5, 0.05)])
def test_the_smallest_that_will_do_is_not_ruled_out_by_the_luckiest_of_many(seeds, seed_sd, binomial_limits):
    """The smallest is just within the margin of many equal cells, of which some one looks best by luck."""
    studies = 120
    found = decisions([0.601, *[0.7] * 6], seeds, seed_sd, studies, generator_seed=1)
    assert sum(0 in one.worse for one in found) / studies <= binomial_limits(HALF, studies)[1]


def test_picking_the_highest_by_eye_would_err_more_often():
    """The test above can fail: compared with the highest alone the smallest is ruled out too often."""
    studies = 120
    wrong = 0
    generator = np.random.default_rng(1)
    for _ in range(studies):
        cells = simulated(generator, [0.601, *[0.7] * 15], 5, 0.3)
        top = max(cells, key=lambda key: cells[key].mean)
        if top != 0:
            found = compare(cells[0], cells[top], reference=-MARGIN, resamples=500)
            wrong += found.difference < -MARGIN and found.p_value / 2 <= HALF
    assert wrong / studies > 0.08


def test_it_finds_what_is_there():
    found = decisions([0.4, 0.69, 0.7], seeds=5, seed_sd=0.05, studies=20)
    assert sum(one.within == {1, 2} for one in found) >= 16
    assert all([*one.worse] == [0] for one in found)


def test_the_rule_is_that_of_every_pair():
    """Stopping early changes nothing: as from all pairs, each against each."""
    generator = np.random.default_rng(5)
    for _ in range(10):
        cells = simulated(generator, [0.45, 0.55, 0.62, 0.68, 0.7], 4, 0.1)
        found = decide(cells, MARGIN, resamples=500)
        p_worse = {}
        for key in cells:
            others = [
                compare(cells[key], cells[o], reference=-MARGIN, resamples=500) for o in cells if o != key
            ]
            p_worse[key] = [c.p_value / 2 if c.difference < -MARGIN else 1 - c.p_value / 2 for c in others]
        simes = {key: min(4 * p / k for k, p in enumerate(sorted(ps), 1)) for key, ps in p_worse.items()}
        worse = {key for key, p in simes.items() if p <= HALF}
        assert {*found.worse} == worse
        left = [key for key in cells if key not in worse]
        adjusted = holm([max(1 - p for p in p_worse[key]) for key in left])
        assert found.within == {key for key, p in zip(left, adjusted, strict=True) if p <= HALF}


def test_other_scores_than_right_and_wrong():
    """Real numbers, and a corpus metric of two statistics."""
    generator = np.random.default_rng(2)
    easy = generator.standard_normal(300)

    def real(mean):
        return Outcomes(mean + easy + 0.1 * generator.standard_normal((4, 300)))

    found = decide({"r1": real(0.0), "r2": real(1.0), "r4": real(1.01)}, 0.2)
    assert (found.top, found.within, {*found.worse}) == ("r4", {"r2", "r4"}, {"r1"})

    def corpus(share):
        words = generator.integers(5, 20, (4, 300))
        return Outcomes(
            np.stack([generator.binomial(words, share), words], axis=-1).astype(float),
            of_totals=lambda totals: totals[..., 0] / totals[..., 1],
        )

    found = decide({"r1": corpus(0.3), "r2": corpus(0.6)}, 0.05)
    assert (found.within, {*found.worse}) == ({"r2"}, {"r1"})


def test_what_cannot_be_compared():
    cell = Outcomes(np.ones((2, 5)))
    with pytest.raises(AnalysisError, match="margin=0 is not valid"):
        decide({"a": cell, "b": cell}, 0.0)
    for cells in ({"a": cell}, {"a": cell, "b": Outcomes(np.ones((1, 5)))}):
        with pytest.raises(AnalysisError, match="two cells or more, each with two seeds"):
            decide(cells, 0.01)


# ---------------------------------------------------------------------------------------------- the words


def the_answer(study, margin=0.05):
    selection = select(study)
    [grid] = grids(selection)
    return answer(grid, margin, selection)


def fill(study, shares, seeds=range(5)):
    """Runs of q by rank, whose answers differ in seed and rank only by what is planted."""
    for rank, share in shares.items():
        for seed in seeds:
            study.run(targets="q", rank=rank, seed=seed, share=share)


def test_decided(study):
    fill(study, {1: 0.5, 2: 0.80, 8: 0.81})
    found = the_answer(study)
    assert found.smallest.name == "q r=2"
    assert found.undecided == found.commands == ()
    assert found.sentences.startswith(
        "sql: q r=2, 4,096 parameters, is the smallest that is not worse than the best (81.0, q r=8) by more "
        "than 5 points: -1.0 ["
    )
    assert "The only one smaller than q r=2 is worse by more than that, q r=1: -31.0 [-" in found.sentences
    assert "On dev q r=8 is the highest too." in found.sentences
    assert [found.status(cell) for cell in found.grid.cells] == ["worse", "within", "within"]


def test_undecided_says_what_would_decide(study):
    for seed in range(3):
        study.run(targets="q", rank=1, seed=seed, share=0.60 + 0.03 * seed)
        study.run(targets="q", rank=4, seed=seed, share=0.64 + 0.01 * seed, alpha=8.0)
    found = the_answer(study)
    assert found.smallest is None
    assert [cell.name for cell in found.undecided] == ["q r=1", "q r=4"]
    assert "none of 2 is shown to be within 5 points of the best, and none to be worse by" in found.sentences
    assert "more. The highest is q r=4" in found.sentences
    assert "; the smallest, which may do as well, q r=1 (2,048" in found.sentences
    assert "q r=1 against q r=4: " in found.sentences
    assert found.needed.more_seeds
    [line] = found.commands
    seeds = ",".join(map(str, range(3, 3 + found.needed.more_seeds)))
    assert line.startswith("python run.py -m study=mine ")
    assert line.endswith(f" targets=q rank=1,4 seed={seeds}")


def test_what_is_smaller_than_what_is_shown_may_be_open(study):
    fill(study, {4: 0.80, 8: 0.80}, seeds=range(8))
    for seed in range(8):
        study.run(targets="q", rank=1, seed=seed, share=0.62 + 0.03 * seed)
    found = the_answer(study)
    assert found.smallest.name == "q r=4"
    assert "q r=4, 8,192 parameters, is not worse than the best" in found.sentences
    assert (
        "Undecided is whether a smaller one is not either: q r=1 (2,048 parameters; -7.5 [" in found.sentences
    )


def test_one_seed_decides_nothing(study):
    fill(study, {1: 0.5, 2: 0.80, 8: 0.81}, seeds=[7])
    found = the_answer(study)
    assert found.decision is None
    assert found.sentences.startswith(
        "sql: the highest is q r=8, 16,384 parameters: 81.0. Of those that measure within 5 points of it "
        "q r=2, 4,096 parameters, is the smallest: 80.0. One seed decides nothing"
    )
    assert not any(word in found.sentences for word in ("not worse", "[", "best"))
    assert found.commands[0].endswith("targets=q rank=1,2,8 seed=8,9")
    assert {found.status(cell) for cell in found.grid.cells} == {""}


def test_a_cell_of_one_seed_is_named_and_takes_no_part(study):
    fill(study, {1: 0.5, 2: 0.80, 8: 0.81})
    study.run(targets="qv", rank=4, seed=0, share=0.9)
    found = the_answer(study)
    assert found.smallest.name == "q r=2"
    assert "Not compared, for one seed decides nothing: qv r=4." in found.sentences


def test_a_plan_that_is_met_asks_for_one_seed_more(study, monkeypatch):
    for seed in range(2):
        study.run(targets="q", rank=1, seed=seed, share=0.60 + 0.05 * seed)
        study.run(targets="q", rank=4, seed=seed, share=0.64 + 0.01 * seed)
    enough = Needed(0, None, None, "these seeds decide", 0, 3)
    monkeypatch.setattr("analysis.answer.seeds_needed", lambda *_, **__: enough)
    found = the_answer(study)
    assert (
        "q r=1 against q r=4: 1 more seed would decide (80% power, the present effect taken as true); up to "
        "3, were it a standard error smaller."
    ) in found.sentences
    assert found.commands[0].endswith("rank=1,4 seed=2")


def test_further_seeds_are_those_that_another_cell_has_before_new_ones(study):
    for seed in (0, 1, 4):
        study.run(targets="q", rank=1, seed=seed, share=0.60 + 0.03 * seed)
    for seed in (0, 1):
        study.run(targets="q", rank=4, seed=seed, share=0.64 + 0.01 * seed)
    found = the_answer(study)
    count = found.needed.more_seeds
    assert count > 1
    new = ",".join(map(str, range(5, 4 + count)))
    asked = {line.partition(" targets=")[2] for line in found.commands}
    assert asked == {f"q rank=4 seed=4,{new}", f"q rank=1 seed={new}"} or asked == {
        f"q rank=1,4 seed={new}",
        "q rank=4 seed=4",
    }


def test_one_cell_alone(study):
    fill(study, {2: 0.8})
    found = the_answer(study)
    assert found.sentences == "sql: q r=2, 4,096 parameters: 80.0. There is nothing to compare it with."
    assert found.commands == ()


def test_no_cell_with_a_rank(study):
    reference(study, "full", share=0.9)
    assert the_answer(study) is None


def test_ranks_by_letter_have_a_command_too(study):
    for seed in range(2):
        study.run(targets="qv", ranks={"q": 1, "v": 3}, seed=seed, share=0.6 + 0.02 * seed)
        study.run(targets="q", rank=4, seed=seed, share=0.64 + 0.01 * seed)
    found = the_answer(study)
    assert any("rank={q: 1, v: 3}" in line for line in found.commands)


def test_runs_that_learned_nothing_are_not_compared(study):
    for rank in (1, 8):
        for seed in (0, 1):
            study.run(rank=rank, seed=seed, share=0.0)
    [grid] = grids(selection := select(study))
    made = answer(grid, 0.01, selection)
    assert made.all_alike
    assert "every run of these cells scores the same on every example, 0.0 in all: none has" in made.sentences
    assert "predictions.jsonl has what each run answered" in made.sentences
    study.run(rank=16, seed=0, share=0.1)
    [grid] = grids(selection := select(study))
    assert "none has learned" not in answer(grid, 0.01, selection).sentences


def test_runs_that_are_right_throughout_are_not_called_untrained(study):
    for rank in (1, 8):
        for seed in (0, 1):
            study.run(rank=rank, seed=seed, share=1.0)
    [grid] = grids(selection := select(study))
    made = answer(grid, 0.01, selection)
    assert "100.0 in all: the " in made.sentences
    assert "examples are too easy to tell the cells apart. The smallest is qv r=1, " in made.sentences
    assert "none has learned" not in made.sentences


def test_the_smallest_may_be_the_highest_where_nothing_is_decided(study):
    for seed in range(2):
        study.run(rank=1, seed=seed, share=0.62 + 0.02 * seed)
        study.run(rank=8, seed=seed, share=0.6 + 0.03 * seed)
    [grid] = grids(selection := select(study))
    told = answer(grid, 0.01, selection).sentences
    assert "none to be worse by more. The highest is qv r=1, " in told
    assert "; and no other is smaller. " in told
