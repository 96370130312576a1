"""What LoRA costs beside full fine-tuning, adapters and the other methods, measured on this machine.

    python scripts/benchmark_costs.py --out outputs/STUDY/costs.json            # the embedded model
    python scripts/benchmark_costs.py --out costs.json --model FOLDER           # a checkpoint of your own
    python scripts/benchmark_costs.py --out costs.json --model gpt2-medium      # random weights of that size
    python scripts/benchmark_costs.py --out costs.json --quick                  # does it work at all?
    python -m analysis costs --from costs.json                                  # table, figure, verdicts

    latency    one forward pass at the settings of the paper's Table 1, scaled to the model and the machine:
               lengths by its positions, batches and then lengths halved until a pass takes at most half a
               second; LoRA merged and unmerged, Adapter^L and Adapter^H of the paper's shares of parameters
    memory     one training step of each method: weights, gradients, Adam's moments, what is kept for the
               backward pass, and the peak of all that is allocated at one time (of a CPU from the profiler's
               record of every allocation, of a GPU from its allocator); LoRA and full also at other sizes
    storage    the files that each method's run keeps
    speed      training steps of each method
    switching  an adapter put in another's place, beside loading the model from the disk's cache

LoRA is of rank 4 on W_q and W_v, as where the paper speaks of costs (section 4.2).  What is timed is timed in
rounds: each measures every candidate once, in an order of its own, so that a slow moment of the machine meets
all.  The file holds every round; ratios and intervals are the analysis's.  Other work on the machine spoils
the measurement: see its load.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import functools
import itertools
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.profiler import ProfilerActivity, profile

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmark_sweep import machine

import lora
from experiments.config import ModelConfig, RunConfig, TaskConfig
from experiments.device import autocast, describe, keep_freed_memory, resolve_device, resolve_precision
from experiments.errors import UserError
from experiments.methods import METHODS, Method, lookup
from experiments.objective import Encoded, Objective
from experiments.plan import plan
from experiments.prefixes import special_ids
from experiments.store import ADAPTER, DELTA, RunFolder, write_json
from experiments.trainer import optimizer_groups
from experiments.workbench import workbench

if TYPE_CHECKING:
    from transformers import PreTrainedModel

FORMAT = 1
RANK, TARGETS = 4, "qv"
TABLE_1 = ((32, 512, 0.5 / 354.92), (16, 256, 11 / 354.92), (1, 128, 11 / 354.92))
"""(batch, length, share of the model's parameters that is added) of GPT-2 medium, 354.92M."""
GPT2 = {
    "gpt2": {"n_embd": 768, "n_layer": 12, "n_head": 12},
    "gpt2-medium": {"n_embd": 1024, "n_layer": 24, "n_head": 16},
    "gpt2-large": {"n_embd": 1280, "n_layer": 36, "n_head": 20},
}
BATCH, LENGTH, ROOM = 16, 128, 16
"""Of a training step, at most; so many positions are left to the special tokens of prefixes."""
FORWARD_SECONDS, STEP_SECONDS = 0.5, 1.0
"""What is longer is halved."""
LEAST_ROUNDS, MOST_ROUNDS, WARM_UP = 10, 100, 2
LATENCY_SECONDS, SPEED_SECONDS, SWITCHING_SECONDS = 45.0, 120.0, 20.0
"""For the rounds of a setting, beyond the least."""
MIB = 2**20


@dataclass(frozen=True)
class Subject:
    """The model that everything is measured on, and how it is trained."""

    name: str
    base: PreTrainedModel
    objective: Objective  # of text, whose last quarter is then the target, or of a class
    generates: bool
    config: RunConfig
    device: torch.device
    precision: str
    quick: bool

    @property
    def positions(self) -> int:
        return min(self.objective.max_length, 512)

    @property
    def vocabulary(self) -> int:
        return int(self.base.get_input_embeddings().weight.shape[0])

    def settings(self, method: str) -> RunConfig:
        return dataclasses.replace(self.config, method=method)

    def model(self, method: str, **changes: Any) -> PreTrainedModel:
        """A copy of the base, prepared for the method."""
        config = dataclasses.replace(self.settings(method), **changes)
        return lookup(method).prepare(self.base, config).to(self.device)

    def ids(self, batch: int, length: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(0)
        return torch.randint(0, self.vocabulary, (batch, length), generator=generator).to(self.device)

    def fitting(
        self, batch: int, length: int, limit: float, seconds: Callable[[int, int], float]
    ) -> tuple[int, int]:
        """The batch, then the length, halved until a call takes at most `limit` seconds."""
        if self.quick:
            return min(batch, 2), min(length, 16)
        while (batch, length) != (1, 8) and seconds(batch, length) > limit:
            batch, length = (batch // 2, length) if batch > 1 else (1, max(8, length // 2))
        return batch, length

    def rounds(self, seconds: float, one: float) -> int:
        """How many rounds of so many seconds fit."""
        return 3 if self.quick else max(LEAST_ROUNDS, min(MOST_ROUNDS, round(seconds / max(one, 1e-6))))


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    keep_freed_memory()
    start = time.perf_counter()
    try:
        subject = subject_of(options.model, options.device, options.quick)
    except UserError as error:
        sys.exit(f"error: {error}")
    description = machine()
    parts: dict[str, Any] = {}
    for name, measure in MEASUREMENTS.items():
        began = time.perf_counter()
        parts[name] = measure(subject)
        print(f"{name}: {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
    config = subject.base.config
    record = {
        "format": FORMAT,
        "quick": subject.quick,
        "model": {
            "name": subject.name,
            "kind": config.model_type,
            "layers": config.num_hidden_layers,
            "width": config.hidden_size,
            "parameters": sum(p.numel() for p in subject.base.parameters()),
        },
        "device": describe(subject.device),
        "gpu": subject.device.type != "cpu",
        "precision": subject.precision,
        "lora": {"rank": RANK, "targets": TARGETS},
        "machine": description,
        "seconds": time.perf_counter() - start,
        **parts,
    }
    write_json(options.out, record)
    print(f"{options.out}: python -m analysis costs --from {options.out}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--out", type=Path, required=True, metavar="FILE", help="where to write what was measured, as JSON")
    models = f"embedded, the folder of a checkpoint, or one of {', '.join(GPT2)} with random weights"
    add("--model", default="embedded", metavar="NAME", help=f"{models} (default: %(default)s)")
    add("--device", default="auto", help="auto, cpu, cuda, ... (default: %(default)s)")
    add("--threads", type=int, metavar="N", help="of the CPU (default: as many as torch takes)")
    add("--quick", action="store_true", help="three rounds of small inputs: no measurement, only a trial")
    return parser


def subject_of(name: str, device: str, quick: bool) -> Subject:
    """Load or build the model.  Raises UserError where it cannot be loaded."""
    place = torch.device(resolve_device(device))
    words = ["method=lora", f"rank={RANK}", f"targets={TARGETS}", "wandb.mode=disabled", "dropout=0"]
    [planned] = plan(words).runs
    bench = workbench(ModelConfig("embedded" if name in GPT2 else name), TaskConfig("nli", train=1, test=1))
    base, objective = bench.base.model, bench.objective
    if name in GPT2:
        from transformers import GPT2Config, GPT2LMHeadModel

        torch.manual_seed(0)
        base = GPT2LMHeadModel(GPT2Config(**GPT2[name], resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0))
        objective = type(objective)(objective.tokenizer, objective.task, base.config.n_positions)
    config = planned.config
    precision = resolve_precision("auto", str(place))
    return Subject(name, base.eval(), objective, bench.base.generates, config, place, precision, quick)


# ----------------------------------------------------------------------------------------------- timing


def rounds_of(
    candidates: Mapping[str, Callable[[], Any]], count: int, device: torch.device
) -> dict[str, list[float]]:
    """Seconds of each candidate in each round, after some that do not count."""
    order, shuffle = [*candidates], random.Random(0).shuffle
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for number in range(WARM_UP + count):
        shuffle(order)
        for name in order:
            taken = timed(candidates[name], device)
            if number >= WARM_UP:
                seconds[name].append(taken)
    return seconds


def timed(call: Callable[[], Any], device: torch.device) -> float:
    _synchronize(device)
    start = time.perf_counter()
    call()
    _synchronize(device)
    return time.perf_counter() - start


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


# ---------------------------------------------------------------------------------------------- latency


def latency(subject: Subject) -> dict[str, Any]:
    """Seconds of one forward pass by setting, method and round, and what merging leaves of the adapter."""
    call = forward(subject, subject.base.to(subject.device))

    def plain(batch: int, length: int) -> float:
        ids = subject.ids(batch, length)
        return min(timed(lambda: call(ids), subject.device) for _ in (1, 2))

    settings = []
    for batch, length, share in TABLE_1:
        longest = max(8, length * subject.positions // 512)
        here = subject.fitting(batch, longest, FORWARD_SECONDS, plain)
        settings.append(_latency_at(subject, (batch, length), here, share))
    return {"settings": settings, "merged": merged_is_the_base(subject)}


def _latency_at(
    subject: Subject, of_paper: tuple[int, int], here: tuple[int, int], share: float
) -> dict[str, Any]:
    models = candidates(subject, share)
    ids = subject.ids(*here)
    calls = {name: functools.partial(forward(subject, model), ids) for name, (model, _) in models.items()}
    one = sum(timed(call, subject.device) for call in calls.values())
    seconds = rounds_of(calls, subject.rounds(LATENCY_SECONDS, one), subject.device)
    return {
        "paper": dict(zip(("batch", "length"), of_paper, strict=True)),
        "batch": here[0],
        "length": here[1],
        "added": {name: added for name, (_, added) in models.items()},
        "seconds": seconds,
    }


def candidates(subject: Subject, share: float) -> dict[str, tuple[PreTrainedModel, int]]:
    """Models in eval mode, and how many parameters are added to each: as near to the share as ranks allow."""
    wanted = share * sum(p.numel() for p in subject.base.parameters())

    def sized(method: str, setting: Callable[[int], dict[str, Any]]) -> PreTrainedModel:
        one, two = (_added(subject, subject.model(method, **setting(rank))) for rank in (1, 2))
        rank = max(1, round((wanted - one) / (two - one)) + 1)
        return subject.model(method, **setting(rank)).eval()

    def ranks(rank: int) -> dict[str, Any]:
        return {"rank": dict.fromkeys(TARGETS, min(rank, subject.base.config.hidden_size // 2))}

    unmerged = _moved(sized("lora", ranks))
    models = {
        "full": copy.deepcopy(subject.base).to(subject.device),
        "lora_merged": lora.merge(copy.deepcopy(unmerged)),
        "lora_unmerged": unmerged,
        "adapter_l": sized("adapter_l", lambda rank: {"bottleneck": rank}),
        "adapter_h": sized("adapter_h", lambda rank: {"bottleneck": rank}),
    }
    return {name: (model.eval(), _added(subject, model)) for name, model in models.items()}


def _added(subject: Subject, model: PreTrainedModel) -> int:
    return sum(p.numel() for p in model.parameters()) - sum(p.numel() for p in subject.base.parameters())


def _moved(model: PreTrainedModel) -> PreTrainedModel:
    """With B as training might leave it."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for adapter in lora.adapters(model).values():
            drawn = torch.randn(adapter.lora_B.shape, generator=generator)
            adapter.lora_B.copy_(0.01 * drawn)
    return model


def forward(subject: Subject, model: PreTrainedModel) -> Callable[[torch.Tensor], torch.Tensor]:
    """One pass to the logits, as when the model is used."""
    model.config.use_cache = False

    @torch.inference_mode()
    def call(ids: torch.Tensor) -> torch.Tensor:
        with autocast(subject.device, subject.precision):
            logits: torch.Tensor = model(input_ids=ids).logits
        return logits

    return call


def merged_is_the_base(subject: Subject) -> dict[str, Any]:
    """Whether a merged model has the base's modules, parameters, hooks and operators, one for one."""
    base = copy.deepcopy(subject.base).to(subject.device)
    merged = lora.merge(_moved(subject.model("lora").eval()))
    ids = subject.ids(1, 8)
    of_base, of_merged = (operators(forward(subject, model), ids) for model in (base, merged))
    return {
        "modules": _modules(base) == _modules(merged),
        "parameters": _parameters(base) == _parameters(merged),
        "operators": of_base == of_merged,
        "count": len(of_merged),
    }


def _modules(model: torch.nn.Module) -> list[tuple[str, type, int]]:
    return [
        (name, type(one), len(one._forward_hooks) + len(one._forward_pre_hooks))
        for name, one in model.named_modules()
    ]


def _parameters(model: torch.nn.Module) -> list[tuple[str, torch.Size, torch.dtype]]:
    return [(name, value.shape, value.dtype) for name, value in model.state_dict().items()]


def operators(call: Callable[[torch.Tensor], Any], ids: torch.Tensor) -> list[str]:
    """The names of all operators of a forward pass, in order."""
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        call(ids)
    events = sorted(profiled.events(), key=lambda event: event.time_range.start)
    return [event.name for event in events if event.name.startswith("aten::")]


# -------------------------------------------------------------------------------- steps: memory and speed


@dataclass(frozen=True, eq=False)
class Training:
    """A method's model and optimizer, ready for steps on one batch."""

    subject: Subject
    method: Method
    model: PreTrainedModel
    optimizer: torch.optim.Optimizer
    batch: list[Encoded]

    @classmethod
    def of(cls, subject: Subject, name: str, batch: int, length: int) -> Training:
        method, config = lookup(name), subject.settings(name)
        model = subject.model(name).train()
        objective = subject.objective
        before, after = method.special_tokens(config)
        if before or after:
            objective = objective.with_tokens(*special_ids(subject.base, before, after))
        answer, label = (length - length // 4, -1) if subject.generates else (length, 0)
        examples = [
            objective.surrounded(Encoded(tuple(ids), answer, label))
            for ids in subject.ids(batch, length).tolist()
        ]
        optimizer = torch.optim.AdamW(optimizer_groups(model, config), lr=1e-6, fused=True)
        return cls(dataclasses.replace(subject, objective=objective), method, model, optimizer, examples)

    def loss(self) -> torch.Tensor:
        subject = self.subject
        with autocast(subject.device, subject.precision):
            return subject.objective.loss(self.model, self.batch, subject.device, 0.0)

    def step(self) -> None:
        self.loss().backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


def _fits(subject: Subject, method: str) -> bool:
    """Whether the method finds something to train in the model; a Llama has no biases."""
    try:
        return any(p.requires_grad for p in subject.model(method).parameters())
    except UserError:
        return False


def trained_methods(subject: Subject) -> list[str]:
    """Those that find something to train, full fine-tuning first and LoRA second."""
    names = [name for name in METHODS if lookup(name).trains and _fits(subject, name)]
    return sorted(names, key=lambda name: (name != "full", name != "lora", name))


def training_size(subject: Subject) -> tuple[int, int]:
    """(batch, length) of a step of full fine-tuning that is not too long."""

    def seconds(batch: int, length: int) -> float:
        training = Training.of(subject, "full", batch, length)
        return min(timed(training.step, subject.device) for _ in (1, 2))

    return subject.fitting(BATCH, min(LENGTH, subject.positions - ROOM), STEP_SECONDS, seconds)


def speed(subject: Subject) -> dict[str, Any]:
    """Seconds of a training step by method and round."""
    batch, length = training_size(subject)
    steps = {name: Training.of(subject, name, batch, length).step for name in trained_methods(subject)}
    one = sum(timed(step, subject.device) for step in steps.values())
    seconds = rounds_of(steps, subject.rounds(SPEED_SECONDS, one), subject.device)
    return {"batch": batch, "length": length, "seconds": seconds}


def memory(subject: Subject) -> list[dict[str, Any]]:
    """Bytes of a training step: every method at one size, full fine-tuning and LoRA at others too."""
    batch, length = training_size(subject)
    short = max(8, length // 4)
    sizes = [(batch, length), (1, short), (1, length), (batch, short), (max(1, batch // 4), length)]
    measured = [memory_of(subject, name, batch, length) for name in trained_methods(subject)]
    for size in dict.fromkeys(sizes[1:]):
        if size != (batch, length):
            measured += [memory_of(subject, name, *size) for name in ("full", "lora")]
    return measured


def memory_of(subject: Subject, name: str, batch: int, length: int) -> dict[str, Any]:
    """Bytes that a step of the method holds, told apart, and the most that it holds at one time.

    The step is the second: Adam's moments are there.  `activations` is what autograd keeps of the forward
    pass, each storage once, without the weights; `peak` counts every allocation, also what is gone before
    the step ends.
    """
    training = Training.of(subject, name, batch, length)
    training.step()
    model = training.model
    held = {
        tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes()
        for tensor in (*model.parameters(), *model.buffers())
    }
    saved: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in held:
            saved[storage.data_ptr()] = storage  # held, so that its place is not given to another
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = training.loss()
    activations = sum(storage.nbytes() for storage in saved.values())
    saved.clear()
    loss.backward()
    gradients = sum(_bytes(p.grad) for p in model.parameters() if p.grad is not None)
    training.optimizer.zero_grad(set_to_none=True)
    del loss
    moments = sum(
        _bytes(value)
        for state in training.optimizer.state.values()
        for value in state.values()
        if isinstance(value, torch.Tensor)
    )
    weights = sum(held.values())
    return {
        "method": name,
        "batch": batch,
        "length": length,
        "total": sum(p.numel() for p in model.parameters()),
        "trainable": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "weights": weights,
        "gradients": gradients,
        "optimizer": moments,
        "activations": activations,
        "peak": weights + moments + allocated(training.step, subject.device),
    }


def _bytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def allocated(call: Callable[[], Any], device: torch.device) -> int:
    """The most bytes that a call holds at one time beyond those that were held before it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        return torch.cuda.max_memory_allocated(device) - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        call()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "trace.json"
        profiled.export_chrome_trace(str(file))
        events = json.loads(file.read_text(encoding="utf-8"))["traceEvents"]
    now = most = 0
    for event in sorted((e for e in events if e["name"] == "[memory]"), key=lambda e: e["ts"]):
        now += event["args"]["Bytes"]
        most = max(most, now)
    return most


# ------------------------------------------------------------------------------------ storage, switching


def storage(subject: Subject) -> dict[str, int]:
    """Bytes of the file that holds what a method has trained; of full fine-tuning the whole model."""
    sizes = {}
    for name in trained_methods(subject):
        model, config = subject.model(name), subject.settings(name)
        with tempfile.TemporaryDirectory() as folder:
            if name == "full":
                model.save_pretrained(folder)
                files = [*Path(folder).glob("*.safetensors")]
            else:
                run = RunFolder(Path(folder))
                lookup(name).save(model, subject.base, config, run, best=False)
                files = [file for file in map(run.file, (ADAPTER, DELTA)) if file.is_file()]
            sizes[name] = sum(file.stat().st_size for file in files)
    return sizes


def switching(subject: Subject) -> dict[str, Any]:
    """Seconds to load the model, and to put an adapter in another's place: of a file, in memory, merged."""
    base, device = subject.base, subject.device
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        base.save_pretrained(folder)
        files = []
        for rank in (RANK, 2 * RANK):
            model = _moved(subject.model("lora", rank=dict.fromkeys(TARGETS, rank)))
            files.append(folder / f"r{rank}.safetensors")
            lora.save(model, files[-1])
        in_memory = [lora.read(file) for file in files]
        unmerged = lora.load(copy.deepcopy(base).to(device), files[0])
        merged = lora.merge(copy.deepcopy(unmerged))
        kind, attention = type(base), base.config._attn_implementation

        def load() -> None:
            kind.from_pretrained(folder, dtype=torch.float32, attn_implementation=attention).to(device)

        def exchange(model: PreTrainedModel, adapters: Sequence[Any]) -> Callable[[], Any]:
            others = itertools.cycle(reversed(adapters))
            return lambda: lora.switch(model, next(others))

        calls: dict[str, Callable[[], Any]] = {
            "load": load,
            "file": exchange(unmerged, files),
            "memory": exchange(unmerged, in_memory),
            "merged": exchange(merged, in_memory),
        }
        one = sum(timed(call, device) for call in calls.values())
        seconds = rounds_of(calls, subject.rounds(SWITCHING_SECONDS, one), device)
        sizes = [file.stat().st_size for file in files]
    return {"bytes": sizes, "seconds": seconds}


MEASUREMENTS: dict[str, Callable[[Subject], Any]] = {
    "latency": latency,
    "memory": memory,
    "storage": storage,
    "speed": speed,
    "switching": switching,
}


if __name__ == "__main__":
    main()
