"""The loss is on the target alone; labels and generation follow the model's own probabilities."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from experiments.errors import UserError
from experiments.tasks import Example
from experiments.tasks.wikisql import WikiSQL
from experiments.text_objective import TextObjective
from experiments.tokenizing import decoded

CPU = torch.device("cpu")


def test_loss_is_the_mean_over_target_tokens(bench):
    """Against one example at a time, unpadded, with the logits of every position."""
    desk = bench("sql")
    model, batch = desk.base.model, desk.objective.encoded("train")[:7]
    assert len({len(example.ids) for example in batch}) > 1
    losses = []
    for example in batch:
        ids = torch.tensor([example.ids])
        logits = model(input_ids=ids).logits[0]
        for position in range(example.target_start, len(example.ids)):
            losses.append(F.cross_entropy(logits[position - 1], ids[0, position], label_smoothing=0.1))
    ours = desk.objective.loss(model, batch, CPU, smoothing=0.1)
    torch.testing.assert_close(ours, torch.stack(losses).mean(), atol=1e-5, rtol=1e-5)


def test_target_ends_with_the_end_of_text_and_reads_back(bench):
    desk = bench("sql")
    for example, encoded in zip(desk.task.examples("dev"), desk.objective.encoded("dev"), strict=True):
        assert encoded.ids[-1] == desk.base.tokenizer.eos_token_id
        text = desk.base.tokenizer.decode(encoded.ids[encoded.target_start : -1])
        assert text == example.target.strip()
        assert desk.task.judge(example, text)["logical_form_accuracy"] == 1.0


def test_likeliest_label_is_the_brute_force_one(bench):
    desk = bench("nli", dev=12)
    model, batch = desk.base.model, desk.objective.encoded("dev")
    expected = []
    with torch.no_grad():
        for example in batch:
            prompt = list(example.ids[: example.target_start])
            totals = []
            for label in desk.task.labels:
                answer = [*desk.base.tokenizer.encode(f" {label}"), desk.base.tokenizer.eos_token_id]
                log_probs = model(input_ids=torch.tensor([prompt + answer])).logits[0].log_softmax(-1)
                totals.append(sum(log_probs[len(prompt) + i - 1, t].item() for i, t in enumerate(answer)))
            expected.append(desk.task.labels[totals.index(max(totals))])
        assert desk.objective.predict(model, batch, CPU) == expected


def test_generation_is_greedy_and_does_not_see_its_neighbours(bench):
    """Batched with padding equals one by one without, token by token."""
    desk = bench("sql")
    model, tokenizer = desk.base.model, desk.base.tokenizer
    batch = desk.objective.encoded("dev")
    limit = 2 * max(len(e.ids) - e.target_start for e in desk.objective.encoded("train"))
    expected = []
    with torch.no_grad():
        for example in batch:
            ids = list(example.ids[: example.target_start])
            new = []
            for _ in range(limit):
                token = int(model(input_ids=torch.tensor([ids + new])).logits[0, -1].argmax())
                if token == tokenizer.eos_token_id:
                    break
                new.append(token)
            expected.append(tokenizer.decode(new, skip_special_tokens=True).strip())
        assert desk.objective.predict(model, batch, CPU) == expected


def test_padding_is_neither_read_nor_counted_as_a_position(bench):
    """With large random weights, as those of a new model hardly tell one context from another."""
    desk = bench("sql", dev=24)
    model = copy.deepcopy(desk.base.model)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "wpe" in name or "attn" in name:
                parameter.mul_(20)
    batch = desk.objective.encoded("dev")
    assert len({example.target_start for example in batch}) > 1
    alone = [desk.objective.predict(model, [example], CPU)[0] for example in batch]
    assert desk.objective.predict(model, batch, CPU) == alone
    assert len({*alone}) > 4


def test_long_prompt_loses_its_front_and_is_counted(word_model):
    short = Example("0", "club " * 30 + "age sql:", " SELECT age", (), None)
    long = Example("1", short.prompt, " SELECT age FROM table WHERE club = united", (), None)
    objective = TextObjective(word_model.tokenizer, WikiSQL({"train": [short]}), max_length=12)
    one, two = objective.encode([short, long])
    assert objective.truncated == 2
    assert objective.answer_room == 6  # twice SELECT age <eos>, at most half of 12
    # What is cut off does not depend on the gold answer.
    assert one.ids[: one.target_start] == two.ids[: two.target_start]
    assert word_model.tokenizer.decode(one.ids[: one.target_start]) == "club club club club age sql:"
    with pytest.raises(UserError, match=r"longest target has 9 tokens, over half.*max_length=12"):
        TextObjective(word_model.tokenizer, WikiSQL({"train": [long]}), max_length=12).encode([long])


def test_words_outside_a_closed_vocabulary_are_refused(word_model):
    train = [Example("0", "table: club", " SELECT club", (), None)]
    objective = TextObjective(word_model.tokenizer, WikiSQL({"train": train}), 96)
    with pytest.raises(UserError, match="'Zanzibar'"):
        objective.encode([Example("0", "table: club Zanzibar", " SELECT club", (), None)])


def byte_level(drop_a=False):
    """A byte-level tokenizer without merges: every text can be written."""
    from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers
    from tokenizers.models import BPE
    from transformers import PreTrainedTokenizerFast

    letters = ["<|endoftext|>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(BPE({letter: index for index, letter in enumerate(letters)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    if drop_a:
        tokenizer.normalizer = normalizers.Replace("a", "")
    end = {"eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, clean_up_tokenization_spaces=True, **end)


def test_answers_read_back_as_they_were_written():
    """Blanks before punctuation among them, whatever the tokenizer's own habit of cleaning up is."""
    train = [Example(str(i), "q:", f" SELECT a{i} FROM table WHERE b = x , y .", (), None) for i in range(3)]
    objective = TextObjective(byte_level(), WikiSQL({"train": train}), 200)
    for example, encoded in zip(train, objective.encoded("train"), strict=True):
        answer = encoded.ids[encoded.target_start :]
        assert decoded(objective.tokenizer, [answer]) == [example.target.strip()]


