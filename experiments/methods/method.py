"""What a run trains.  One file here is one method: it registers itself, and nothing else has to change.

    @METHODS.register
    class Gains(Method):  # experiments/methods/gains.py
        name, label, learning_rate = "gains", "the gains of the norms alone", 1e-3

        def adapt(self, model, config):
            return train_only(model, lambda name: name.endswith(("ln_1.weight", "ln_2.weight")))

A file that lies elsewhere is named by its import path, as in method=my_module:Gains.  Names, labels
and defaults are had without torch: a method imports it where it trains.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, ClassVar

from experiments.config import METHODS, RunConfig
from experiments.errors import UserError
from experiments.store import DELTA, DELTA_BEST, RunFolder

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


class Method(ABC):
    """What is trained, and how that is stored.

    Attributes:
        name: what stands after `method=`, and in the run's hash.
        label: a line for the help page.
        learning_rate: where neither the command line nor the model (`model.lr`) gives one.
        settings: the keys of the adapter (targets, rank, alpha, ...) that it has a use for.  The others are
            no part of the run's hash.
        trains: False where the model is evaluated as it is: no steps, and no setting of the training counts.
        of: the method whose finished run of the same settings it starts from; None where from the base model.
        added: what it adds to the model is called so, in the names of its parameters; None where it adds
            nothing.
    """

    name: ClassVar[str]
    label: ClassVar[str]
    learning_rate: ClassVar[float]
    settings: ClassVar[tuple[str, ...]] = ()
    trains: ClassVar[bool] = True
    of: ClassVar[str | None] = None
    added: ClassVar[str | None] = None

    def words(self, config: RunConfig) -> tuple[str, ...]:
        """What tells its runs apart, for their names and tags; without any the name stands there."""
        return ()

    def cost(self, config: RunConfig) -> float:
        """Seconds of a run, as a multiple of those of training the biases alone; roughly."""
        return 1.0

    def special_tokens(self, config: RunConfig) -> tuple[int, int]:
        """How many tokens of its own it puts before and after each prompt."""
        return 0, 0

    def rate(self, name: str, config: RunConfig) -> float:
        """The learning rate of the parameter of this name, as a multiple of `config.lr`."""
        return 1.0

    def prepare(self, base: PreTrainedModel, config: RunConfig) -> PreTrainedModel:
        """A copy of the base model with a fresh task head, in which what is trained is trainable.

        Raises UserError where the settings do not fit the model.
        """
        model = copy.deepcopy(base)
        _draw_heads(model, config.seed)
        return self.adapt(model, config)

    @abstractmethod
    def adapt(self, model: PreTrainedModel, config: RunConfig) -> PreTrainedModel:
        """Set trainable what is trained, and nothing else, in a model that is this run's own.

        Raises UserError where the settings do not fit the model.
        """

    def begin(  # noqa: B027 - most methods start from the base model alone
        self, model: PreTrainedModel, config: RunConfig, source: RunFolder
    ) -> None:
        """Take over what it needs of the finished run that it is `of`, or that `init_from` names.

        Raises UserError where the settings do not fit that run.
        """

    def save_initial(  # noqa: B027 - most methods start from the base model alone
        self, model: PreTrainedModel, config: RunConfig, folder: RunFolder
    ) -> None:
        """Store what later analysis needs of the model before its first step."""

    def save(
        self,
        model: PreTrainedModel,
        base: PreTrainedModel,
        config: RunConfig,
        folder: RunFolder,
        best: bool,
    ) -> None:
        """Store what was trained, of the last checkpoint or the best; the same bytes for the same run."""
        from lora.files import safetensors_bytes, write_atomically

        tensors = self.tensors(model, base, config)
        if tensors:
            metadata = {"format": self.file_format, "version": "1"}
            write_atomically(folder.file(DELTA_BEST if best else DELTA), safetensors_bytes(tensors, metadata))

    def load(self, model: PreTrainedModel, folder: RunFolder, best: bool) -> None:
        """Put what `save` stored back into a prepared model.

        Raises UserError where that is not all that was trained.
        """
        from safetensors.torch import load_file

        file = folder.file(DELTA_BEST if best else DELTA)
        trained = {name for name, _ in _trainable(model)}
        stored = load_file(file) if file.is_file() else {}
        if stored.keys() != trained:
            raise UserError(
                f"{folder.path} does not hold all that method={self.name} trains; train it again, with what "
                "is asked for, by force=true"
            )
        self.restore(model, stored)

    @property
    def file_format(self) -> str:
        """What the stored file's metadata call its content."""
        return f"lora-{self.name}"

    def tensors(
        self, model: PreTrainedModel, base: PreTrainedModel, config: RunConfig
    ) -> dict[str, torch.Tensor]:
        """What `save` stores by name: all that is trained, in float32 on the CPU."""
        return {name: p.detach().cpu().float().contiguous() for name, p in _trainable(model)}

    def snapshot(self, model: PreTrainedModel) -> dict[str, torch.Tensor]:
        """Copies of all that is trained, on the CPU."""
        return {name: tensor.detach().cpu().clone() for name, tensor in _trainable(model)}

    def restore(self, model: PreTrainedModel, state: Mapping[str, torch.Tensor]) -> None:
        """Put a snapshot's values back in place."""
        import torch

        with torch.no_grad():
            for name, parameter in _trainable(model):
                parameter.copy_(state[name])

    def is_added(self, name: str) -> bool:
        """Whether the parameter of this name is one that the method adds."""
        return self.added is not None and self.added in name.split(".")

    def counts(self, model: PreTrainedModel) -> dict[str, int]:
        """Parameters by what they are: the adapter, the task head, biases; trainable and total."""
        heads = set(_head_parameters(model))
        trainable = dict(_trainable(model))
        added = {name for name in trainable if self.is_added(name)}
        biases = (name for name in trainable.keys() - heads - added if name.endswith("bias"))
        return {
            "adapter": sum(trainable[name].numel() for name in added),
            "head": sum(p.numel() for name, p in trainable.items() if name in heads),
            "bias": sum(trainable[name].numel() for name in biases),
            "trainable": sum(p.numel() for p in trainable.values()),
            "total": sum(p.numel() for p in model.parameters()),
        }


def train_only(model: PreTrainedModel, chosen: Callable[[str], bool]) -> PreTrainedModel:
    """Set trainable the parameters of the chosen names and the task head, which is new; freeze the rest."""
    heads = set(_head_parameters(model))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in heads or chosen(name))
    return model


def _trainable(model: PreTrainedModel) -> Iterator[tuple[str, torch.nn.Parameter]]:
    return ((name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad)


def _draw_heads(model: PreTrainedModel, seed: int) -> None:
    """Give the task head, which is new, initial weights that depend on the run's seed alone."""
    import torch

    from lora.architectures import architecture_of

    names = architecture_of(model.config).heads
    state = torch.random.get_rng_state()
    torch.manual_seed(seed)
    for name, module in model.named_modules():
        if name.split(".")[0] in names:
            model._init_weights(module)
    torch.random.set_rng_state(state)


def _head_parameters(model: PreTrainedModel) -> Iterator[str]:
    from lora.architectures import architecture_of

    names = architecture_of(model.config).heads
    return (name for name, _ in model.named_parameters() if name.split(".")[0] in names)


def lookup(name: str) -> Method:
    """The method of this name, or that at this import path.

    Raises:
        UserError: there is none.
    """
    method: Method = METHODS.find(name)()
    return method
