"""What a table's differences are worth: intervals, paired comparisons, equivalence, corrections, verdicts.

Pure functions of numpy arrays: a cell is its (seeds, examples) matrix of scores, right and wrong answers or
any numbers; of a corpus metric (seeds, examples, statistics).

    from analysis import statistics

    cell = statistics.Outcomes(scores, seeds=(0, 1, 2))           # (3, examples)
    statistics.mean_score(cell)                                   # mean, seed sd, 95% interval
    better = statistics.compare(cell, other)                      # difference, interval, p-value
    same = statistics.equivalence(cell, other, margin=0.01)       # two one-sided tests
    statistics.with_holm([better, ...])                           # corrected for the family
    statistics.verdict(better), statistics.seeds_needed(better)   # "undecided", 3 more seeds

    statistics.unit_mean(lifts, reference=1)                      # one number a seed: mean, interval, p-value
    statistics.pair_mean(overlaps)                                # one number a pair of seeds: jackknife
    statistics.rank_correlation(x, y)                             # Spearman's, as Fisher's z

Values and differences are in the metric's own unit, an accuracy's a share (0.01 is one point); tables show
per cent.
"""

from analysis.statistics.bootstrap import CellMean, mean_score
from analysis.statistics.comparison import Comparison, compare, equivalence, mcnemar, verdict
from analysis.statistics.correlation import rank_correlation
from analysis.statistics.family import Best, best_together, holm, with_holm
from analysis.statistics.normality import normality
from analysis.statistics.outcomes import Outcomes
from analysis.statistics.planning import Needed, one_more, seeds_needed, units_needed
from analysis.statistics.ratios import Ratio, paired_ratio
from analysis.statistics.units import UnitMean, pair_mean, unit_mean
from analysis.statistics.variance import Components, components

__all__ = [
    "Best",
    "CellMean",
    "Comparison",
    "Components",
    "Needed",
    "Outcomes",
    "Ratio",
    "UnitMean",
    "best_together",
    "compare",
    "components",
    "equivalence",
    "holm",
    "mcnemar",
    "mean_score",
    "normality",
    "one_more",
    "pair_mean",
    "paired_ratio",
    "rank_correlation",
    "seeds_needed",
    "unit_mean",
    "units_needed",
    "verdict",
    "with_holm",
]
