"""A text model continues the prompt: loss on the target's tokens only (paper, eq. 1), greedy or a beam."""

from __future__ import annotations

import copy
import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from experiments.encoded import Encoded
from experiments.errors import UserError
from experiments.objective import Objective
from experiments.tasks import Example
from experiments.tokenizing import check_answers, check_known, decoded

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class TextObjective(Objective):
    """Prompt, target and an end-of-text token; a task with labels is answered by the likeliest label."""

    def encode(self, examples: Sequence[Example]) -> list[Encoded]:
        room = self.max_length - self.answer_room - len(self.start)
        prompts = self._ids([example.prompt for example in examples])
        targets = self._ids([example.target for example in examples])
        check_known(self.tokenizer, [example.prompt for example in examples], prompts)
        check_answers(self.tokenizer, [example.target for example in examples], targets)
        encoded = []
        for prompt, target in zip(prompts, targets, strict=True):
            answer = [*target, self.tokenizer.eos_token_id]
            if len(prompt) > room:
                # The question stands last, so the front of the prompt is what can be spared.
                prompt = prompt[-room:]
                self.truncated += 1
            prompt = [*self.start, *prompt]
            encoded.append(Encoded((*prompt, *answer), len(prompt)))
        return encoded

    @functools.cached_property
    def start(self) -> list[int]:
        """The token that the tokenizer sets before every text, where it does: Llama's, Mistral's, Gemma's."""
        first: list[int] = self.tokenizer("")["input_ids"][:1]
        return first if first == [self.tokenizer.bos_token_id] else []

    @functools.cached_property
    def answer_room(self) -> int:
        """Tokens kept free for an answer: twice the longest of the training split, at most half of the input.

        The same for every example, so that what a prompt loses does not depend on its gold answer.  Raises
        UserError where a training target does not fit.
        """
        train = self._encoded.get("train")
        if train is not None:
            longest = train.longest_target
        else:
            targets = dict.fromkeys(example.target for example in self.task.examples("train"))
            longest = 1 + max(map(len, self._ids([*targets])))
        room = min(2 * longest, self.max_length // 2)
        if longest > room:
            raise UserError(
                f"the longest target has {longest} tokens, over half of model.max_length={self.max_length}; "
                "give a larger one"
            )
        return room

    def _ids(self, texts: list[str]) -> list[list[int]]:
        ids: list[list[int]] = self.tokenizer(texts, add_special_tokens=False)["input_ids"]
        unknown = self.tokenizer.unk_token_id
        if unknown is not None and unknown != self.tokenizer.eos_token_id:
            for text, sequence in zip(texts, ids, strict=True):
                if unknown in sequence:
                    words = [w for w in text.split() if self.tokenizer.convert_tokens_to_ids(w) == unknown]
                    raise UserError(
                        f"task={self.task.name} has words that this model's vocabulary lacks, such as "
                        f"{(words or [text])[0]!r}; the embedded model knows task=sql and task=nli only, "
                        "use model=gpt2 or another pretrained model"
                    )
        return ids

    def loss(
        self, model: PreTrainedModel, batch: Sequence[Encoded], device: torch.device, smoothing: float
    ) -> torch.Tensor:
        ids, predicting = self._right_padded(batch, device)
        logits = self._logits(model, ids, predicting)
        return F.cross_entropy(logits, ids[:, 1:][predicting[:, :-1]], label_smoothing=smoothing)

    def losses(
        self, model: PreTrainedModel, batch: Sequence[Encoded], device: torch.device
    ) -> list[tuple[float, int]]:
        ids, predicting = self._right_padded(batch, device)
        logits = self._logits(model, ids, predicting)
        each = F.cross_entropy(logits, ids[:, 1:][predicting[:, :-1]], reduction="none")
        counts = predicting.sum(1).tolist()
        return [(part.double().sum().item(), len(part)) for part in each.split(counts)]

    def _right_padded(
        self, batch: Sequence[Encoded], device: torch.device
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids (batch, time), and a mask of the positions whose next token belongs to the target.

        With the padding on the right, causal attention hides it without an attention mask.
        """
        width = max(len(example.ids) for example in batch)
        ids = torch.full((len(batch), width), self.tokenizer.pad_token_id)
        predicting = torch.zeros(len(batch), width, dtype=torch.bool)
        for row, example in enumerate(batch):
            ids[row, : len(example.ids)] = torch.tensor(example.ids)
            predicting[row, example.target_start - 1 : len(example.ids) - 1] = True
        return ids.to(device), predicting.to(device)

    def _logits(self, model: PreTrainedModel, ids: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
        """Float32 logits (positions, vocabulary) at the chosen positions; the rest are never computed."""
        return self._head(model, model.base_model(input_ids=ids, use_cache=False).last_hidden_state[where])

    def _head(self, model: PreTrainedModel, hidden: torch.Tensor) -> torch.Tensor:
        logits = model.get_output_embeddings()(hidden).float()
        cap = getattr(model.config, "final_logit_softcapping", None)  # Gemma's
        return cap * torch.tanh(logits / cap) if cap else logits

    def predict(self, model: PreTrainedModel, batch: Sequence[Encoded], device: torch.device) -> list[str]:
        prompts = [example.ids[: example.target_start] for example in batch]
        if self.task.labels is not None:
            return self._likeliest_labels(model, prompts, self.task.labels, device)
        return self._generate(model, prompts, device)

    @torch.no_grad()
    def _likeliest_labels(
        self,
        model: PreTrainedModel,
        prompts: list[tuple[int, ...]],
        labels: Sequence[str],
        device: torch.device,
    ) -> list[str]:
        """The label whose tokens, with the end of text, have the highest total log-probability.

        A prompt is read once: each label continues from the keys and values that are left of it.
        """
        ids, mask = self._left_padded(prompts, device)
        read = model.base_model(
            input_ids=ids, attention_mask=mask, position_ids=_positions(mask), use_cache=True
        )
        first = F.log_softmax(self._head(model, read.last_hidden_state[:, -1]), dim=-1)
        scores = []
        for answer in self._ids([f" {label}" for label in labels]):
            tokens = torch.tensor(answer, device=device).expand(len(prompts), -1)
            longer = F.pad(mask, (0, len(answer)), value=1)
            hidden = model.base_model(
                input_ids=tokens,
                attention_mask=longer,
                position_ids=_positions(longer)[:, -len(answer) :],
                past_key_values=copy.deepcopy(read.past_key_values),
                use_cache=True,
            ).last_hidden_state
            log_probs = F.log_softmax(self._head(model, hidden), dim=-1)
            following = torch.tensor([*answer[1:], self.tokenizer.eos_token_id], device=device)
            later = log_probs.gather(2, following.expand(len(prompts), -1).unsqueeze(2)).sum((1, 2))
            scores.append(first[:, answer[0]] + later)
        return [labels[index] for index in torch.stack(scores).argmax(0).tolist()]

    def _left_padded(
        self, prompts: Sequence[tuple[int, ...]], device: torch.device
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids (batch, time) and a mask, 0 at the padding; every prompt ends in the last column."""
        width = max(map(len, prompts))
        ids = torch.full((len(prompts), width), self.tokenizer.pad_token_id)
        mask = torch.zeros_like(ids)
        for row, prompt in enumerate(prompts):
            ids[row, width - len(prompt) :] = torch.tensor(prompt)
            mask[row, width - len(prompt) :] = 1
        return ids.to(device), mask.to(device)

    def _generate(
        self, model: PreTrainedModel, prompts: list[tuple[int, ...]], device: torch.device
    ) -> list[str]:
        ids, mask = self._left_padded(prompts, device)
        width = ids.shape[1]
        decoding = self.task.decoding
        output = model.generate(
            input_ids=ids,
            attention_mask=mask,
            generation_config=decoding.settings(self.tokenizer, self.answer_room),
            logits_processor=decoding.processors(width),
        )
        return decoded(self.tokenizer, output[:, width:])


def _positions(mask: torch.Tensor) -> torch.Tensor:
    """Of each token among those that the mask shows, counted from 0; the padding's do not matter."""
    return (mask.cumsum(1) - 1).clamp(min=0)
