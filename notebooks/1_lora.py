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
# # 1 · LoRA, from one layer to an adapted model
#
# You know PyTorch and have heard of LoRA ([Hu et al., 2021](https://arxiv.org/abs/2106.09685)). Ten minutes
# from now you will have written its formula by hand, seen why it starts at zero and costs nothing once
# merged, and adapted, trained, saved and exported a real if small GPT-2.
#
# Everything runs on one CPU core in well under a minute, without a network: the model is in this repository.
# You need the development environment (`make notebooks` sets it up in `.venv`; choose that as the kernel).

# %% tags=["parameters"]
STEPS = 60  # of training, in section 5

# %%
import copy
import json
import random
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import torch

import lora

torch.manual_seed(0)
folder = Path(tempfile.mkdtemp())

# %% [markdown]
# ## 1. One layer
#
# A linear layer keeps its pretrained weight $W_0$, frozen, and gets a product of two thin matrices beside
# it:
#
# $$h = W_0 x + \Delta W x, \qquad \Delta W = \frac{\alpha}{r}\, B A, \qquad
# A \in \mathbb{R}^{r \times d_\text{in}},\; B \in \mathbb{R}^{d_\text{out} \times r}.$$
#
# `lora.Linear` is that layer. Here it is beside the formula, with random $A$ and $B$.

# %%
d_in, d_out, r, alpha = 256, 512, 8, 16
layer = lora.Linear(d_in, d_out, r=r, lora_alpha=alpha)
W0, b = layer.weight.detach().clone(), layer.bias.detach()

with torch.no_grad():
    layer.lora_B.normal_()
A, B = layer.lora_A.detach(), layer.lora_B.detach()
x = torch.randn(32, d_in)

by_hand = x @ W0.T + b + (alpha / r) * (x @ A.T) @ B.T
with torch.no_grad():
    h = layer(x)
torch.testing.assert_close(h, by_hand)
print(f"A {tuple(A.shape)}, B {tuple(B.shape)}; layer and formula differ by {(h - by_hand).abs().max():.1e}")

# %% [markdown]
# $x$ goes through $A$ first: from `d_in` numbers to `r`, then back up to `d_out`. $\Delta W$ itself, as
# large as $W_0$, is never formed.

# %% [markdown]
# ## 2. It starts at zero
#
# $A$ starts random and $B$ at zero, so $\Delta W = 0$: before the first step the model is the pretrained
# one, exactly. Why not both at zero? With $g = \partial L / \partial h$,
#
# $$\frac{\partial L}{\partial B} = \frac{\alpha}{r}\, g\,(A x)^\top, \qquad
# \frac{\partial L}{\partial A} = \frac{\alpha}{r}\, B^\top g\, x^\top .$$
#
# With $B = 0$ only $B$ can move, through the random directions in $A$; $A$ follows from the second step on.
# With both at zero nothing would ever move.

# %%
layer = lora.Linear(d_in, d_out, r=r, lora_alpha=alpha)
plain = torch.nn.functional.linear(x, layer.weight, layer.bias)
assert torch.equal(layer(x), plain)  # bit for bit

layer(x).square().mean().backward()
of_A, of_B = layer.lora_A.grad.norm(), layer.lora_B.grad.norm()
print(f"first step: gradient of A {of_A:.4f}, of B {of_B:.4f}, of W0 {layer.weight.grad} (it is frozen)")
assert of_A == 0 < of_B

# %% [markdown]
# ## 3. What it costs: $r\,(d_\text{in} + d_\text{out})$
#
# Instead of $d_\text{in}\, d_\text{out}$ numbers, $r\,(d_\text{in} + d_\text{out})$ are trained. The saving
# grows with the width: below, a square matrix of a small model ($d = 256$) and one of GPT-3 ($d = 12288$).

# %%
trained = sum(p.numel() for p in (layer.lora_A, layer.lora_B))
assert trained == r * (d_in + d_out)


def share(rank, d):
    return f"{rank * (d + d) / (d * d):.3%}"


pd.DataFrame({f"d = {d}": {f"r = {rank}": share(rank, d) for rank in (1, 8, 64)} for d in (256, 12288)})

