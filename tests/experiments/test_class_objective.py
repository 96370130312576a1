"""An encoder reads both sentences as its own tokenizer joins them; the head is new and follows the seed."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from experiments.class_objective import ClassObjective
from experiments.config import TaskConfig
from experiments.errors import UserError
from experiments.methods import lookup
from experiments.tasks import Example, load_task

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def encoder(pair_tokenizer):
    """`encoder("Bert")`: a random encoder of one layer, with a tokenizer that knows the task's words."""
    import transformers

    from experiments.embedded import nli

    def build(kind, tokenizer=None, **changes):
        tokenizer = tokenizer or pair_tokenizer(sorted(nli.words()))
        torch.manual_seed(0)
        model_class = getattr(transformers, f"{kind}ForSequenceClassification")
        settings = {"vocab_size": len(tokenizer), "hidden_size": 16, "num_hidden_layers": 1}
        settings |= {"num_attention_heads": 2, "intermediate_size": 32, "max_position_embeddings": 40}
        settings |= {"num_labels": 3, "initializer_range": 0.3}
        return model_class(model_class.config_class(**settings | changes)).eval(), tokenizer

    return build


@pytest.fixture(scope="module")
def bert(encoder):
    return encoder("Bert")


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
    long = Example("0", "", "", ("the " * 30, "dog"), "neutral")
    [encoded] = ClassObjective(bert[1], task, max_length=10).encode([long])
    tokens = bert[1].convert_ids_to_tokens(list(encoded.ids))
    assert tokens.count("[SEP]") == 2  # the longer one pays, whichever it is
    [other] = ClassObjective(bert[1], task, max_length=10).encode(
        [Example("0", "", "", (long.sentences[1], long.sentences[0]), "neutral")]
    )
    assert len(other.ids) == 10
    assert other.ids[1] == encoded.ids[-2]


def test_head_is_drawn_from_the_runs_seed(bert, config):
    model, _ = bert
    one, two, other = (lookup("lora").prepare(model, config(seed=seed)) for seed in (0, 0, 1))
    heads = [m.classifier.weight for m in (one, two, other)]
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])
    assert heads[0].requires_grad
    assert lookup("lora").counts(one)["head"] == model.classifier.weight.numel() + 3


def test_head_is_trained_with_the_biases(bert, config):
    model = lookup("bias").prepare(bert[0], config(method="bias"))
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert "classifier.weight" in trainable
    assert "bert.encoder.layer.0.attention.self.query.bias" in trainable
    assert "bert.encoder.layer.0.attention.self.query.weight" not in trainable


@pytest.mark.parametrize(
    ("kind", "pad", "changes", "settings"),
    [
        ("Bert", "[PAD]", {}, {"padding_side": "left", "truncation_side": "left"}),
        ("Bert", None, {}, {}),
        ("Bert", "[UNK]", {"pad_token_id": 3}, {"padding_side": "left"}),
        ("Roberta", "[PAD]", {"pad_token_id": 0, "type_vocab_size": 1}, {}),
        ("Roberta", "[PAD]", {"pad_token_id": 0, "type_vocab_size": 2}, {"padding_side": "left"}),
        ("Roberta", "[PAD]", {"pad_token_id": 0}, {"model_input_names": ["input_ids", "attention_mask"]}),
    ],
)
def test_an_example_has_the_same_logits_alone_and_in_a_batch(
    kind, pad, changes, settings, encoder, pair_tokenizer, task
):
    """Whatever side and token the tokenizer pads with, and whatever segments it gives."""
    from experiments.embedded import nli

    tokenizer = pair_tokenizer(sorted(nli.words()), pad_token=pad, **settings)
    model, _ = encoder(kind, tokenizer, **changes)
    objective = ClassObjective(tokenizer, task, max_length=38)
    batch = objective.encoded("train")
    assert len({len(example.ids) for example in batch}) > 2
    with torch.no_grad():
        together = objective._logits(model, batch, CPU)
        for row, (example, text) in enumerate(zip(batch, task.examples("train"), strict=True)):
            alone = objective._logits(model, [example], CPU)[0]
            inputs = tokenizer(*text.sentences, return_tensors="pt")
            if model.config.type_vocab_size == 1:
                del inputs["token_type_ids"]
            torch.testing.assert_close(together[row], alone, atol=1e-5, rtol=0)
            torch.testing.assert_close(alone, model(**inputs).logits[0], atol=1e-5, rtol=0)


def test_a_tokenizer_that_knows_too_few_words_is_refused(pair_tokenizer, task):
    from experiments.embedded import nli

    words = sorted(nli.words())
    assert ClassObjective(pair_tokenizer(words), task, 40).encoded("train")
    with pytest.raises(
        UserError, match=r"knows too few words of the task: \d+% of its tokens are unknown, as in"
    ):
        ClassObjective(pair_tokenizer(words[::2]), task, 40).encoded("train")
    with pytest.raises(UserError, match=r"100% of its tokens are unknown"):
        ClassObjective(pair_tokenizer([]), task, 40).encoded("train")


def test_a_tokenizer_that_drops_every_word_is_refused(task):
    """As one without its vocabulary does where there is no unknown token."""
    from transformers import RobertaTokenizer

    with pytest.raises(UserError, match=r"100% of its tokens are unknown"):
        ClassObjective(RobertaTokenizer(), task, 40).encoded("train")


def test_a_regression_s_loss_and_predictions_are_the_model_s_own(encoder):
    """transformers computes the same loss for a head of one output."""
    from experiments.class_objective import NumberObjective
    from experiments.tasks.glue import STSB

    model, tokenizer = encoder("Bert", num_labels=1)
    texts = [("the dog", "a dog", 4.25), ("the dog", "no cat", 0.5), ("a cat", "a cat", 5.0)]
    task = STSB(
        {"train": [Example(str(n), "", "", (one, two), gold) for n, (one, two, gold) in enumerate(texts)]}
    )
    objective = NumberObjective(tokenizer, task, max_length=40)
    batch = objective.encoded("train")
    inputs = tokenizer(*([pair[i] for pair in texts] for i in (0, 1)), return_tensors="pt", padding=True)
    with torch.no_grad():
        theirs = model(**inputs, labels=torch.tensor([gold for *_, gold in texts]))
        ours = objective.loss(model, batch, CPU, smoothing=0.0)
        answers = objective.predict(model, batch, CPU)
    torch.testing.assert_close(ours, theirs.loss)
    torch.testing.assert_close(torch.tensor([float(one) for one in answers]), theirs.logits[:, 0])
