"""LoRA: h = W0 x + scaling * B A x on the target projections; A, B and a new task head are trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import lora
from experiments.errors import UserError
from experiments.methods.method import METHODS, Method
from experiments.store import ADAPTER, ADAPTER_BEST, ADAPTER_INIT, RunFolder
from experiments.tasks import TASKS

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from experiments.config import RunConfig

_LETTER_COST, _RANK_COST = 0.04, 0.0005


@METHODS.register
class LoRA(Method):
    name = "lora"
    label = "LoRA: A and B of each target projection, and a new task head"
    learning_rate = 2e-4  # GPT-3's (paper, Table 12)
    file_format = "lora-delta"  # of DoRA's dW
    settings: ClassVar[tuple[str, ...]] = (
        "targets",
        "rank",
        "alpha",
        "scaling",
        "init",
        "dora",
        "lr_ratio",
        "train",
        "dropout",
        "bias",
        "init_from",
    )

    def words(self, config: RunConfig) -> tuple[str, ...]:
        further = {
            config.init: config.init in ("pissa", "olora"),
            "dora": config.dora,
            f"ratio{config.lr_ratio:g}": config.lr_ratio != 1,
            f"from_{Path(config.init_from or '').name.partition('-')[0]}": config.init_from is not None,
            f"train{config.train}": config.train != "both",
        }
        return config.targets_name, f"r{config.rank_name}", *(word for word, said in further.items() if said)

    def rate(self, name: str, config: RunConfig) -> float:
        """LoRA+ (arXiv 2402.12354): B learns faster than A."""
        return config.lr_ratio if name.endswith("lora_B") else 1.0

    def cost(self, config: RunConfig) -> float:
        return 1 + _LETTER_COST * len(config.rank) + _RANK_COST * sum(config.rank.values())

    def adapt(self, model: PreTrainedModel, config: RunConfig) -> PreTrainedModel:
        try:
            return lora.adapt(
                model,
                targets=config.targets,
                rank=config.rank,
                alpha=config.alpha,
                seed=config.seed,
                scaling=config.scaling,
                init=config.init,
                dora=config.dora,
                train=config.train,
                dropout=config.dropout,
                bias=config.bias,
            )
        except ValueError as error:
            raise UserError(str(error)) from error

    def begin(self, model: PreTrainedModel, config: RunConfig, source: RunFolder) -> None:
        """Take the source's best adapter, its biases, and its head where both tasks have the same labels."""
        from lora.adapting import head_names
        from lora.saving import restore

        kept = lora.read(source.file(ADAPTER_BEST))
        if not _same_answers(config, source):
            heads = {*head_names(model)}
            kept = replace(kept, extra={name: one for name, one in kept.extra.items() if name not in heads})
        restore(model, kept, name=str(source.path), partial=True)

    def save_initial(self, model: PreTrainedModel, config: RunConfig, folder: RunFolder) -> None:
        lora.save(model, folder.file(ADAPTER_INIT))

    def save(
        self,
        model: PreTrainedModel,
        base: PreTrainedModel,
        config: RunConfig,
        folder: RunFolder,
        best: bool,
    ) -> None:
        """The factors, with the head and the biases that were trained; of DoRA dW too, of full rank."""
        lora.save(model, folder.file(ADAPTER_BEST if best else ADAPTER))
        if config.dora:
            super().save(model, base, config, folder, best)

    def load(self, model: PreTrainedModel, folder: RunFolder, best: bool) -> None:
        lora.load(model, folder.file(ADAPTER_BEST if best else ADAPTER))

    def tensors(
        self, model: PreTrainedModel, base: PreTrainedModel, config: RunConfig
    ) -> dict[str, torch.Tensor]:
        """dW (d_out, d_in) of each target projection, in float32."""
        from lora.adapting import wrapped

        return {
            f"layers.{module.layer}.{letter}.dW": module.update(letter).detach().cpu().float().contiguous()
            for module in wrapped(model).values()
            for letter, _ in module.items()
        }

    def counts(self, model: PreTrainedModel) -> dict[str, int]:
        return lora.parameter_counts(model)


def _same_answers(config: RunConfig, source: RunFolder) -> bool:
    """Whether both tasks have the same labels in the same order; those that data decides are not compared."""
    record = source.read()
    theirs = TASKS.get(record["config"]["task"]["name"]) if record else None
    ours = TASKS.find(config.task.name)
    return theirs is not None and None not in (ours.labels, theirs.labels) and ours.labels == theirs.labels
