"""Beams against every answer that there is, and against the library's own plain call; what the hash holds."""

from __future__ import annotations

import itertools

import pytest
import torch

from experiments.config import digest
from experiments.decoding import Decoding
from experiments.errors import UserError
from experiments.parts import TaskConfig
from experiments.tasks import Example, load_task
from experiments.tasks.wikisql import WikiSQL
from experiments.text_objective import TextObjective

CPU = torch.device("cpu")
WORDS = ("<end>", "a", "b", "c")
END, LIMIT = 0, 4


@pytest.fixture(scope="module")
def tiny():
    """A random GPT-2 of four words, whose answers differ in likelihood, and its tokenizer."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    tokenizer = Tokenizer(WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="<end>"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", pad_token="<end>")
    torch.manual_seed(1)
    settings = GPT2Config(
        vocab_size=4, n_positions=24, n_embd=16, n_layer=2, n_head=2, bos_token_id=END, eos_token_id=END
    )
    model = GPT2LMHeadModel(settings).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3) if parameter.ndim > 1 else None
    return model, wrapped


PROMPTS = ["a b a", "c", "b b c a b", "a", "c a c a c", "b c"]


def predicted(tiny, decoding, prompts=PROMPTS):
    model, tokenizer = tiny
    examples = [Example(str(i), prompt, " a", (), None) for i, prompt in enumerate(prompts)]
    task = WikiSQL({"train": examples, "test": examples})
    task.decoding = decoding
    objective = TextObjective(tokenizer, task, 24)
    return objective.predict(model, objective.encoded("test"), CPU)


def every_answer():
    """Token ids of each answer of at most LIMIT tokens; one that is shorter ends."""
    for length in range(LIMIT + 1):
        for words in itertools.product(range(1, len(WORDS)), repeat=length):
            yield words if length == LIMIT else (*words, END)


@torch.no_grad()
def likelihood(model, prompt, answer):
    logits = model(input_ids=torch.tensor([[*prompt, *answer]])).logits[0].log_softmax(-1)
    return sum(logits[len(prompt) + i - 1, token].item() for i, token in enumerate(answer))


def repeats(answer, size):
    grams = [answer[i : i + size] for i in range(len(answer) - size + 1)]
    return len(set(grams)) < len(grams)


@pytest.mark.parametrize("penalty", [0.8, 0.9, 2.0])
@pytest.mark.parametrize("size", [0, 2])
def test_a_wide_beam_finds_the_best_of_all_answers(tiny, penalty, size):
    """Of log-probability / tokens^penalty, without repeats of its own; those of the prompt are allowed."""
    model, tokenizer = tiny
    expected = []
    for prompt in PROMPTS:
        ids = tokenizer(prompt)["input_ids"]
        allowed = [answer for answer in every_answer() if not size or not repeats(answer, size)]
        best = max(allowed, key=lambda a: likelihood(model, ids, a) / len(a) ** penalty)
        expected.append(" ".join(WORDS[token] for token in best if token != END))
    decoding = Decoding(100, penalty, size, LIMIT)
    assert predicted(tiny, decoding) == expected
    assert len({*expected}) > 1


@pytest.mark.parametrize("beams", [2, 3])
def test_a_narrow_beam_is_the_library_s(tiny, beams):
    """One prompt at a time, so that neither padding nor neighbours change an answer."""
    model, tokenizer = tiny
    expected = []
    for prompt in PROMPTS:
        ids = torch.tensor([tokenizer(prompt)["input_ids"]])
        output = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            num_beams=beams,
            length_penalty=0.9,
            early_stopping="never",
            max_new_tokens=8,
            do_sample=False,
            pad_token_id=END,
        )
        expected.append(tokenizer.decode(output[0, ids.shape[1] :], skip_special_tokens=True).strip())
    assert predicted(tiny, Decoding(beams, 0.9, 0, 8)) == expected


def test_greedy_with_repeats_forbidden(tiny):
    """Token by token, the likeliest that repeats no pair of the answer."""
    model, tokenizer = tiny
    expected = []
    for prompt in PROMPTS:
        ids, new = tokenizer(prompt)["input_ids"], []
        while len(new) < 8:
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([[*ids, *new]])).logits[0, -1]
            token = next(t for t in logits.argsort(descending=True).tolist() if not repeats((*new, t), 2))
            if token == END:
                break
            new.append(token)
        expected.append(" ".join(WORDS[token] for token in new))
    assert predicted(tiny, Decoding(1, 1.0, 2, 8)) == expected
    assert predicted(tiny, Decoding(1, 1.0, 0, 8)) != expected


# --------------------------------------------------------------------------------------------- the address


def test_a_run_that_says_nothing_of_decoding_has_its_address(config):
    """Of a task that takes the keys; what does not change the answers changes no address."""

    def address(**changes):
        named = {"task.name": "jsonl", "task.path": "mine.jsonl"} | {
            f"task.{key}": value for key, value in changes.items()
        }
        return digest(config(**named).scientific("float32", "model", "task"))

    plain = address()
    assert (
        "num_beams"
        not in config(**{"task.name": "jsonl", "task.path": "x"}).scientific("f", "m", "t")["task"]
    )
    assert plain == address(num_beams=1, length_penalty=0.9, no_repeat_ngram_size=0, max_new_tokens=None)
    changed = [
        address(num_beams=2),
        address(num_beams=2, length_penalty=0.9),
        address(no_repeat_ngram_size=4),
        address(max_new_tokens=64),
    ]
    assert len({plain, *changed}) == 5


def test_what_has_nothing_to_decode_says_so(config, tmp_path):
    with pytest.raises(UserError, match=r"task\.num_beams has no meaning for task=nli; .*task=jsonl"):
        config(**{"task.name": "nli", "task.num_beams": 4})
    rows = "".join(f'{{"text": "t{i}", "label": "{"ab"[i % 2]}"}}\n' for i in range(20))
    (tmp_path / "mine.jsonl").write_text(rows)
    with pytest.raises(UserError, match="has labels to choose from, so that nothing is decoded; leave out"):
        load_task(TaskConfig("jsonl", path=str(tmp_path / "mine.jsonl"), num_beams=4))
