# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 3 · Reading a sweep
#
# A sweep over weight types and ranks ends in a table, one number a cell, and one number is the largest. Most
# differences in the paper's Table 6 are smaller than one standard error, and it has one number a cell. This
# notebook goes from the runs to what they support: the spread between seeds, paired comparisons with
# intervals, verdicts, and the three traps that catch most readers.
#
# It trains twelve very short runs (under a minute on one core, no network). **To read your own study, name
# it here**; the rest of the notebook stays as it is.

# %% tags=["parameters"]
STUDY = None  # such as "section7", a folder of ROOT; None: a small one that section 1 trains
ROOT = "outputs"  # where your studies are, seen from the repository
TASK = "nli"  # of the study
STEPS = 40  # of training, for the small study; below, what else it has
TARGETS = "q,qv"
SEEDS = "0,1,2"
EXAMPLES = 120  # in its test split

# %%
import itertools
import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import Image, Markdown

import analysis
import experiments
from analysis import statistics
from analysis.cells import Cells, Evaluation, lora_runs
from analysis.reading.predictions import read_predictions

repository = Path(experiments.__file__).parent.parent

# %% [markdown]
# ## 1. The runs
#
# The small study is two weight types, the paper's smallest and largest rank, and three seeds, by the command
# that you would type. The task is natural-language inference with three labels.

