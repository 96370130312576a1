"""One run's configuration: checked values, and the address that the run has in the store.

Each hyper-parameter is declared once, in one entry of `RunConfig` or its parts: its type and range, its line
on the help page, and when it is part of the hash that is the run's identity.  Where a run executes, how it is
logged and which study it belongs to are not.  Nothing here imports torch.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, ValidationInfo, field_validator
from pydantic.dataclasses import dataclass

from experiments.budget import parameters_of, rank_for_budget
from experiments.errors import UserError, nearest
from experiments.identity import file_identity
from experiments.keys import (
    ALWAYS,
    CHANGED,
    KEEPING,
    LORA,
    METHOD,
    MODEL,
    NEVER,
    ONLY_DECLARED,
    TASK,
    TRAINED,
    TRAINING,
    USED,
    Flag,
    Integer,
    Number,
    Text,
    about,
    build,
    key,
    keys,
)
from experiments.parts import ModelConfig, TaskConfig, WandbConfig
from experiments.registry import Registry
from experiments.store import ADAPTER_BEST, RunFolder
from experiments.tasks import COMMON_KEYS, TASKS
from lora.targets import parse_ranks, parse_targets, targets_name

_CODE = Path(__file__).resolve().parent
# In a wheel conf/ lies in this package; in a checkout a link there leads to it, where links are.
CONF = (_CODE / "conf" if (_CODE / "conf").is_dir() else _CODE.parent / "conf").resolve()

LONGEST_NAME = 100  # of a model, in the name of a run's folder, for which systems have a limit

# Counts up whenever the code changes what a configuration means, so that old results are not taken for new.
SCIENCE_VERSION = 2

METHODS: Registry[Any] = Registry("method", "experiments.methods", needs=("name", "label", "learning_rate"))
"""By name.  What a method is, `experiments.methods` says, which knows this module; it is not known here."""


def _task(config: TaskConfig) -> TaskConfig:
    TASKS.find(config.name).check(config)
    return config


def _method(name: Any) -> Any:
    usable = [one for one, field in keys(RunConfig).items() if about(field, "counts") in (USED, CHANGED)]
    for setting in METHODS.find(name).settings:
        if setting not in usable:
            raise UserError(
                f"method={name} has {setting!r} among its settings; valid are {', '.join(usable)}"
                f"{nearest(setting, usable)}"
            )
    return name


def _study(value: Any) -> str:
    if not isinstance(value, str):
        raise UserError(
            f"study={value} is read as a number or as nothing (so are 2024_11_25, 1e3 and null); a study is "
            "named by text: another name, or one in quotes of its own, as in study=\"'2024_11_25'\""
        )
    if not value or value.startswith(".") or any(c in '/\\:*?"<>|' for c in value) or value != value.strip():
        raise UserError(f"study={value!r} is not valid; it names a folder: letters, digits, - and _")
    return value


def _forgetting(value: Any) -> bool | str:
    """A file's name may be a number."""
    if isinstance(value, list | dict) or (isinstance(value, str) and not value.strip()):
        raise UserError(f"forgetting={value} is not valid; give true, false, or a file of text")
    return bool(value) if value is None or isinstance(value, bool) else str(value)


def _device(value: Any) -> str:
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", str(value)):
        raise UserError(f"device={value} is not valid; valid are auto, cpu, cuda, cuda:1 and so on, mps")
    return str(value)


def _root(value: Any) -> Path:
    """A folder, also one whose name is a number."""
    if value is None or isinstance(value, bool | list | dict) or not str(value).strip():
        raise UserError(f"root={value} is not valid; give the folder in which studies lie")
    return Path(str(value)).expanduser()


