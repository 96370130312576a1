"""The training loop: AdamW, linear warm-up and decay, on a copy of the base model."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TextIO

import torch

from experiments.batches import batches_per_epoch, training_batches
from experiments.config import RunConfig
from experiments.device import autocast, peak_memory
from experiments.errors import UserError
from experiments.evaluation import Evaluation, evaluate
from experiments.forgetting import loss_on, pretraining_text, told
from experiments.methods import lookup
from experiments.store import HISTORY, PREDICTIONS, RunFolder, write_jsonl
from experiments.workbench import Workbench

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from experiments.encoded import Encoded, EncodedSplit

Log = Callable[[Mapping[str, float], int], None]


@dataclass
class Trained:
    """What a finished training leaves for the run's record."""

    metrics: dict[str, Any]
    parameters: dict[str, int]
    timing: dict[str, float]
    truncated: int
    forgetting: dict[str, Any] | None


@dataclass
class _Best:
    """The evaluation with the highest metric on the dev split, and the weights it had."""

    step: int = 0
    score: float = -math.inf
    state: dict[str, torch.Tensor] = field(default_factory=dict)


def total_steps(config: RunConfig, examples: int) -> int:
    """`config.steps`, or the optimizer steps that `config.epochs` epochs take; none without training."""
    if not lookup(config.method).trains:
        return 0
    if config.steps is not None:
        return config.steps
    assert config.epochs is not None
    per_epoch = batches_per_epoch(examples, config.batch_size) / config.accumulate
    return max(1, round(config.epochs * per_epoch))


def learning_rate(step: int, steps: int, peak: float, warmup: float) -> float:
    """Of step 0, 1, ...: linear warm-up to `peak`, then linear decay to zero at `steps`.

    `warmup` is a share of the steps below 1, else a number of steps.
    """
    rising = min(steps, round(warmup * steps) if warmup < 1 else round(warmup))
    if step < rising:
        return peak * (step + 1) / rising
    return peak * (steps - step) / max(1, steps - rising)


def train(
    config: RunConfig,
    bench: Workbench,
    folder: RunFolder,
    device: torch.device,
    precision: str,
    log: Log,
    source: RunFolder | None = None,
) -> Trained:
    """Train, evaluate and write everything but run.json into `folder`.

    `source` is the finished run that the method starts from, where it does.

    Deterministic for a seed on the CPU.  Raises UserError where the configuration does not fit the model or
    the loss stops being a number.
    """
    method = lookup(config.method)
    if any(around := method.special_tokens(config)):
        from experiments.prefixes import special_ids

        objective = bench.objective.with_tokens(*special_ids(bench.base.model, *around))
        bench = dataclasses.replace(bench, objective=objective)
    encoded = bench.objective.encoded("train")
    steps = total_steps(config, len(encoded))
    folder.announce(steps)
    text = pretraining_text(config, bench, device, precision) if config.forgetting else None
    model = method.prepare(bench.base.model, config).to(device)
    if source is not None:
        method.begin(model, config, source)
    method.save_initial(model, config, folder)
    parameters = method.counts(model)
    torch.manual_seed(config.seed)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)

    best = _Best()
    dev = "dev" if "dev" in bench.task.splits else "test"
    with (
        folder.file(HISTORY).open("w", encoding="utf-8", buffering=1) as history,
        _progress(steps) as advance,
    ):

        def record(values: Mapping[str, float], step: int) -> None:
            history.write(json.dumps({"step": step, **values}) + "\n")
            log(values, step)

        def evaluate_at(step: int) -> None:
            evaluation = evaluate(model, bench, dev, device, precision)
            record({f"{dev}/{name}": value for name, value in evaluation.metrics.items()}, step)
            score = evaluation.metrics[bench.task.metric]
            if score > best.score:
                best.step, best.score, best.state = step, score, method.snapshot(model)

        tokens, seconds = _steps(
            model, encoded, config, bench, device, precision, steps, record, evaluate_at, advance
        )
        method.save(model, bench.base.model, config, folder, best=False)
        last = _evaluations(model, bench, device, precision)
        for split, evaluation in last.items():
            record({f"{split}/{name}": value for name, value in evaluation.metrics.items()}, steps)
    losses = [loss_on(text.pieces, model, bench.objective, device, precision)] if text else []
    dev_score = last[dev].metrics[bench.task.metric]
    if dev_score >= best.score:
        best.step, chosen = steps, last
    else:
        method.restore(model, best.state)
        chosen = _evaluations(model, bench, device, precision)
        losses += [loss_on(text.pieces, model, bench.objective, device, precision)] if text else []
    method.save(model, bench.base.model, config, folder, best=True)
    _write_predictions(folder, last, chosen)
    return Trained(
        metrics={
            "last": _summary(steps, last),
            "best": {**_summary(best.step, chosen), "chosen_on": dev},
        },
        parameters=parameters,
        timing={
            "seconds_training": seconds,
            "steps_per_second": steps / seconds if steps else 0.0,
            "tokens_per_second": tokens / seconds if steps else 0.0,
            "peak_memory_bytes": peak_memory(device),
        },
        truncated=bench.objective.truncated,
        forgetting=told(text, losses[0], losses[-1]) if text else None,
    )


