"""One run of the main sweep as it is usually written: PEFT and the transformers Trainer at their defaults.

    python scripts/peer_trainer.py --rank 8 --out result.json

The peer of scripts/benchmark_sweep.py.  The same as in `python run.py rank=8 targets=qv`: the embedded
checkpoint (with its plain attention, on a CPU the faster one), the examples, the loss on the target's tokens
alone, AdamW without weight decay, clipping at 1, the peak and shape of the learning rate, steps, batch size
and float32; then greedy decoding of dev and test in batches as large as ours, with the same limit of new
tokens, scored by the same judge.

PEFT knows GPT-2's fused c_attn as one matrix, so that is what is adapted, as people do: q, k and v together,
with one A.  In GPT-2 that has exactly the parameters of a pair for q and one for v, r (d + 3d) = 2 r (d + d).

Left at the libraries' defaults: PEFT's initial A, random batches padded to their longest example, the data
loader, logging, checkpoints and the number of threads.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from peft import LoraConfig, get_peft_model
from transformers import DataCollatorForSeq2Seq, Trainer, TrainingArguments, set_seed

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from experiments.config import TaskConfig
from experiments.device import describe
from experiments.embedded.checkpoint import read_checkpoint
from experiments.evaluation import EVALUATION_BATCH, metric_values
from experiments.tasks import Example, Task, load_task

IGNORED = -100
"""The label of a token that the loss leaves out."""


def parser() -> argparse.ArgumentParser:
    """The defaults are those of conf/, which a test compares."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--alpha", type=float, default=8)
    parser.add_argument("--lr", type=float, default=5e-3)
    parser.add_argument("--warmup", type=float, default=0.06, help="share of the steps")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    for split, size in (("train", 8000), ("dev", 500), ("test", 1000)):
        parser.add_argument(f"--{split}", type=int, default=size, help="examples")
    parser.add_argument("--out", type=Path, default="result.json")
    return parser


def main() -> None:
    options = parser().parse_args()
    task = load_task(TaskConfig("sql", train=options.train, dev=options.dev, test=options.test))
    base, tokenizer = read_checkpoint()
    set_seed(options.seed)
    lora_config = LoraConfig(
        task_type="CAUSAL_LM",
        r=options.rank,
        lora_alpha=options.alpha,
        target_modules=["c_attn"],
        fan_in_fan_out=True,
    )
    model = get_peft_model(base, lora_config)
    train_dataset = encode(task.examples("train"), tokenizer)
    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=f"checkpoints-r{options.rank}",
            max_steps=options.steps,
            per_device_train_batch_size=options.batch_size,
            learning_rate=options.lr,
            lr_scheduler_type="linear",
            warmup_steps=options.warmup,  # below 1: a share
            seed=options.seed,
            report_to="none",
        ),
        train_dataset=train_dataset,
        data_collator=DataCollatorForSeq2Seq(tokenizer),
    )
    trainer.train()
    longest = max(sum(label != IGNORED for label in example["labels"]) for example in train_dataset)
    result = {
        "rank": options.rank,
        "trainable": model.get_nb_trainable_parameters()[0],
        "device": describe(trainer.args.device),
        "precision": str(model.dtype).removeprefix("torch."),
        "metric": task.metric,
        **{split: accuracy(model, tokenizer, task, split, 2 * longest) for split in ("dev", "test")},
    }
    options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def encode(examples: Sequence[Example], tokenizer: Any) -> list[dict[str, list[int]]]:
    """Prompt, target and end of text as token ids, with labels for the target alone."""
    prompts = tokenizer([example.prompt for example in examples])["input_ids"]
    targets = tokenizer([example.target + tokenizer.eos_token for example in examples])["input_ids"]
    return [
        {"input_ids": prompt + target, "labels": [IGNORED] * len(prompt) + target}
        for prompt, target in zip(prompts, targets, strict=True)
    ]


def accuracy(model: Any, tokenizer: Any, task: Task, split: str, new_tokens: int) -> float:
    examples = task.examples(split)
    answers: list[str] = []
    for start in range(0, len(examples), EVALUATION_BATCH):
        prompts = [example.prompt for example in examples[start : start + EVALUATION_BATCH]]
        answers += generate(model, tokenizer, prompts, new_tokens)
    judged = [task.judge(example, answer) for example, answer in zip(examples, answers, strict=True)]
    return metric_values(judged)[task.metric]


def generate(model: Any, tokenizer: Any, prompts: Sequence[str], new_tokens: int) -> list[str]:
    """Greedy continuations; the padding on the left, so that every prompt ends where its answer begins."""
    model.eval()
    inputs = tokenizer(prompts, padding=True, padding_side="left", return_tensors="pt").to(model.device)
    output = model.generate(**inputs, do_sample=False, max_new_tokens=new_tokens)
    answers = tokenizer.batch_decode(output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return [answer.strip() for answer in answers]


if __name__ == "__main__":
    main()