@dataclass(frozen=True, kw_only=True, config=ONLY_DECLARED)
class RunConfig:
    """Everything one run needs.  Built by `read_config`."""

    model: Annotated[ModelConfig, key(MODEL, ALWAYS, "what is adapted")]
    task: Annotated[TaskConfig, AfterValidator(_task), key(TASK, ALWAYS, "what it is trained and judged on")]
    method: Annotated[
        str,
        BeforeValidator(_method),
        key(METHOD, ALWAYS, "what is trained, or an import path: my_module:MyMethod"),
    ]

    targets: Annotated[
        tuple[str, ...],
        BeforeValidator(parse_targets),
        key(
            LORA,
            USED,
            "weights to adapt: any of q k v o, and gate, up, down of the MLP: 'targets=[q,v,up]'; null: the "
            "letters of rank",
        ),
    ]
    rank: Annotated[dict[str, int], key(LORA, USED, "1 or more, or one for each letter: 'rank={q: 4, v: 8}'")]
    alpha: Annotated[Number, key(LORA, USED, "dW = scaling * B A, where scaling is", gt=0)]
    scaling: Annotated[Literal["alpha/r", "1/r", "alpha/sqrt(r)"], key(LORA, USED)]
    init: Annotated[
        Literal["gaussian", "kaiming", "pissa", "olora"],
        key(LORA, USED, "how A is drawn, where B is zero; of pissa and olora both are made from W"),
    ]
    dropout: Annotated[Number, key(LORA, USED, "of the adapter's input", ge=0, lt=1)]
    bias: Annotated[Literal["none", "lora_only", "all"], key(LORA, USED, "biases that are trained too")]

    dora: Annotated[Flag, key(LORA, CHANGED, "DoRA: the norm of each row of W + dW is trained, too")] = False
    lr_ratio: Annotated[Number, key(LORA, CHANGED, "LoRA+: B's learning rate over A's", gt=0)] = 1.0
    train: Annotated[
        Literal["both", "A", "B"], key(LORA, CHANGED, "the factors that are trained; the other stays random")
    ] = "both"
    bottleneck: Annotated[Integer, key(METHOD, USED, "r of adapter_h, adapter_l, adapter_p", ge=1)] = 8
    l_p: Annotated[Integer, key(METHOD, USED, "special tokens before the prompt, of prefixes", ge=0)] = 8
    l_i: Annotated[Integer, key(METHOD, USED, "special tokens after the prompt, of prefixes", ge=0)] = 4
    prefix: Annotated[Literal["embed", "layer"], key(METHOD, USED, "of lora_prefix")] = "embed"
    keep: Annotated[Integer, key(METHOD, USED, "directions that truncated keeps of each dW", ge=1)] = 1
    by: Annotated[Literal["dW", "A"], key(METHOD, USED, "whose top directions truncated keeps")] = "dW"
    init_from: Annotated[
        Text | None,
        key(
            LORA,
            CHANGED,
            "the folder of a finished run of LoRA, whose best adapter is where this one starts; its head too "
            "where both tasks have the same labels",
        ),
    ] = None

    seed: Annotated[Integer, key(TRAINING, ALWAYS, "initial A, order of examples, dropout", ge=0)]
    lr: Annotated[
        Number,
        key(TRAINING, TRAINED, "learning rate; unless given, the model's for this method (model.lr)", gt=0),
    ]
    steps: Annotated[
        Integer | None,
        key(TRAINING, TRAINED, "updates; null: as many as epochs takes, or as the model's file says", ge=1),
    ]
    epochs: Annotated[
        Number | None, key(TRAINING, TRAINED, "passes over the training examples, instead of steps", gt=0)
    ]
    batch_size: Annotated[Integer, key(TRAINING, TRAINED, "examples", ge=1)]
    accumulate: Annotated[Integer, key(TRAINING, TRAINED, "batches that make an update", ge=1)]
    warmup: Annotated[
        Number,
        key(
            TRAINING,
            TRAINED,
            "a share of the steps, or from 1 on their number; then linear decay to 0; unless given, the "
            "model's for this task (model.warmup), or 0.06",
            ge=0,
        ),
    ]
    weight_decay: Annotated[Number, key(TRAINING, TRAINED, "AdamW's", ge=0)]
    clip: Annotated[Number, key(TRAINING, TRAINED, "limit of the gradient's norm; 0 is none", ge=0)]
    label_smoothing: Annotated[
        Number, key(TRAINING, TRAINED, "probability taken from the target for all others", ge=0, lt=1)
    ]
    eval_every: Annotated[
        Integer | None,
        key(TRAINING, TRAINED, "also evaluate each so many steps, and keep the best on dev", ge=1),
    ]
    precision: Annotated[
        Literal["auto", "float32", "bfloat16"],
        key(TRAINING, ALWAYS, "of matrix products; auto: bfloat16 on a GPU that has it, float32 on a CPU"),
    ]
    device: Annotated[str, BeforeValidator(_device), key(TRAINING, NEVER, "auto, cpu, cuda, cuda:1, mps")]
    forgetting: Annotated[
        bool | str,
        BeforeValidator(_forgetting),
        key(
            TRAINING,
            NEVER,
            "true: the loss on the embedded model's pretraining text is measured too, also of finished runs; "
            "of another model the file of such text",
        ),
    ] = False

    study: Annotated[
        str, BeforeValidator(_study), key(KEEPING, NEVER, "runs analysed together: outputs/<study>/")
    ]
    force: Annotated[
        Flag, key(KEEPING, NEVER, "true trains again what is finished; else a finished run is skipped")
    ]
    root: Annotated[Path, BeforeValidator(_root), key(KEEPING, NEVER, "where studies lie")] = Path("outputs")
    log_every: Annotated[Integer, key(KEEPING, NEVER, "steps between lines of history.jsonl", ge=1)]
    wandb: Annotated[WandbConfig, key(KEEPING, NEVER)]

    @field_validator("rank", mode="before")
    @classmethod
    def _for_each_target(cls, rank: Any, read: ValidationInfo) -> Any:
        return parse_ranks(rank, read.data["targets"]) if "targets" in read.data else rank

    @field_validator("init_from")
    @classmethod
    def _goes_on(cls, run: str | None, read: ValidationInfo) -> str | None:
        if run is not None and {"model", "method", *STARTED} <= read.data.keys():
            _check_start(run, read.data)
        return run

    def scientific(self, precision: str, model_identity: str, task_identity: str) -> dict[str, Any]:
        """What changes the numbers, as plain JSON values.

        `precision` is the resolved one; the identities name the weights and the data by content, so that a
        folder that moved is still the same experiment.
        """
        method, task = METHODS.find(self.method)(), TASKS.find(self.task.name)
        counting = {ALWAYS, TRAINED} if method.trains or method.of else {ALWAYS}
        taken = {*COMMON_KEYS, *task.keys}
        values: dict[str, Any] = {"science_version": SCIENCE_VERSION}
        for name, field in keys(RunConfig).items():
            counts = about(field, "counts")
            used = counts in (USED, CHANGED) and name in method.settings
            if counts == CHANGED and getattr(self, name) == field.default:
                used = False
            if counts in counting or used:
                values[name] = getattr(self, name)
        if "init_from" in values:  # whatever the run's folder is called
            values["init_from"] = file_identity(RunFolder(Path(values["init_from"])).file(ADAPTER_BEST))
        values |= {
            "model": {"identity": model_identity, **_counting(self.model)},
            "task": {
                **{one: value for one, value in _counting(self.task).items() if one in taken},
                **({"holdout": self.task.holdout or task.holdout} if "holdout" in taken else {}),
                "name": task.name,
                "identity": task_identity,
            },
            "method": method.name,
            "precision": precision,
        }
        if "targets" in values:
            values["targets"] = self.targets_name
        return values

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
        model = self.model.name.rstrip("/").rsplit("/", 1)[-1][:LONGEST_NAME]
        method = METHODS.find(self.method)()
        words = "-".join(method.words(self)) or method.name
        rate = f"-lr{self.lr:g}" if method.trains or method.of else ""
        return f"{TASKS.find(self.task.name).name}-{model}-{words}{rate}-seed{self.seed}"


