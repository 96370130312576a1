"""How a text model's answer is chosen: the likeliest token at each step, or the best of a beam."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from transformers import GenerationConfig


@dataclass(frozen=True)
class Decoding:
    """Nothing of the checkpoint's own settings: what is left open here the library fills from the model's,
    which `load_base` has emptied.

    Attributes:
        num_beams: answers that are followed at once; 1 is greedy.
        length_penalty: of a beam: an answer of n tokens, its end among them, with log-probability s is worth
            s / n^length_penalty.  The search ends when no other answer can be worth more.
        no_repeat_ngram_size: no n-gram of so many tokens stands twice in an answer; 0 is no limit.  What the
            prompt says may be said again, as in fairseq and the paper's released code; the library by itself
            would forbid that too, and with it the names in a meaning representation.
        max_new_tokens: of an answer; None: twice the longest of the training split.
    """

    num_beams: int = 1
    length_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    max_new_tokens: int | None = None

    def settings(self, tokenizer: Any, room: int) -> GenerationConfig:
        """For `generate`; `room` is the most tokens where none are given."""
        from transformers import GenerationConfig

        return GenerationConfig(
            do_sample=False,
            num_beams=self.num_beams,
            num_return_sequences=1,
            max_new_tokens=self.max_new_tokens or room,
            min_length=0,
            repetition_penalty=1.0,
            length_penalty=self.length_penalty,
            early_stopping="never" if self.num_beams > 1 else False,
            no_repeat_ngram_size=0,
            use_cache=True,
            return_dict_in_generate=False,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )

    def processors(self, width: int) -> list[Callable[[torch.Tensor, torch.Tensor], torch.Tensor]]:
        """For `generate`, of prompts of so many tokens with their padding."""
        if not self.no_repeat_ngram_size:
            return []
        from transformers import NoRepeatNGramLogitsProcessor

        within = NoRepeatNGramLogitsProcessor(self.no_repeat_ngram_size)
        return [lambda ids, scores: within(ids[:, width:], scores)]
