"""An encoder reads both sentences as its own tokenizer joins them; the head is new and follows the seed."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from experiments import method
from experiments.class_objective import ClassObjective
from experiments.config import TaskConfig
from experiments.tasks import load_task

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def bert():
    """A random BERT of one layer with a word-level tokenizer that joins sentences in BERT's manner."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from tokenizers.processors import TemplateProcessing
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    from experiments.embedded import nli

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *sorted(nli.words())]
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        **names,
    )
    torch.manual_seed(0)
    settings = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=40,
        num_labels=3,
        initializer_range=0.3,
    )
    return BertForSequenceClassification(settings).eval(), wrapped


@pytest.fixture(scope="module")
def task():
    return load_task(TaskConfig("nli", train=12, dev=6, test=2))


def expected_logits(model, tokenizer, task, split):
    """One pair at a time, encoded and segmented by the tokenizer itself."""
    rows = []
    for example in task.examples(split):
        inputs = tokenizer(*example.sentences, return_tensors="pt")
        with torch.no_grad():
            rows.append(model(**inputs).logits[0])
    return torch.stack(rows)


def test_loss_and_predictions_are_the_models(bert, task):
    model, tokenizer = bert
    objective = ClassObjective(tokenizer, task, max_length=40)
    logits = expected_logits(model, tokenizer, task, "dev")
    labels = torch.tensor([task.labels.index(e.gold) for e in task.examples("dev")])
    batch = objective.encoded("dev")
    assert len({len(example.ids) for example in batch}) > 1
    with torch.no_grad():
        ours = objective.loss(model, batch, CPU, smoothing=0.1)
        predictions = objective.predict(model, batch, CPU)
    torch.testing.assert_close(
        ours, F.cross_entropy(logits, labels, label_smoothing=0.1), atol=1e-5, rtol=1e-5
    )
    assert predictions == [task.labels[i] for i in logits.argmax(1)]
    assert objective.truncated == 0


def test_long_pair_is_shortened_and_counted(bert, task):
    objective = ClassObjective(bert[1], task, max_length=10)
    assert all(len(example.ids) <= 10 for example in objective.encoded("dev"))
    assert objective.truncated > 0


def test_head_is_drawn_from_the_runs_seed(bert, config):
    model, _ = bert
    one, two, other = (method.prepare(model, config(seed=seed)) for seed in (0, 0, 1))
    heads = [m.classifier.weight for m in (one, two, other)]
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])
    assert heads[0].requires_grad
    assert method.counts(one, config())["head"] == model.classifier.weight.numel() + 3


def test_head_is_trained_with_the_biases(bert, config):
    model = method.prepare(bert[0], config(method="bias"))
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert "classifier.weight" in trainable
    assert "bert.encoder.layer.0.attention.self.query.bias" in trainable
    assert "bert.encoder.layer.0.attention.self.query.weight" not in trainable
