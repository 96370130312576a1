"""Pretrain the embedded model: a small GPT-2 on text that the project generates.

    python scripts/pretrain_embedded.py                   # what is committed in experiments/embedded/weights
    python scripts/pretrain_embedded.py --steps 50 --out short

Everything follows from --seed.  The weights are written as float16 safetensors with their sha256.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from experiments.embedded import pretraining
from experiments.embedded.checkpoint import FOLDER, write_checkpoint
from experiments.embedded.tokenizer import build_tokenizer

# A verdict is one word in twenty, a query twelve in forty; so each answer weighs as much as twelve words.
ANSWER_WEIGHT = 12.0


def token_blocks(
    tokenizer: PreTrainedTokenizerFast, batch: int, block: int, seed: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Token ids (batch, block) cut from the document stream, documents ended by <eos>, and their weights."""
    documents = pretraining.documents(seed)
    ids: list[int] = []
    weights: list[float] = []
    while True:
        while len(ids) < batch * block:
            drawn = [next(documents) for _ in range(64)]
            texts = tokenizer([document.text for document in drawn])["input_ids"]
            answers = tokenizer([document.answer for document in drawn])["input_ids"]
            for text, answer in zip(texts, answers, strict=True):
                ids += [*text, *answer, tokenizer.eos_token_id]
                weights += (
                    [1.0] * len(text) + [max(1.0, ANSWER_WEIGHT / max(1, len(answer)))] * len(answer) + [1.0]
                )
        cut = batch * block
        yield torch.tensor(ids[:cut]).view(batch, block), torch.tensor(weights[:cut]).view(batch, block)
        ids, weights = ids[cut:], weights[cut:]


def weighted_loss(model: GPT2LMHeadModel, ids: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Next-token cross-entropy, averaged with the weights of the predicted tokens."""
    logits = model(input_ids=ids).logits[:, :-1].float()
    losses = F.cross_entropy(logits.reshape(-1, logits.shape[-1]), ids[:, 1:].reshape(-1), reduction="none")
    chosen = weights[:, 1:].reshape(-1)
    return (losses * chosen).sum() / chosen.sum()


def learning_rate(step: int, steps: int, peak: float, warmup: int) -> float:
    """Linear warm-up, then a cosine down to zero."""
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


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
    model = GPT2LMHeadModel(config)
    decayed = [p for p in model.parameters() if p.dim() > 1]
    plain = [p for p in model.parameters() if p.dim() <= 1]
    groups = [{"params": decayed, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98), fused=True)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(tokenizer)} tokens", flush=True)

    start, running = time.perf_counter(), 0.0
    blocks = token_blocks(tokenizer, arguments.batch_size, arguments.block, arguments.seed)
    for step in range(arguments.steps):
        ids, weights = next(blocks)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, arguments.steps, arguments.lr, warmup=200)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=arguments.bf16):
            loss = weighted_loss(model, ids, weights)
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
    recipe = {key: value for key, value in vars(arguments).items() if key not in ("out", "log_every")}
    digest = write_checkpoint(model, tokenizer, Path(arguments.out), recipe)
    print(json.dumps({"out": str(arguments.out), "sha256": digest}))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", default=FOLDER, help="folder to write")
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--block", type=int, default=128, help="tokens a sequence")
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bf16", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--log-every", type=int, default=100)
    pretrain(parser.parse_args())


if __name__ == "__main__":
    main()