# %%
name, root = STUDY, repository / ROOT
if STUDY is None:
    name, root = "small", Path(tempfile.mkdtemp())
    command = f"""
        run.py -m root={root} study=small task=nli targets={TARGETS} rank=1,64 seed={SEEDS}
        steps={STEPS} batch_size=8 task.train=320 task.dev={EXAMPLES // 3} task.test={EXAMPLES}
        wandb.mode=disabled
    """
    done = subprocess.run([sys.executable, *command.split()], cwd=repository, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

study = analysis.Study.open(name, root)
runs = lora_runs(study.frame[study.frame["task"] == TASK])
print(f"{len(runs)} runs; left out: {len(study.left_out)}")
runs[["targets", "rank", "seed", "lr", "trainable", "dev_last", "test_last"]].round(3)

# %% [markdown]
# `analysis.load(name)` gives this table for any study: one row a finished run, every setting a column. A
# damaged or unfinished run is left out and named in `study.left_out`, never read in silence.
#
# ## 2. The table, and the tempting reading
#
# Targets by rank, mean over seeds, in per cent.

# %%
cell_of_table = runs.groupby(["targets", "rank"])["test_last"]
(100 * cell_of_table.mean()).unstack().round(1)

# %%
means = cell_of_table.mean().sort_values(ascending=False)
(best, first), (_, second) = (list(means.items())[k] for k in (0, 1))
print(f"the largest number: {best[0]} at r = {best[1]}, by {100 * (first - second):.1f} points")

# %% [markdown]
# Do not write that down yet.
#
# ## 3. How much of it is noise
#
# Two sources. **Examples**: an accuracy $p$ on $m$ examples has a standard error of $\sqrt{p (1 - p) / m}$,
# however the model was trained. **Seeds**: another initialisation and order of data give another model.
# `Cells` reads each run's answers, example by example, and `mean_score` makes an interval that holds
# both.

# %%
cells = Cells(runs, Evaluation(checkpoint="last", split="test"))
rows = {}
for targets, rank in cells:
    mean = cells[targets, rank].mean
    rows[f"{targets} r={rank}"] = {
        "mean": 100 * mean.mean,
        "seed sd": 100 * mean.seed_sd,
        "error from examples": 100 * (mean.mean * (1 - mean.mean) / mean.examples) ** 0.5,
        "95% from": 100 * mean.low,
        "to": 100 * mean.high,
        "seeds": mean.seeds,
        "examples": mean.examples,
    }
table = pd.DataFrame.from_dict(rows, orient="index")
table.round(1)

# %%
figure, axes = plt.subplots(figsize=(5.5, 0.5 * len(table) + 0.9))
for y, (_, row) in enumerate(table.iterrows()):
    axes.plot([row["95% from"], row["to"]], [y, y], color="C0", lw=6, alpha=0.3, solid_capstyle="butt")
    axes.plot(row["mean"], y, "|", color="C0", ms=14, mew=2)
    seeds = 100 * cells[list(cells)[y]].outcomes.scores.mean(1)
    axes.plot(seeds, [y] * len(seeds), "o", color="black", ms=3)
if TASK in ("nli", "mnli"):
    axes.axvline(100 / 3, color="0.5", ls=":", lw=1)
    axes.text(100 / 3, -0.75, " guessing", color="0.4", fontsize=8, va="center")
axes.set(
    yticks=range(len(table)),
    yticklabels=table.index,
    ylim=(len(table) - 0.4, -1.1),
    xlabel="test accuracy, %",
)
axes.set_title("each seed (dots), mean (bar), 95% interval (band)", fontsize=10)
axes.spines[["top", "right"]].set_visible(False)

# %% [markdown]
# The gap of section 2 beside these bands is the first thing to look at in any table of a sweep. And where a
# band holds the line for guessing, nobody has shown yet that the runs learned anything; so few steps teach
# little.
#
# ## 4. Compare in pairs
#
# Two cells answer the *same* examples, and seed 0 of one shares its data order with seed 0 of the other. So
# take the difference answer by answer: what is hard for both cancels. `compare` does that, with a bootstrap
# over seeds and examples. With several comparisons the smallest p-value is small by luck, so they are
# corrected together (Holm).

# %%
pairs = list(itertools.combinations(cells, 2))
found = statistics.with_holm([statistics.compare(cells[b].outcomes, cells[a].outcomes) for a, b in pairs])

compared = {}
for (a, b), comparison in zip(pairs, found, strict=True):
    compared[f"{b[0]} r={b[1]} minus {a[0]} r={a[1]}"] = {
        "points": round(100 * comparison.difference, 1),
        "95% from": round(100 * comparison.low, 1),
        "to": round(100 * comparison.high, 1),
        "p": round(comparison.p_value, 3),
        "p (Holm)": round(comparison.p_holm, 3),
        "first is better": statistics.verdict(comparison),
    }
    assert comparison.low <= comparison.difference <= comparison.high
pd.DataFrame.from_dict(compared, orient="index")

# %% [markdown]
# *Undecided* is a result: these data do not tell. It comes with a plan, the number of seeds that would
# decide if the difference is what it seems. It is a plan and not a stopping rule: adding seeds until the
# verdict changes finds differences that are not there.

# %%
for (a, b), comparison in list(zip(pairs, found, strict=True))[:3]:
    plan = statistics.seeds_needed(comparison)
    print(f"{b[0]} r={b[1]} against {a[0]} r={a[1]}: {plan.reason}")

# %% [markdown]
# ## 5. "No difference" must be shown too
#
# "r = 1 is as good as r = 64" is a claim of its own, and p > 0.05 does not support it: with one seed and ten
# examples hardly anything ever differs. State a margin, here one point, and ask whether the whole 90%
# interval lies inside it (two one-sided 5% tests). Of the weight type with most ranks, the smallest against
# the largest:

# %%
ranks = {targets: sorted(rank for other, rank in cells if other == targets) for targets, _ in cells}
targets = max(ranks, key=lambda name: (len(ranks[name]), name))
low, *_, high = ranks[targets]
same = statistics.equivalence(cells[targets, low].outcomes, cells[targets, high].outcomes, margin=0.01)
interval = f"90% interval {100 * same.low:+.1f} to {100 * same.high:+.1f}"
print(f"{targets}, r = {low} minus r = {high}: {100 * same.difference:+.1f} points, {interval}")
print(f"equal within 1 point: {statistics.verdict(same)}; {statistics.seeds_needed(same).reason}")

inside = -same.margin < same.low and same.high < same.margin
assert inside == (statistics.verdict(same) == "supported")

# %% [markdown]
# ## 6. What a verdict is worth
#
# The way to trust a method is to try it where the truth is known. Two simulated cells with as many examples
# as yours and three seeds that differ by 2 points (standard deviation); the first is truly better by 0, 5,
# 10 or 15 points. How often does `compare` say so?

# %%
generator = np.random.default_rng(0)
examples = int(table["examples"].iloc[0])


def answers(accuracy, seeds=3):
    """Right and wrong answers, (seeds, examples)."""
    return generator.random((seeds, examples)) < accuracy + 0.02 * generator.standard_normal((seeds, 1))


verdicts = {}
for points in (0, 5, 10, 15):
    said = [
        statistics.verdict(statistics.compare(answers(0.5 + points / 100), answers(0.5), resamples=2000))
        for _ in range(50)
    ]
    verdicts[f"{points} points better"] = {
        word: said.count(word) / len(said) for word in ("supported", "undecided", "contradicted")
    }
worth = pd.DataFrame.from_dict(verdicts, orient="index")
assert worth.loc["0 points better", "undecided"] >= 0.85  # wrong in about 5% of cases, as promised
assert worth["supported"].iloc[-1] > worth["supported"].iloc[0]
worth.map("{:.0%}".format)

# %% [markdown]
# Where nothing differs, it hardly ever claims a difference; a true one is found only if it is large beside
# the noise. Read your own "undecided" with the row of this table in mind whose difference you would care
# about.
#
# ## 7. Three traps
#
# **The best of many is flattered.** Choose a run or a learning rate by its dev accuracy, and that accuracy
# is too high: it won partly by luck. Below, runs that are all truly equal, and the best of them on dev, on
# average over 2000 such sweeps; then this study, one draw, which may go either way. So select on dev and
# report on test.

# %%
chosen = runs.loc[runs["dev_last"].idxmax()]
n_dev = len(read_predictions(chosen["path"], "dev").ids)
dev = generator.binomial(n_dev, 0.5, size=(2000, len(runs))) / n_dev
print(f"{len(runs)} equal runs, true accuracy 50%: the best on dev has {100 * dev.max(1).mean():.1f}% there")
assert dev.max(1).mean() > 0.5
print(f"this study's best on dev: {chosen['dev_last']:.1%} there, {chosen['test_last']:.1%} on test")

# %% [markdown]
# **One learning rate is not the same for all.** With $\alpha$ fixed, the scale $\alpha / r$ is 64 times
# larger at r = 1 than at r = 64, so one learning rate makes steps of different size. A rank that seems
# better may just have the better step. The table has the scale and the mean size of the update at each rank:

# %%
norms = []
for run in study.matching(task=TASK, method="lora"):
    for pair in run.adapter().values():
        size = float(analysis.thin_svd(pair.B, pair.A, pair.scaling)[1].norm())
        norms.append({"rank": pair.rank, "α/r": pair.scaling, "mean ‖ΔW‖": size})
pd.DataFrame(norms).groupby("rank").mean().round(3)

# %% [markdown]
# The remedy is a grid, `lr=5e-3,1e-2,2e-2` in the sweep: where a cell has several rates, `Cells` and every
# table take the one that is best on dev, and say so.
#
# **A mean hides what it is made of.** Runs that fail (a diverged seed at chance level) pull a mean down
# without a word. Look at the dots of section 3 before the means of section 2.
#
# ## 8. What the suite makes of it
#
# `python -m analysis table6 --study NAME` writes this table: intervals, marks only where paired comparisons
# support them, and the paper's numbers below.

# %%
from analysis.tables.accuracy import table6

Markdown(table6(runs).table.markdown())

# %% [markdown]
# Figures are made the same way, from a selection of the study. This is `python -m analysis fig4`: do two
# seeds at r = 64 find the same directions, more than random matrices do? (A study without those runs gets
# the command that trains them.) The upper left corner of a panel compares the few top directions of both
# seeds. That seeds agree on a few directions and not on the rest is how the paper explains that a small rank
# can do.

# %%
from analysis.figures.fig4_7 import fig4
from analysis.result import rendered
from analysis.selection import Selection

drawing = fig4(Selection.of(study, task=TASK, targets="qv")).drawings[""]
Image(rendered(drawing, "png", "fig4"), width=850)  # drawing.caption says how to read it

# %% [markdown]
# ## Now you
#
# 1. Which comparison of section 4 would *you* have reported from the table in section 2? What does its row
#    say now?
# 2. Set `STEPS = 600` and run it again, or better, train a study: `python run.py -m study=mine task=nli
#    targets=q,qv rank=1,64 seed=0,1,2`, then `STUDY = "mine"`. Does W_q alone fall behind?
# 3. In section 6, how many seeds and examples does it take to find a difference of 5 points four times out
#    of five? Try `answers(..., seeds=10)`. Do more examples help at three seeds?
#
# `python -m analysis claims --study NAME` judges every claim of the paper's Section 7 by these rules:
# supported, contradicted or undecided.