STARTED = ("targets", "rank", "alpha", "scaling", "init", "dora", "bias")
"""What an adapter keeps where another run goes on with it."""


def _check_start(run: str, given: Mapping[str, Any]) -> None:
    """Raise UserError where `init_from` is no run that one of these settings can start from."""
    from experiments.models import model_identity

    if "init_from" not in METHODS.find(given["method"]).settings:
        takers = ", ".join(name for name, one in METHODS.items() if "init_from" in one.settings)
        raise UserError(f"init_from has no meaning for method={given['method']}; {takers} take it")
    folder = RunFolder(Path(run).expanduser())
    record = folder.read()
    if record is None or record["config"]["method"] != "lora" or not folder.file(ADAPTER_BEST).is_file():
        raise UserError(
            f"init_from={run} is no finished run of method=lora; give the folder of one, outputs/STUDY/NAME"
        )
    theirs = {"dora": False, **record["config"]}
    if model_identity(given["model"]) != theirs["model"]["identity"]:
        raise UserError(
            f"init_from={run} adapts another model, {record['model']['name']}; give the same model, with the "
            "same weights"
        )
    ours = {name: given[name] for name in STARTED} | {"targets": targets_name(given["targets"])}
    if differing := [name for name in STARTED if _said(ours[name]) != _said(theirs[name])]:
        here, there = (
            " ".join(f"{name}={_said(values[name])}" for name in differing) for values in (ours, theirs)
        )
        raise UserError(f"init_from={run} has {there}, this run {here}; an adapter keeps them: give {there}")


