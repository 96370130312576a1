"""One training step of LoRA here, beside peft, full fine-tuning and the frozen model, in one process.

    python scripts/benchmark_step.py [--rank 8] [--targets qv] [--rounds 40]

Each round times every candidate once, in turn, so that a slow moment of the machine meets all of them; the
table gives the median seconds and the ratio to the frozen model's forward pass and backward pass through its
activations, which no adapter method can be faster than.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import sys
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import torch
from transformers import PreTrainedModel

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import lora
from experiments.batches import training_batches
from experiments.config import ModelConfig, TaskConfig
from experiments.device import autocast, keep_freed_memory, resolve_precision
from experiments.workbench import workbench

CPU = torch.device("cpu")


def candidates(rank: int, targets: str, base: PreTrainedModel) -> dict[str, torch.nn.Module]:
    import peft

    frozen = copy.deepcopy(base).requires_grad_(False)
    # So that the backward pass goes through every layer, and computes no gradient of a weight.
    frozen.get_input_embeddings().register_forward_hook(lambda *call: call[-1].requires_grad_())
    full = copy.deepcopy(base)
    ours = lora.adapt(copy.deepcopy(base), targets=targets, rank=rank, alpha=rank)
    # peft has one pair for the fused c_attn, so q and v of rank r are one pair of rank 2r.
    settings = peft.LoraConfig(r=len(targets) * rank, target_modules=["c_attn"], fan_in_fan_out=True)
    theirs = peft.get_peft_model(copy.deepcopy(base), settings).base_model.model
    return {"frozen": frozen, "lora (here)": ours, "peft": theirs, "full": full}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--targets", default="qv", help="any of q k v: what peft's fused adapter covers")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--keep-freed-memory", action=argparse.BooleanOptionalAction, default=True)
    arguments = parser.parse_args()
    if arguments.keep_freed_memory:
        keep_freed_memory()
    bench = workbench(ModelConfig("embedded"), TaskConfig("sql", train=2000, dev=1, test=1))
    encoded = bench.objective.encoded("train")
    batches = list(
        islice(
            training_batches([len(e.ids) for e in encoded], arguments.batch_size, seed=0), arguments.rounds
        )
    )
    precision = resolve_precision(arguments.precision, CPU.type)
    models = candidates(arguments.rank, arguments.targets, bench.base.model)
    steps = {name: _step(model, bench.objective, precision) for name, model in models.items()}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for batch in [*batches[:5], *batches]:
        examples = [encoded[index] for index in batch]
        for name, step in steps.items():
            start = time.perf_counter()
            step(examples)
            seconds[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(times[5:]) for name, times in seconds.items()}
    setting = f"r={arguments.rank} {arguments.targets}, {precision}, {torch.get_num_threads()} threads"
    print(f"{setting}, {arguments.batch_size} examples a step")
    for name, median in medians.items():
        print(f"{name:12} {median * 1000:7.1f} ms   {median / medians['frozen']:.2f} x frozen")


def _step(model: torch.nn.Module, objective: object, precision: str) -> Callable[[list], None]:
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=1e-4, fused=True) if trainable else None

    def step(examples: list) -> None:
        with autocast(CPU, precision):
            loss = objective.loss(model, examples, CPU, 0.0)  # type: ignore[attr-defined]
        loss.backward()
        if optimizer is not None:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    return step


if __name__ == "__main__":
    main()
