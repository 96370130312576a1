"""One run's configuration: checked values, and the address that the run has in the store.

The scientific part is what changes the numbers; its hash is the run's identity.  Where a run executes, how it
is logged and which study it belongs to are not part of it.  Nothing here imports torch.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.budget import parameters_of, rank_for_budget
from experiments.errors import UserError, nearest
from experiments.methods import lookup
from experiments.wandb_run import DEFAULT_PROJECT, MODES
from lora.targets import SCALINGS, parse_ranks, parse_targets, scaling_value, targets_name

_CODE = Path(__file__).resolve().parent
# In a wheel conf/ lies in this package; in a checkout a link there leads to it, where links are.
CONF = (_CODE / "conf" if (_CODE / "conf").is_dir() else _CODE.parent / "conf").resolve()
TASKS = ("sql", "nli", "wikisql", "mnli")
GENERATED_TASKS = ("sql", "nli")
INITS = ("gaussian", "kaiming")
BIASES = ("none", "lora_only", "all")
PRECISIONS = ("auto", "float32", "bfloat16")

# Counts up whenever the code changes what a configuration means, so that old results are not taken for new.
SCIENCE_VERSION = 2


@dataclass(frozen=True)
class ModelConfig:
    """`name` is "embedded", a hub id or a folder."""

    name: str
    revision: str | None = None
    max_length: int | None = None


@dataclass(frozen=True)
class TaskConfig:
    """`train`, `dev` and `test` are how many examples to use (None: all); `seed` generates or draws them.

    `path` is a downloaded release (None: the hub, for the real tasks); `holdout` is how many training
    examples MultiNLI gives up for its dev split.
    """

    name: str
    path: str | None = None
    seed: int = 0
    train: int | None = None
    dev: int | None = None
    test: int | None = None
    holdout: int = 5000


@dataclass(frozen=True)
class WandbConfig:
    mode: str = "auto"
    project: str = DEFAULT_PROJECT
    entity: str | None = None
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class RunConfig:
    """Everything one run needs.  Built by `read_config`, which has checked each value."""

    study: str
    seed: int
    method: str
    targets: tuple[str, ...]
    rank: dict[str, int]
    alpha: float
    scaling: str
    init: str
    dropout: float
    bias: str
    lr: float
    steps: int | None
    epochs: float | None
    batch_size: int
    accumulate: int
    warmup: float
    weight_decay: float
    clip: float
    label_smoothing: float
    eval_every: int | None
    log_every: int
    precision: str
    device: str
    force: bool
    model: ModelConfig
    task: TaskConfig
    wandb: WandbConfig
    root: Path = Path("outputs")

    def scientific(self, precision: str, model_identity: str, task_identity: str) -> dict[str, Any]:
        """What changes the numbers, as plain JSON values.

        `precision` is the resolved one; the identities name the weights and the data by content, so that a
        folder that moved is still the same experiment.
        """
        method = lookup(self.method)
        adapter: dict[str, Any] = {
            "targets": self.targets_name,
            "rank": self.rank,
            "alpha": self.alpha,
            "scaling": self.scaling,
            "init": self.init,
            "dropout": self.dropout,
            "bias": self.bias,
        }
        training: dict[str, Any] = {
            "lr": self.lr,
            "steps": self.steps,
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "accumulate": self.accumulate,
            "warmup": self.warmup,
            "weight_decay": self.weight_decay,
            "clip": self.clip,
            "label_smoothing": self.label_smoothing,
            "eval_every": self.eval_every,
        }
        task = dataclasses.asdict(self.task)
        del task["path"], task["holdout"]
        if self.task.name == "mnli":
            task["holdout"] = self.task.holdout
        return {
            "science_version": SCIENCE_VERSION,
            "model": {"identity": model_identity, "max_length": self.model.max_length},
            "task": task | {"identity": task_identity},
            "method": method.name,
            **{key: value for key, value in adapter.items() if key in method.settings},
            "seed": self.seed,
            **(training if method.trains else {}),
            "precision": precision,
        }

    @property
    def targets_name(self) -> str:
        """ "qv", or "q-up" where a target is more than a letter."""
        return targets_name(self.targets)

    @property
    def rank_name(self) -> str:
        """ "8", or "q4-v8" where ranks differ by letter."""
        values = set(self.rank.values())
        if len(values) == 1:
            return str(values.pop())
        return "-".join(f"{letter}{rank}" for letter, rank in self.rank.items())

    def readable_name(self) -> str:
        """The part of the run's folder that people read."""
        model = self.model.name.rstrip("/").rsplit("/", 1)[-1]
        method = lookup(self.method)
        words = "-".join(method.words(self)) or method.name
        rate = f"-lr{self.lr:g}" if method.trains else ""
        return f"{self.task.name}-{model}-{words}{rate}-seed{self.seed}"


def digest(scientific: Mapping[str, Any]) -> str:
    """The run's identity: the first 10 hexadecimal digits of a hash of its scientific configuration."""
    text = json.dumps(scientific, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:10]


# ------------------------------------------------------------------------------------------- checking


