"""Train the adapters that docs/adapters.md shows, with PEFT, on a small Llama and the E2E corpus.

    python scripts/example_adapters.py --model MODEL --data train.txt --out adapters

MODEL is a folder or hub id of a Llama-like model; stories260K (karpathy/tinyllamas, MIT) was used. train.txt
has a `meaning representation||text` a line, as the E2E challenge's files in microsoft/LoRA. The adapters are
q, k, v, o, gate, up and down at r = 8 of two seeds, and at r = 32; a minute or two on an idle core.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

RUNS = {"r8-seed0": (8, 0), "r8-seed1": (8, 1), "r32-seed0": (32, 0)}
LETTERS = ("q", "k", "v", "o", "gate", "up", "down")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=120)
    options = parser.parse_args()
    texts = [line.replace("||", " = ") for line in options.data.read_text(encoding="utf-8").splitlines()]
    for name, (rank, seed) in RUNS.items():
        loss = train(options.model, texts, rank, seed, options.steps, options.out / name)
        print(f"{name}: loss of the last thirty steps {loss:.3f}")


def train(model_name: str, texts: list[str], rank: int, seed: int, steps: int, out: Path) -> float:
    """One adapter, alpha = r; its mean loss over the last thirty steps."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(model_name)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    config = LoraConfig(
        r=rank,
        lora_alpha=rank,
        target_modules=[f"{letter}_proj" for letter in LETTERS],
        task_type="CAUSAL_LM",
    )
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(model_name, dtype=torch.float32), config)
    optimizer = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=5e-3, weight_decay=0)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps)
    order = torch.randperm(len(texts), generator=torch.Generator().manual_seed(seed))
    losses = []
    for step in range(steps):
        batch = [texts[int(order[(8 * step + i) % len(texts)])] for i in range(8)]
        given = tokenizer(batch, return_tensors="pt", padding=True, truncation=True, max_length=128)
        inputs = {name: given[name] for name in ("input_ids", "attention_mask")}
        labels = inputs["input_ids"].masked_fill(inputs["attention_mask"] == 0, -100)
        loss = model(**inputs, labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        losses.append(loss.item())
    model.save_pretrained(out)
    return sum(losses[-30:]) / len(losses[-30:])


if __name__ == "__main__":
    main()
