"""The adapter of the run of the same settings, evaluated with its top directions alone.

It asks what Section 7.2 infers from phi: do the top directions carry the task, and is the rest noise?
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import lora
from experiments.errors import UserError
from experiments.methods.lora import LoRA
from experiments.methods.method import METHODS
from experiments.store import ADAPTER, RunFolder

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from experiments.config import RunConfig


@METHODS.register
class Truncated(LoRA):
    name = "truncated"
    label = "the finished LoRA run of these settings, cut to its top `keep` directions; not trained"
    trains = False
    of = "lora"
    settings: ClassVar[tuple[str, ...]] = (*LoRA.settings, "keep", "by")

    def words(self, config: RunConfig) -> tuple[str, ...]:
        return *super().words(config), f"top{config.keep}", *(["byA"] if config.by == "A" else [])

    def cost(self, config: RunConfig) -> float:
        return 0.3

    def begin(self, model: PreTrainedModel, config: RunConfig, source: RunFolder) -> None:
        """Take the source's adapter, head and biases, and cut each pair to its top directions.

        The pair keeps its shape, the directions beyond filled with zeros, and so its scale.
        """
        if config.dora or config.init in ("pissa", "olora"):
            raise UserError(
                "method=truncated cuts dW = scaling * B A; of dora, pissa and olora dW is another"
            )
        for letter, rank in config.rank.items():
            if config.keep >= rank:
                raise UserError(
                    f"keep={config.keep} is not valid: of W_{letter} the adapter has {rank} directions; "
                    f"keep fewer"
                )
        lora.load(model, source.file(ADAPTER))
        for adapter in lora.adapters(model).values():
            A, B = lora.truncate(adapter.lora_A, adapter.lora_B, config.keep, config.by)
            adapter.lora_A.data.zero_()[: len(A)] = A
            adapter.lora_B.data.zero_()[:, : len(A)] = B

    def save_initial(self, model: PreTrainedModel, config: RunConfig, folder: RunFolder) -> None:
        """Nothing: what is kept follows from the source."""

    def save(
        self, model: PreTrainedModel, base: PreTrainedModel, config: RunConfig, folder: RunFolder, best: bool
    ) -> None:
        """As `save_initial`."""

    def counts(self, model: PreTrainedModel) -> dict[str, int]:
        """The adapter's parameters are those of the directions that are kept."""
        found = super().counts(model)
        held = sum(
            int(adapter.lora_B.any(0).sum()) * (adapter.lora_A.shape[1] + adapter.lora_B.shape[0])
            for adapter in lora.adapters(model).values()
        )
        less = found["adapter"] - held
        return found | {"adapter": held, "trainable": found["trainable"] - less}