# %% [markdown]
# ## 4. Merged, it is gone
#
# $W = W_0 + \Delta W$ is a matrix like any other: add it up once, and the adapted layer costs exactly what
# the original does. `merge()` does that, and `unmerge()` brings $W_0$ back, bit for bit, because it was put
# aside and not computed by subtraction.

# %%
with torch.no_grad():
    layer.lora_B.normal_()
    before = layer(x)
    W0 = layer.weight.clone()

    layer.merge()
    torch.testing.assert_close(layer.weight, W0 + alpha / r * layer.lora_B @ layer.lora_A)
    print(f"merged and not merged differ by {(layer(x) - before).abs().max():.1e} (float32 rounding)")
    torch.testing.assert_close(layer(x), before, rtol=1e-4, atol=1e-4)

    layer.unmerge()
    assert torch.equal(layer.weight, W0)

# %% [markdown]
# ## 5. A whole model
#
# `lora.adapt` does this to every attention layer of a Hugging Face model: it freezes the model and puts a
# pair $(A, B)$ beside each of the projections you name: `q k v o`, and `up down` of the MLP. Ours is a small
# GPT-2. It stores $W_q$, $W_k$ and $W_v$ as one fused matrix; the adapter still gives each letter its own
# pair.

# %%
from experiments.config import ModelConfig, TaskConfig
from experiments.workbench import workbench

bench = workbench(ModelConfig("embedded"), TaskConfig("sql", train=60 * 16, dev=64, test=16))
base = bench.base.model  # stays as it is: each adapted model below is a copy

model = lora.adapt(copy.deepcopy(base), targets="qv", rank=8, alpha=8, seed=0)
counts = lora.parameter_counts(model)
layers, (d_out, d_in) = base.config.n_layer, lora.projection(model, layer=0, letter="q").shape
print(f"{layers} layers x 2 projections x r = 8 x ({d_in} + {d_out}) = {layers * 2 * 8 * (d_in + d_out):,}")
print(f"trainable: {counts['trainable'] / counts['total']:.2%} of {counts['total']:,}")
assert counts["adapter"] == counts["trainable"] == layers * 2 * 8 * (d_in + d_out)

ids = torch.tensor([bench.objective.encoded("dev")[0].ids])
with torch.no_grad():
    assert torch.equal(model(ids).logits, base(ids).logits)  # adapted, and still the pretrained model

# %% [markdown]
# The task: turn a question about a table into a query. Loss is taken on the tokens after `sql:` only.

# %%
example = bench.task.examples("dev")[0]
print(example.prompt + example.target)

# %% [markdown]
# Training is the loop you know. Only the factors have `requires_grad`, so only they go to the optimizer, and
# that is where the memory is saved: AdamW keeps two more numbers for each trained one.

# %%
train, dev = bench.objective.encoded("train"), bench.objective.encoded("dev")
cpu = torch.device("cpu")


def loss_of(model, batch):
    return bench.objective.loss(model, batch, cpu, smoothing=0.0)


def dev_loss(model):
    with torch.no_grad():
        return loss_of(model.eval(), dev).item()


LR = 2e-2  # large beside full fine-tuning's: B starts at zero and has far to go
draw = random.Random(0)
factors = [p for p in model.parameters() if p.requires_grad]
optimizer = torch.optim.AdamW(factors, lr=LR, weight_decay=0.0)
losses, start = [], dev_loss(model)

model.train()
for step in range(STEPS):
    optimizer.param_groups[0]["lr"] = LR * (1 - step / STEPS)
    loss = loss_of(model, draw.sample(train, 16))
    loss.backward()
    torch.nn.utils.clip_grad_norm_(factors, 1.0)
    optimizer.step()
    optimizer.zero_grad()
    losses.append(loss.item())

end = dev_loss(model)
print(f"loss on {len(dev)} examples never trained on: {start:.2f} before, {end:.2f} after {STEPS} steps")
assert end < start