def test_a_tokenizer_that_cannot_write_the_answers_is_refused():
    train = [Example("0", "q:", " SELECT name FROM table", (), None)]
    objective = TextObjective(byte_level(drop_a=True), WikiSQL({"train": train}), 200)
    with pytest.raises(UserError, match="'SELECT name FROM table' reads back as 'SELECT nme FROM tble'"):
        objective.encoded("train")


def test_a_tokenizer_without_a_vocabulary_is_refused():
    from transformers import GPT2Tokenizer

    train = [Example("0", "what is it", " SELECT name FROM table", (), None)]
    objective = TextObjective(GPT2Tokenizer(), WikiSQL({"train": train}), 200)
    with pytest.raises(UserError, match="100% of its tokens are unknown, as in 'what is it'"):
        objective.encoded("train")


class _OfItsLastToken:
    """A text model whose next token has chances (vocabulary, vocabulary) by the token before it alone."""

    config = None

    def __init__(self, chances):
        self.chances = chances

    def base_model(self, input_ids, **_):
        return SimpleNamespace(last_hidden_state=input_ids, past_key_values=None)

    def get_output_embeddings(self):
        return lambda ids: self.chances[ids].log()


def test_labels_of_several_lengths_are_compared_by_their_whole_probability(bench, word_model):
    """Of all tokens and the end of text, not by their mean; the probabilities here are set by hand."""
    from experiments.tasks.mnli import MNLI

    class Long(MNLI):
        labels = ("neutral", "neutral contradiction", "entailment contradiction neutral")

    tokenizer = word_model.tokenizer
    neutral, contradiction, entailment = (
        tokenizer.convert_tokens_to_ids(word) for word in ("neutral", "contradiction", "entailment")
    )
    end = tokenizer.eos_token_id
    chances = torch.full((len(tokenizer), len(tokenizer)), 1e-9)
    start = tokenizer.convert_tokens_to_ids("=")
    chances[start, neutral], chances[start, entailment] = 0.3, 0.6
    chances[neutral, end], chances[neutral, contradiction] = 0.2, 0.8
    chances[contradiction, end], chances[contradiction, neutral] = 0.6, 0.4
    example = bench("nli").task.examples("dev")[0]
    objective = TextObjective(tokenizer, Long({"train": [example], "dev": [example]}), 96)
    model = _OfItsLastToken(chances)
    batch = objective.encoded("dev")
    # Up to a factor, 0.3 * 0.2 = 0.06 against 0.3 * 0.8 * 0.6 = 0.14, and nothing for the third.
    assert objective.predict(model, batch, CPU) == ["neutral contradiction"]
    # With 0.53 for the end after neutral: 0.16, 0.08 and 0.13, the third of which has the best mean.
    chances[neutral, end], chances[entailment, contradiction] = 0.9, 1.0
    assert objective.predict(model, batch, CPU) == ["neutral"]
    # With 0.11: 0.03, 0.16 and 0.03; without the end of text the first would be the best.
    chances[neutral, end] = 0.1
    assert objective.predict(model, batch, CPU) == ["neutral contradiction"]