def _said(value: Any) -> str:
    """One number where each letter has the same rank."""
    ranks = {*value.values()} if isinstance(value, Mapping) else {value}
    return str(ranks.pop() if len(ranks) == 1 else value)


BUDGET = key(
    LORA,
    NEVER,
    "parameters of the adapter, from which the rank follows instead: a number, or what letters cost at a "
    "rank on this model: budget=q8.  Of r (d_in + d_out), summed over weights and layers, the nearest; the "
    "run is that of the rank",
)
"""The one key that `read_config` turns into another, and no run keeps."""


def _counting(part: ModelConfig | TaskConfig) -> dict[str, Any]:
    """The keys of a part that are in the hash."""
    values = {}
    for name, field in keys(type(part)).items():
        value, counts = getattr(part, name), about(field, "counts")
        if counts == ALWAYS or (counts == CHANGED and value != field.default):
            values[name] = value
    return values


def digest(scientific: Mapping[str, Any]) -> str:
    """The run's identity: the first 10 hexadecimal digits of a hash of its scientific configuration."""
    text = json.dumps(scientific, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:10]


# ------------------------------------------------------------------------------------------------- reading


def read_config(values: Mapping[str, Any]) -> RunConfig:
    """Check plain values (the resolved Hydra configuration) and normalise them.

    A `budget` is turned into the rank that it pays for, so that a run is the same run however its rank was
    found.  Raises UserError, one line, for the first value that is not valid.
    """
    model = build(ModelConfig, values["model"], "model.")
    method = METHODS.find(values["method"])()
    found = {
        "model": model,
        "task": build(TaskConfig, values["task"], "task."),
        "wandb": build(WandbConfig, values["wandb"], "wandb."),
        "targets": _targets(values),
        "lr": _rate(values, method) if values["lr"] is None else values["lr"],
        **_length(values["steps"], values["epochs"], values["model"].get("budget") or {}),
    }
    if values.get("budget") is not None and "rank" in method.settings:
        found["rank"] = _rank_for(values["budget"], found["targets"], model)
    return build(RunConfig, {**values, **found})


def _targets(values: Mapping[str, Any]) -> Any:
    if values["targets"] is not None:
        return values["targets"]
    if not isinstance(values["rank"], Mapping):
        raise UserError(
            "targets=null means the letters that rank names, and it names none; give targets=qv, or "
            "rank={q: 4, v: 8}"
        )
    return tuple(values["rank"])


def _rank_for(budget: Any, targets: Any, model: ModelConfig) -> int:
    """The rank that a budget pays for on this model, whose config is read and nothing else."""
    from experiments.models import projection_shapes

    shapes, layers = projection_shapes(model)
    return rank_for_budget(parameters_of(budget, shapes, layers), targets, shapes, layers).rank


def _rate(values: Mapping[str, Any], method: Any) -> float:
    """The method's own, or the model's for the method whose run it starts from."""
    of_model: float | None = (values["model"].get("lr") or {}).get(method.of)
    return method.learning_rate if of_model is None else of_model


def _length(steps: Any, epochs: Any, default: Mapping[str, Any]) -> dict[str, Any]:
    """Steps or epochs: those given, else the model's own."""
    if steps is not None and epochs is not None:
        raise UserError(f"steps={steps} and epochs={epochs} are both given; give one of them")
    if steps is None and epochs is None:
        steps, epochs = default.get("steps"), default.get("epochs")
    if steps is None and epochs is None:
        raise UserError("neither steps nor epochs is given, and the model has no default; give one of them")
    return {"steps": steps, "epochs": None if steps is not None else epochs}