figure, axes = plt.subplots(figsize=(5.5, 2.6))
axes.plot(range(1, STEPS + 1), losses, lw=1, label="training batch")
axes.plot([0, STEPS], [start, end], "o", color="black", label="dev, before and after")
axes.set(xlabel="step", ylabel="loss", ylim=(0, None))
axes.legend(frameon=False)
axes.spines[["top", "right"]].set_visible(False)

# %% [markdown]
# On the question above, one it has never seen, the model before training and after:

# %%
for name, asked in (("before", base), ("after", model)):
    (answer,) = bench.objective.predict(asked.eval(), dev[:1], cpu)
    print(f"{name:6}: {answer[:90]}")

# %% [markdown]
# What has moved? Not $W_0$, which is frozen. The table has the size of each update beside its weight,
# $\|\Delta W\|_F / \|W_0\|_F$, in per cent.

# %%
size = {}
for (number, letter), adapter in lora.adapters(model).items():
    W0 = lora.projection(model, number, letter)
    assert torch.equal(W0, lora.projection(base, number, letter))
    size[number + 1, f"W_{letter}"] = 100 * (adapter.delta().norm() / W0.norm()).item()
pd.Series(size).unstack().rename_axis("layer").round(1)

# %% [markdown]
# Small or large? A norm alone does not say: what counts is which directions the update uses, and how large
# $W_0$ is in those. That is what the next notebook measures.
#
# ## 6. Save, load, and hand it to PEFT
#
# An adapter file holds $A$ and $B$ of each projection and the scale, not the model.

# %%
lora.save(model, folder / "adapter.safetensors")
restored = lora.load(copy.deepcopy(base), folder / "adapter.safetensors")

with torch.no_grad():
    logits = model.eval()(ids).logits
    assert torch.equal(restored.eval()(ids).logits, logits)

adapter_size = (folder / "adapter.safetensors").stat().st_size
model_size = 4 * sum(p.numel() for p in base.parameters())
print(f"adapter {adapter_size / 1024:.0f} KiB, model in float32 {model_size / 1024:,.0f} KiB")

# %% [markdown]
# The rest of the world loads [PEFT](https://github.com/huggingface/peft)'s format. PEFT adapts whole
# modules, with one pair for GPT-2's fused `c_attn`; so our two rank-8 pairs become one of rank 16, whose $B$
# is zero where q's directions would write to v and the reverse. The function is the same, and the logits say
# so.

# %%
from peft import PeftModel

lora.export_peft(model, folder / "for-peft", base_model_name_or_path="embedded")
config = json.loads((folder / "for-peft" / "adapter_config.json").read_text())
print({key: config[key] for key in ("peft_type", "r", "lora_alpha", "target_modules")})

theirs = PeftModel.from_pretrained(copy.deepcopy(base), folder / "for-peft").eval()
with torch.no_grad():
    difference = (theirs(ids).logits - logits).abs().max().item()
print(f"largest difference of a logit, PEFT's model and ours: {difference:.1e}")
assert difference < 1e-3

# %% [markdown]
# And the merged model has the base's own modules and cost, with the adapted model's answers. Nothing of LoRA
# is left in it.

# %%
with torch.no_grad(), lora.merged(model):
    assert [name for name, _ in model.named_modules()] == [name for name, _ in base.named_modules()]
    difference = (model(ids).logits - logits).abs().max().item()
print(f"largest difference of a logit, merged and not: {difference:.1e}")
assert difference < 1e-3

# %% [markdown]
# ## Now you
#
# 1. Set `targets="qkvo"` and `rank=4` in section 5. Work out the number of trainable parameters first; the
#    assert will tell you what else to change.
# 2. Start $B$ random, as in section 1, before training. What does the dev loss before the first step say?
# 3. Adapt your own model: `lora.adapt(GPT2LMHeadModel.from_pretrained("gpt2"), targets="qv", rank=8)` works
#    the same on GPT-2, BERT and RoBERTa checkpoints.
#
# In earnest, `python run.py task=sql targets=qv rank=8` is the loop above with warm-up, evaluation and a
# record of everything; `python run.py --help` lists the keys. Next: `2_subspaces.ipynb`, on which directions
# an adapter uses.
