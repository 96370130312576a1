"""Pretrain the embedded model: a small GPT-2 on text that the project generates.

    python scripts/pretrain_embedded.py --out first
    python scripts/pretrain_embedded.py --start first --seed 1 --steps 6000 --lr 1.5e-3

made what is committed in experiments/embedded/weights, on one thread (OMP_NUM_THREADS=1; another number of
threads adds in another order).  The second line goes on from the first one's weights with fresh text.

Everything follows from --seed.  The weights are written as float16 safetensors with their sha256.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from transformers import GPT2Config, GPT2LMHeadModel

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from experiments.embedded import pretraining
from experiments.embedded.checkpoint import FOLDER, read_checkpoint, read_recipe, verify, write_checkpoint
from experiments.embedded.packing import Batch, batches
from experiments.embedded.tokenizer import build_tokenizer


def weighted_loss(model: GPT2LMHeadModel, batch: Batch) -> torch.Tensor:
    """Next-token cross-entropy, averaged with the weights of the predicted tokens."""
    inputs = {"input_ids": batch.ids, "position_ids": batch.positions, "attention_mask": batch.mask}
    logits = model(**inputs).logits[:, :-1].float()
    losses = F.cross_entropy(
        logits.reshape(-1, logits.shape[-1]), batch.ids[:, 1:].reshape(-1), reduction="none"
    )
    weights = batch.weights[:, 1:].reshape(-1)
    return (losses * weights).sum() / weights.sum()


def rate(step: int, steps: int, warmup: int) -> float:
    """The share of the peak learning rate: linear warm-up, then a cosine down to zero."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def pretrain(arguments: argparse.Namespace) -> None:
    torch.manual_seed(arguments.seed)
    tokenizer = build_tokenizer(pretraining.words())
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=128,
        n_embd=arguments.width,
        n_layer=arguments.layers,
        n_head=arguments.width // 32,
        activation_function="gelu_pytorch_tanh",  # the same function as GPT-2's gelu_new, in one kernel
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=tokenizer.eos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = read_checkpoint(arguments.start)[0].train() if arguments.start else GPT2LMHeadModel(config)
    model.set_attn_implementation("eager")  # on a CPU a third faster to train than the fused kernel
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() <= 1]
    groups = [{"params": matrices, "weight_decay": 0.05}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98), fused=True)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(tokenizer)} tokens", flush=True)

    start, running = time.perf_counter(), 0.0
    stream = batches(pretraining.documents(arguments.seed), tokenizer, arguments.batch_size, arguments.block)
    for step in range(arguments.steps):
        batch = next(stream)
        for group in optimizer.param_groups:
            group["lr"] = arguments.lr * rate(step, arguments.steps, warmup=200)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=arguments.bf16):
            loss = weighted_loss(model, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        running += loss.item()
        if (step + 1) % arguments.log_every == 0:
            seconds = (time.perf_counter() - start) / (step + 1)
            print(
                f"step {step + 1}  loss {running / arguments.log_every:.4f}  {seconds:.3f} s/step", flush=True
            )
            running = 0.0
    told_apart = ("out", "start", "log_every")
    recipe = {key: value for key, value in vars(arguments).items() if key not in told_apart}
    if arguments.start:
        recipe["start"] = {"sha256": verify(arguments.start), "recipe": read_recipe(arguments.start)}
    digest = write_checkpoint(model, tokenizer, arguments.out, recipe)
    print(json.dumps({"out": str(arguments.out), "sha256": digest}))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder to write")
    parser.add_argument("--start", type=Path, help="folder of the weights to go on from")
    parser.add_argument("--steps", type=int, default=9000)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--block", type=int, default=128, help="tokens a row")
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bf16", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--log-every", type=int, default=100)
    pretrain(parser.parse_args())


if __name__ == "__main__":
    main()
