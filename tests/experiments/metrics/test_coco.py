"""METEOR, ROUGE-L and CIDEr against pycocoevalcap's own way through tokenizer and scorers; CIDEr by hand."""

from __future__ import annotations

import shutil
import subprocess

import numpy as np
import pytest

from experiments.errors import UserError
from experiments.metrics import References, coco, metric

TEXTS = [
    (
        "The Vaults is a pub near Café Adriatic, rated 5 out of 5.",
        (
            "The Vaults pub near Café Adriatic has a 5 star rating. Prices start at £30.",
            "Close to Café Adriatic, The Vaults serves food (over £30).",
        ),
    ),
    ("the cats sat on the mats", ("A cat was on a mat.",)),
    ("", ("It's Giraffe's family-friendly pub — cheap!",)),
    ("Nothing here.", ("Something else", "nothing here")),
    (
        "Aromi is a cheap ||| coffee shop by the river in the city centre",
        ("In the city centre, by the river, Aromi is a cheap coffee shop", "Aromi is a coffee shop"),
    ),
]
PREDICTIONS = [prediction for prediction, _ in TEXTS]
GOLDS = [References(texts) for _, texts in TEXTS]


@pytest.fixture(scope="module")
def installed():
    pytest.importorskip("pycocoevalcap")
    if shutil.which("java") is None:
        pytest.skip("no java on PATH; install a JRE$")


@pytest.fixture(scope="module")
def theirs(installed):
    """What the package's own tokenizer makes of predictions and references, by example."""
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    texts = [[prediction.replace("|||", "")] for prediction in PREDICTIONS]
    found = PTBTokenizer().tokenize({i: [{"caption": t} for t in few] for i, few in enumerate(texts)})
    wanted = PTBTokenizer().tokenize(
        {i: [{"caption": text} for text in gold.texts] for i, gold in enumerate(GOLDS)}
    )
    return found, wanted


def test_the_words_are_the_package_s(theirs):
    found, wanted = coco.tokenized(PREDICTIONS, GOLDS)
    assert [[one] for one in found] == [*theirs[0].values()]
    assert [list(several) for several in wanted] == [*theirs[1].values()]
    assert found[0] == "the vaults is a pub near café adriatic rated 5 out of 5"


def test_rouge_and_cider_are_the_package_s(theirs):
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    for name, scorer in (("rouge_l", Rouge()), ("cider", Cider())):
        whole, each = scorer.compute_score(theirs[1], theirs[0])
        scores = metric(name).scores(PREDICTIONS, GOLDS)
        assert scores == pytest.approx(each)
        assert metric(name).value(scores) == pytest.approx(whole)
        assert whole > 0


def test_meteor_is_the_program_s_also_of_resampled_examples(theirs):
    """The program adds up statistics and evaluates the sum; so do we, in numpy."""
    from pycocoevalcap.meteor.meteor import Meteor

    program = Meteor()
    whole, each = program.compute_score(theirs[1], theirs[0])
    scores = np.array(metric("meteor").scores(PREDICTIONS, GOLDS))
    assert metric("meteor").of_totals(scores) == pytest.approx(each)
    assert metric("meteor").value(scores) == pytest.approx(whole)
    assert 0.1 < whole < 0.9
    assert each[2] == 0
    draws = np.random.default_rng(0).integers(0, len(TEXTS), (6, len(TEXTS)))
    expected = [
        program.compute_score(
            {place: theirs[1][index] for place, index in enumerate(draw)},
            {place: theirs[0][index] for place, index in enumerate(draw)},
        )[0]
        for draw in draws.tolist()
    ]
    assert metric("meteor").of_totals(scores[draws].sum(1)) == pytest.approx(expected)


def test_cider_by_hand(monkeypatch):
    """Two inputs, so that log(2) is the weight of an n-gram of one, and nothing that of an n-gram of both."""
    pytest.importorskip("pycocoevalcap")
    words = (("red dog", "dog"), (("red dog",), ("dog cat", "dog")))
    monkeypatch.setattr(coco, "tokenized", lambda *_: words)
    # The first is its reference: cosine 1 for words and pairs, none for longer ones. The second says "dog"
    # alone, which weighs nothing.
    assert metric("cider").scores(["", ""], ["", ""]) == pytest.approx([10 * (1 + 1) / 4, 0])


def test_rouge_by_hand(monkeypatch):
    pytest.importorskip("pycocoevalcap")
    monkeypatch.setattr(coco, "tokenized", lambda *_: (("a b c d",), (("a c e", "d"),)))
    precision, recall = 2 / 4, 1.0  # of a c in the first reference; of d in the second
    expected = (1 + 1.44) * precision * recall / (recall + 1.44 * precision)
    assert metric("rouge_l").scores([""], [""]) == pytest.approx([expected])


def test_without_java_it_is_one_line(monkeypatch):
    monkeypatch.setattr(coco.importlib.util, "find_spec", lambda _: object())
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(
        UserError, match=r"^metric meteor needs Java, and there is no java on PATH; install a JRE$"
    ):
        metric("meteor").require()
    monkeypatch.setattr(coco.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"^metric cider needs pycocoevalcap.*pip install -e '\.\[nlg\]'"):
        metric("cider").require()


def test_a_program_that_fails_is_one_line(installed, monkeypatch):
    def failed(*arguments, **options):
        return subprocess.CompletedProcess(arguments, 1, b"one\n", b"at first\nnot enough memory\n")

    monkeypatch.setattr(subprocess, "run", failed)
    with pytest.raises(UserError, match=r"meteor ended with status 1 and 1 of 2 lines \(not enough memory\)"):
        coco._java([], "meteor", ["a", "b"])