def read_config(values: Mapping[str, Any]) -> RunConfig:
    """Check plain values (the resolved Hydra configuration) and normalise them.

    A `budget` is turned into the rank that it pays for, so that a run is the same run however its rank was
    found.  Raises UserError, one line, for the first value that is not valid.
    """
    task, wandb = values["task"], values["wandb"]
    model = ModelConfig(
        name=str(values["model"]["name"]),
        revision=values["model"].get("revision"),
        max_length=_optional_integer("model.max_length", values["model"].get("max_length"), 8),
    )
    method = lookup(values["method"])
    try:
        targets = _targets(values)
        budget = values.get("budget") if "rank" in method.settings else None
        rank = parse_ranks(values["rank"] if budget is None else _rank_for(budget, targets, model), targets)
        scaling_value(_choice("scaling", values["scaling"], SCALINGS), values["alpha"], 1)
    except ValueError as error:
        raise UserError(str(error)) from error
    steps, epochs = _length(values["steps"], values["epochs"], values["model"].get("budget") or {})
    return RunConfig(
        study=_study(values["study"]),
        seed=_integer("seed", values["seed"], 0),
        method=values["method"],
        targets=targets,
        rank=rank,
        alpha=float(values["alpha"]),
        scaling=values["scaling"],
        init=_choice("init", values["init"], INITS),
        dropout=_number("dropout", values["dropout"], 0, below=1),
        bias=_choice("bias", values["bias"], BIASES),
        lr=_number("lr", method.learning_rate if values["lr"] is None else values["lr"], 0, exclusive=True),
        steps=steps,
        epochs=epochs,
        batch_size=_integer("batch_size", values["batch_size"], 1),
        accumulate=_integer("accumulate", values["accumulate"], 1),
        warmup=_number("warmup", values["warmup"], 0),
        weight_decay=_number("weight_decay", values["weight_decay"], 0),
        clip=_number("clip", values["clip"], 0),
        label_smoothing=_number("label_smoothing", values["label_smoothing"], 0, below=1),
        eval_every=_optional_integer("eval_every", values["eval_every"], 1),
        log_every=_integer("log_every", values["log_every"], 1),
        precision=_choice("precision", values["precision"], PRECISIONS),
        device=str(values["device"]),
        force=_boolean("force", values["force"]),
        model=model,
        task=TaskConfig(
            name=_choice("task", task["name"], TASKS),
            path=task.get("path"),
            seed=_integer("task.seed", task.get("seed", 0), 0),
            train=_optional_integer("task.train", task.get("train"), 1),
            dev=_optional_integer("task.dev", task.get("dev"), 1),
            test=_optional_integer("task.test", task.get("test"), 1),
            holdout=_integer("task.holdout", task.get("holdout", 5000), 1),
        ),
        wandb=WandbConfig(
            mode=_choice("wandb.mode", wandb["mode"], MODES),
            project=str(wandb["project"]),
            entity=wandb.get("entity"),
            tags=_tags(wandb.get("tags")),
        ),
        root=_root(values.get("root", "outputs")),
    )


def _choice(key: str, value: Any, choices: tuple[str, ...]) -> str:
    if value not in choices:
        raise UserError(f"{key}={value} is unknown; valid are {', '.join(choices)}{nearest(value, choices)}")
    return str(value)


def _integer(key: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise UserError(f"{key}={value} is not valid; give an integer of at least {least}")
    return value


def _optional_integer(key: str, value: Any, least: int) -> int | None:
    return None if value is None else _integer(key, value, least)


def _number(key: str, value: Any, least: float, below: float = math.inf, exclusive: bool = False) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not least <= value < below or (exclusive and value == least):
        limits = f"{'above' if exclusive else 'of at least'} {least:g}"
        limits += f" and below {below:g}" if below < math.inf else ""
        raise UserError(f"{key}={value} is not valid; give a number {limits}")
    return float(value)


def _boolean(key: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise UserError(f"{key}={value} is not valid; give true or false")
    return value


def _study(value: Any) -> str:
    if not isinstance(value, str):
        raise UserError(
            f"study={value} is read as a number or as nothing (so are 2024_11_25, 1e3 and null); a study is "
            "named by text: another name, or one in quotes of its own, as in study=\"'2024_11_25'\""
        )
    if not value or value.startswith(".") or any(c in '/\\:*?"<>|' for c in value) or value != value.strip():
        raise UserError(f"study={value!r} is not valid; it names a folder: letters, digits, - and _")
    return value


def _root(value: Any) -> Path:
    """A folder, also one whose name is a number."""
    if value is None or isinstance(value, bool | list | dict) or not str(value).strip():
        raise UserError(f"root={value} is not valid; give the folder in which studies lie")
    return Path(str(value)).expanduser()


def _tags(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    return tuple(map(str, value if isinstance(value, list | tuple) else [value]))


def _targets(values: Mapping[str, Any]) -> tuple[str, ...]:
    if values["targets"] is not None:
        return parse_targets(values["targets"])
    if not isinstance(values["rank"], Mapping):
        raise UserError(
            "targets=null means the letters that rank names, and it names none; give targets=qv, or "
            "rank={q: 4, v: 8}"
        )
    return parse_targets(values["rank"])


def _rank_for(budget: Any, targets: tuple[str, ...], model: ModelConfig) -> int:
    """The rank that a budget pays for on this model, whose config is read and nothing else."""
    from experiments.models import projection_shapes

    shapes, layers = projection_shapes(model)
    return rank_for_budget(parameters_of(budget, shapes, layers), targets, shapes, layers).rank


def _length(steps: Any, epochs: Any, default: Mapping[str, Any]) -> tuple[int | None, float | None]:
    if steps is not None and epochs is not None:
        raise UserError(f"steps={steps} and epochs={epochs} are both given; give one of them")
    if steps is None and epochs is None:
        steps, epochs = default.get("steps"), default.get("epochs")
    if steps is None and epochs is None:
        raise UserError("neither steps nor epochs is given, and the model has no default; give one of them")
    if steps is not None:
        return _integer("steps", steps, 1), None
    return None, _number("epochs", epochs, 0, exclusive=True)