def _steps(
    model: PreTrainedModel,
    encoded: EncodedSplit,
    config: RunConfig,
    bench: Workbench,
    device: torch.device,
    precision: str,
    steps: int,
    record: Log,
    evaluate_at: Callable[[int], None],
    advance: Callable[[int, float], None],
) -> tuple[int, float]:
    """The optimizer steps; returns the tokens seen and the seconds taken, evaluations apart."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not steps:
        return 0, 0.0
    groups = optimizer_groups(model, config)
    optimizer = torch.optim.AdamW(groups, lr=config.lr, fused=device.type in ("cpu", "cuda"))
    batches = training_batches(encoded.lengths, config.batch_size, config.seed)
    model.train()
    tokens, evaluating, start = 0, 0.0, time.perf_counter()
    since_log: list[float] = []
    for step in range(1, steps + 1):
        rate = learning_rate(step - 1, steps, config.lr, config.warmup)
        for group in optimizer.param_groups:
            group["lr"] = rate * group["multiple"]
        total = 0.0
        for _ in range(config.accumulate):
            batch: list[Encoded] = [encoded[index] for index in next(batches)]
            with autocast(device, precision):
                loss = bench.objective.loss(model, batch, device, config.label_smoothing) / config.accumulate
            loss.backward()
            total += loss.item()
            tokens += sum(len(example.ids) for example in batch)
        norm = torch.nn.utils.clip_grad_norm_(trainable, config.clip or math.inf).item()
        if not math.isfinite(total) or not math.isfinite(norm):
            raise UserError(_diverged(step, total, norm, rate, config, precision))
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        since_log.append(total)
        advance(step, total)
        if step % config.log_every == 0 or step == steps:
            elapsed = time.perf_counter() - start - evaluating
            record(
                {
                    "loss": sum(since_log) / len(since_log),
                    "lr": rate,
                    "grad_norm": norm,
                    "steps_per_second": step / elapsed,
                    "tokens_per_second": tokens / elapsed,
                },
                step,
            )
            since_log.clear()
        if config.eval_every and step % config.eval_every == 0 and step < steps:
            began = time.perf_counter()
            evaluate_at(step)
            evaluating += time.perf_counter() - began
    return tokens, time.perf_counter() - start - evaluating


def optimizer_groups(model: torch.nn.Module, config: RunConfig) -> list[dict[str, Any]]:
    """AdamW's groups of what is trained: weights, A and B among them, decay; biases and norms do not.

    `multiple` is of the learning rate, which a method may give some of its parameters another of.
    """
    method = lookup(config.method)
    norms = [module for module in model.modules() if type(module).__name__.endswith("Norm")]
    exempt = {id(parameter) for norm in norms for parameter in norm.parameters(recurse=False)}
    groups: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            plain = name.endswith("bias") or id(parameter) in exempt
            decay = 0.0 if plain else config.weight_decay
            groups.setdefault((decay, method.rate(name, config)), []).append(parameter)
    return [
        {"params": parameters, "weight_decay": decay, "multiple": multiple}
        for (decay, multiple), parameters in groups.items()
    ]


def _diverged(step: int, loss: float, norm: float, rate: float, config: RunConfig, precision: str) -> str:
    what = f"loss {loss:g}" if not math.isfinite(loss) else f"gradient norm {norm:g}"
    cause = f"the learning rate ({rate:.3g} at this step) is likely too high: try lr={config.lr / 4:g}"
    if config.clip == 0:
        cause += ", or clip the gradient with clip=1"
    if precision == "bfloat16":
        cause += ", or precision=float32"
    return f"training diverged at step {step} ({what}); {cause}"


def _evaluations(
    model: PreTrainedModel, bench: Workbench, device: torch.device, precision: str
) -> dict[str, Evaluation]:
    return {
        split: evaluate(model, bench, split, device, precision)
        for split in bench.task.splits
        if split != "train"
    }


def _summary(step: int, evaluations: Mapping[str, Evaluation]) -> dict[str, Any]:
    return {"step": step, **{split: evaluation.metrics for split, evaluation in evaluations.items()}}


def _write_predictions(
    folder: RunFolder, last: Mapping[str, Evaluation], best: Mapping[str, Evaluation]
) -> None:
    """Every prediction of the last checkpoint, and of the best where that is another one."""
    checkpoints = {"last": last} if best is last else {"last": last, "best": best}
    write_jsonl(
        folder.file(PREDICTIONS),
        (
            {"checkpoint": name, **prediction}
            for name, evaluations in checkpoints.items()
            for evaluation in evaluations.values()
            for prediction in evaluation.predictions
        ),
    )


@contextmanager
def _progress(steps: int, stream: TextIO | None = None) -> Iterator[Callable[[int, float], None]]:
    """A bar on a terminal, ten plain lines elsewhere."""
    stream = stream or sys.stderr
    if stream.isatty():
        from tqdm import tqdm

        with tqdm(total=steps, unit="step", leave=False, file=stream, dynamic_ncols=True) as bar:

            def advance(step: int, loss: float) -> None:
                bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
                bar.update(1)

            yield advance
    else:
        every = max(1, steps // 10)

        def report(step: int, loss: float) -> None:
            if step % every == 0 or step == steps:
                print(f"    step {step}/{steps}  loss {loss:.4f}", file=stream, flush=True)

        yield report
