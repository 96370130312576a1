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
# # 2 · The subspaces of your own adapter
#
# An adapter of rank $r$ reads $r$ directions of its input and writes $r$ directions of its output. Section 7
# of [the paper](https://arxiv.org/abs/2106.09685) asks which ones: do r = 8 and r = 64 find the same, do two
# seeds, and what does $\Delta W$ do with what $W$ already does? This notebook measures it, and shows each
# time what chance alone would give, because in a small model chance gives a lot.
#
# It trains four small adapters to look at (about half a minute on one core, no network). **Sections 5 and 6
# work on your own adapter**: give it here, a PEFT folder or a file of `lora.save`, with the model that it
# belongs to.

# %% tags=["parameters"]
ADAPTER = None  # such as "path/to/peft-folder"; None: one that section 5 makes
BASE = "embedded"  # its base model: a folder, a hub id, or "embedded", the model in this repository
STEPS = 60  # of training, for the adapters of sections 3 and 4

# %%
import copy
import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import torch

import analysis
import experiments
import lora

torch.manual_seed(0)
folder = Path(tempfile.mkdtemp())

# %% [markdown]
# ## 1. What an overlap is
#
# Take two matrices, and of each the first $i$ (or $j$) right singular vectors, as the rows of $V_1^{(i)}$
# and $V_2^{(j)}$: two subspaces of the input space. The paper's similarity (eq. 4) is
#
# $$\phi(i, j) = \frac{\| V_1^{(i)} V_2^{(j)\top} \|_F^2}{\min(i, j)} \in [0, 1],$$
#
# the mean squared cosine of the angles between them: 1 where one contains the other, 0 where they are
# orthogonal. Two planes in space make it concrete. They share the $y$ axis, and their first directions are
# 45° apart.

# %%
A1 = torch.tensor([[2.0, 0, 0], [0, 1, 0]])  # x first, then y
A2 = torch.tensor([[2.0, 0, 2.0], [0, 1, 0]])  # halfway between x and z first, then y
grid = analysis.phi(A1, A2)

V1, V2 = (torch.linalg.svd(A, full_matrices=False).Vh for A in (A1, A2))
for i in (1, 2):
    for j in (1, 2):
        by_hand = (V1[:i] @ V2[:j].T).square().sum() / min(i, j)
        torch.testing.assert_close(grid[i - 1, j - 1], by_hand.double())
pd.DataFrame(grid.numpy().round(3), index=["i = 1", "i = 2"], columns=["j = 1", "j = 2"])

# %% [markdown]
# $\phi(1, 1) = \cos^2 45° = 0.5$; $\phi(2, 2)$ is the mean of that and of the 1 for the shared axis. And
# note: two planes in space always share a line, so even unrelated ones have $\phi(2, 2) \ge 0.5$. That is
# the trap.
#
# ## 2. What chance gives
#
# Two random subspaces of $\mathbb{R}^d$ have $\mathbb{E}\,\phi(i, j) = \max(i, j) / d$, in closed form
# (`analysis.phi_null`). At GPT-3's $d = 12288$ that is nothing. At $d = 256$ it is not.

# %%
figure, axes = plt.subplots(figsize=(5.5, 2.8))
for d, colour in {256: "C0", 1024: "C1", 12288: "C2"}.items():
    null = analysis.phi_null(8, 64, d)
    drawn = torch.stack([analysis.phi(torch.randn(8, d), torch.randn(64, d)) for _ in range(10)])
    mean = drawn.mean(0)
    assert ((mean - null.mean).abs() < 6 * null.std / 10**0.5).all()  # the formula, against the draws
    axes.plot(range(1, 65), null.mean[-1], color=colour, label=f"d = {d}")
    axes.plot(range(1, 65, 3), mean[-1, ::3], "o", ms=3, color=colour)
    print(f"d = {d:5}: chance gives phi(8, 64) = {null.mean[-1, -1]:.3f}, the draws {mean[-1, -1]:.3f}")
axes.set(xlabel="j", ylabel="φ(8, j)", title="Random subspaces: closed form (lines), 10 draws (dots)")
axes.legend(frameon=False)
axes.spines[["top", "right"]].set_visible(False)

# %% [markdown]
# So an overlap means something only beside its null. Below, a z-score counts how many standard deviations
# beyond chance.
#
# ## 3. Two ranks, two seeds
#
# Four runs on $W_q$ and $W_v$ of the model in this repository, with the command that you would type, for a
# tenth of the steps that a real run takes.

# %%
root = folder / "outputs"
command = f"""
    run.py -m root={root} study=ranks task=sql targets=qv rank=8,64 seed=0,1
    steps={STEPS} batch_size=8 task.train=640 task.dev=8 task.test=8 wandb.mode=disabled
"""
repository = Path(experiments.__file__).parent.parent
done = subprocess.run([sys.executable, *command.split()], cwd=repository, capture_output=True, text=True)
assert done.returncode == 0, done.stderr

study = analysis.Study.open("ranks", root)
study.frame[["targets", "rank", "seed", "trainable", "step_last"]]

# %% [markdown]
# Every run keeps its factors as trained and, so that there is something to compare with, as they were at
# step 0. Left: r = 8 against r = 64 **before** training. Each projection's $A$ has a random generator of its
# own, so this must look like chance; with one seed shared by both ranks it would not, and the comparison
# would be worthless. Right: after training, as $\phi$ and as z.

# %%
small, large = study.run(rank=8, seed=0), study.run(rank=64, seed=0)
layers = small.adapter().layers
middle = layers[len(layers) // 2 - 1]
d = small.adapter().shape(middle, "q")[1]
null = analysis.phi_null(8, 64, d)


def phi_of(first, second, layer, letter):
    return analysis.phi(first[layer, letter].A, second[layer, letter].A)


figure, panels = plt.subplots(2, 3, figsize=(9, 3.6), layout="constrained")
for row, letter in zip(panels, "qv", strict=True):
    before = phi_of(small.initial(), large.initial(), middle, letter)
    after = phi_of(small.adapter(), large.adapter(), middle, letter)
    z = analysis.z_scores(after, d)
    limit = max(3, float(z.abs().max()))
    kinds = {"untrained, φ": before, "trained, φ": after, "trained, z": z}
    for axes, (title, grid) in zip(row, kinds.items(), strict=True):
        look = {"cmap": "PuOr_r", "vmin": -limit, "vmax": limit} if grid is z else {"vmin": 0, "vmax": 1}
        image = axes.imshow(grid, aspect="auto", extent=(0.5, 64.5, 8.5, 0.5), **look)
        axes.set(title=f"$\\Delta W_{letter}$ {title}", xlabel="j (r = 64)", ylabel="i (r = 8)")
        figure.colorbar(image, ax=axes)
    assert (analysis.z_scores(before, d).abs() < 6).all()  # untrained adapters sit on the null
print(f"layer {middle + 1}, d = {d}; chance alone gives phi(8, 64) = {null.mean[-1, -1]:.3f}")

# %% [markdown]
# The paper's claim about this picture is that the *top* direction is shared and the rest are not. The corner
# $\phi(1, 1)$ in numbers, for each layer. Chance stays below the last column 99 times in 100. But "beyond
# chance" is not yet "found by this layer": all layers read the same residual stream, whose own strong
# directions any adapter may pick up. So there is a second null, **other layers**: r = 8 in one layer against
# r = 64 in all others, on average.

# %%
other = study.run(rank=8, seed=1)
r8, r64, r8_seed1 = small.adapter(), large.adapter(), other.adapter()
rows = {}
for layer in layers:
    for letter in "qv":
        elsewhere = [analysis.phi(r8[layer, letter].A, r64[m, letter].A)[0, 0] for m in layers if m != layer]
        rows[layer + 1, f"W_{letter}"] = {
            "r = 8, r = 64": phi_of(r8, r64, layer, letter)[0, 0].item(),
            "two seeds": phi_of(r8, r8_seed1, layer, letter)[0, 0].item(),
            "other layers": sum(elsewhere).item() / len(elsewhere),
            "untrained": phi_of(small.initial(), large.initial(), layer, letter)[0, 0].item(),
            "99% quantile of chance": float(analysis.phi_quantile(1, 1, d, 0.99)),
        }
pd.DataFrame.from_dict(rows, orient="index").rename_axis(["layer", "of"]).round(3)

# %% [markdown]
# ## 4. A is not ΔW
#
# The paper takes its directions from $A$ alone. But $A$ begins as noise with a nearly flat spectrum, and its
# "top" directions stay noise until training lifts one above the rest. $\Delta W = \frac{\alpha}{r} B A$
# reads **the same space** as $A$, in another order: that of what the update does.

# %%
pair, start = (run[middle, "v"] for run in (large.adapter(), large.initial()))
_, S, _ = analysis.thin_svd(pair.B, pair.A, pair.scaling)  # through QR; no d x d matrix is built
spectra = {
    "A untrained": analysis.right_singular(start.A)[0],
    "A": analysis.right_singular(pair.A)[0],
    "ΔW": S,
}
figure, axes = plt.subplots(figsize=(5.5, 2.8))
for (name, values), style in zip(spectra.items(), (":", "-", "-"), strict=True):
    (line,) = axes.semilogy(range(1, len(values) + 1), values / values[0], style)
    axes.text(len(values) + 1, values[-1] / values[0], name, color=line.get_color(), va="center")
axes.set(xlabel="k", ylabel="σₖ / σ₁", title=f"Singular values, $W_v$ of layer {middle + 1}, r = 64")
axes.spines[["top", "right"]].set_visible(False)

# %%
bases = {}
for basis in ("A", "dW-right", "A-A0", "dW-left", "B"):
    first, second = (
        analysis.directions(run.adapter()[middle, "v"], basis, run.initial()[middle, "v"]).vectors
        for run in (small, large)
    )
    grid = analysis.phi_grid(first, second)
    space = "output" if basis in ("dW-left", "B") else "input"
    bases[basis] = {"space": space, "φ(1, 1)": grid[0, 0].item(), "φ(8, 64)": grid[-1, -1].item()}
torch.testing.assert_close(bases["A"]["φ(8, 64)"], bases["dW-right"]["φ(8, 64)"])  # one space, two orders
pd.DataFrame.from_dict(bases, orient="index").rename_axis("basis").round(3)

# %% [markdown]
# $\phi(8, 64)$ is the same for A and dW-right, and so for dW-left and B: at full $i$ and $j$ the order no
# longer matters. $\phi(1, 1)$ is another number in each basis. When you read "the top direction is shared",
# ask: of which matrix?
#
# ## 5. Your own adapter
#
# `analysis.read_adapter` reads a run's file, a dictionary of `(A, B)`, or a PEFT folder, one projection at a
# time, and with the base's weights it checks every shape. If you left `ADAPTER` empty, the first run is
# exported to PEFT's format and stands in for yours.

# %%
if ADAPTER is None:
    from experiments.config import ModelConfig
    from experiments.models import load_base

    model = copy.deepcopy(load_base(ModelConfig("embedded"), labels=None).model)
    lora.load(model, small.path / "adapter.safetensors")
    lora.export_peft(model, folder / "for-peft", base_model_name_or_path="embedded")

weights = analysis.BaseWeights.open(BASE)  # names and shapes; a matrix is read when it is asked for
mine = analysis.read_adapter(ADAPTER or folder / "for-peft", base=weights)
print(f"{len(mine)} projections: layers 1 to {mine.layers[-1] + 1}, {' '.join(mine.letters)}")
print(f"ranks {sorted(set(mine.ranks.values()))}; modules left out: {len(mine.left_out)}")

if ADAPTER is None:  # there and back: GPT-2's fused c_attn comes apart into the letters it was made from
    for key in mine:
        run_delta, my_delta = (
            pair[key].scaling * pair[key].B @ pair[key].A for pair in (small.adapter(), mine)
        )
        torch.testing.assert_close(my_delta, run_delta)

# %% [markdown]
# How many directions does it really use? The stable rank is $\|\Delta W\|_F^2 / \sigma_1^2$; the energy rank
# is how many directions hold 90 % of $\|\Delta W\|_F^2$.
#
# One thing to know about adapters that PEFT *trained* on a fused `c_attn`: there q, k and v share one $A$,
# so their input directions in basis A are equal by construction. Compare those by dW-right or dW-left.

# %%
used = {}
for layer, letter in mine:
    pair = mine[layer, letter]
    _, S, _ = analysis.thin_svd(pair.B, pair.A, pair.scaling)
    used[layer + 1, f"W_{letter}"] = {
        "r": mine.ranks[layer, letter],
        "stable rank": round(float(analysis.stable_rank(S)), 2),
        "90% of the energy": f"{analysis.energy_rank(S):g}",
        "largest σ": round(float(S[0]), 3),
    }
pd.DataFrame.from_dict(used, orient="index").rename_axis(["layer", "of"])

# %% [markdown]
# ## 6. What it does to W
#
# With $U$, $V$ the left and right singular vectors of $\Delta W$, $\|U^\top W_0 V\|_F$ is how large $W_0$ is
# between the update's directions, and the amplification factor (Section 7.3) how many times larger the
# update is:
#
# $$\text{AF} = \frac{\|\Delta W\|_F}{\|U^\top W_0 V\|_F}.$$
#
# The paper reports 21.5 at r = 4 and about 2 at r = 64 for GPT-3, and concludes that most directions of r =
# 64 are not amplified. But random $U$ and $V$ have a factor too, and at a given $\|\Delta W\|_F$ it falls as
# $1/r$. From the paper's own norms (Table 7):

# %%
paper = {}
for r, delta_norm, projected in ((4, 6.91, 0.32), (64, 3.57, 1.90)):
    random = analysis.null_projected_norm(61.95, (12288, 12288), r)
    paper[f"r = {r}"] = {
        "AF": delta_norm / projected,
        "AF of random U, V": delta_norm / random,
        "‖UᵀWV‖, random": random,
        "lift": projected / random,
    }
pd.DataFrame(paper).T.round(2)

# %% [markdown]
# The third column is Table 7's "Random" (0.02 and 0.33 in print). The number to read is the **lift**: how
# much larger $W$ is between the update's directions than between random ones. AF times lift is the AF of
# random directions, always. Above 1, the update goes where $W$ already acts. Your adapter, each projection:

# %%
measured = {}
for layer, letter in mine:
    pair = mine[layer, letter]
    found = analysis.amplification(weights.projection(layer, letter), pair.B, pair.A, pair.scaling)
    if found.rank:
        assert abs(found.factor * found.lift / found.null_factor - 1) < 1e-6
    measured[layer + 1, f"W_{letter}"] = {
        "‖ΔW‖": found.delta_norm,
        "AF": found.factor,
        "AF of random U, V": found.null_factor,
        "lift": found.lift,
    }
table = pd.DataFrame.from_dict(measured, orient="index").rename_axis(["layer", "of"])

figure, axes = plt.subplots(figsize=(5.5, 2.6))
table["lift"].unstack().plot(ax=axes, marker="o", ms=4, lw=1)
axes.axhline(1, color="black", lw=0.8, ls=":")
axes.set(
    ylabel="lift",
    ylim=(0, None),
    xticks=[layer + 1 for layer in mine.layers],
    title="Lift of each update; 1 (dotted) is chance",
)
axes.legend(frameon=False)
axes.spines[["top", "right"]].set_visible(False)
table.round(2)

# %% [markdown]
# ## 7. All at once, for any adapter
#
# `analysis.inspect` makes these numbers and more for every projection, of an adapter in PEFT's format or
# loralib's, kohya's, diffusers' or mlx-lm's, and says in words what they carry. `analysis.resize` writes a
# smaller copy that PEFT loads; `analysis.compare` finds out what two adapters share. On a command line:
# `python -m analysis inspect`, `resize`, `compare`.

# %%
seen = analysis.inspect(ADAPTER or folder / "for-peft", base=weights)
for sentence in seen.sentences:
    print("-", sentence)
columns = ["norm", "relative_norm", "lift", "stable_rank", "rank_90", "beyond_untrained", "beyond_noise"]
seen.numbers.groupby("projection")[columns].median().round(3)

# %%
yours = ADAPTER or folder / "for-peft"
smaller = analysis.resize(yours, folder / "smaller", rank=2)
before, after = smaller.parameters
print(f"relative error {smaller.error:.1%}, {after / before:.0%} of its parameters")
for sentence in analysis.compare([yours, smaller.folder], base=weights).sentences:
    print("-", sentence)

# %% [markdown]
# ## Now you
#
# 1. Put your own PEFT folder into `ADAPTER`, its model into `BASE`, and run sections 5 and 6 again. Does its
#    update go where $W$ already acts?
# 2. Section 3's table is in basis A. Make it in basis dW-right, as section 4 does. Which of its conclusions
#    stay?
# 3. Set `STEPS = 600`, what a real run takes (ten times the wait), and read section 3's table again.
#
# `python -m analysis all --study NAME` makes the paper's Figures 3, 4, 6, 7, 8 and Table 7 of a whole study,
# each with its nulls. Next: `3_sweep.ipynb`, on whether the accuracies of such a study differ at all.
