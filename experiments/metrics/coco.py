"""METEOR, ROUGE-L and CIDEr as pycocoevalcap has them: the caption metrics of COCO, and the E2E challenge's.

All three are of the words that Stanford's tokenizer finds, in lower case and without punctuation.  It and
METEOR are programs in Java, which pycocoevalcap carries; where there is no Java the three are not measured.
"""

from __future__ import annotations

import functools
import importlib.util
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.errors import AbsentError, UserError
from experiments.metrics.metric import (
    METRICS,
    CorpusMetric,
    MeanMetric,
    References,
    SplitMetric,
    references,
)

if TYPE_CHECKING:
    import numpy as np

PACKAGE = "pycocoevalcap"
STAGES = 4
"""METEOR's ways to match a word: as it is, by stem, by synonym, by paraphrase."""
WEIGHTS, ALPHA, BETA, GAMMA, DELTA = (1.0, 0.6, 0.8, 0.6), 0.85, 0.2, 0.6, 0.75
"""METEOR 1.5's for English: of the stages, of recall, of fragmentation (two), of content words."""
BY_STAGE = slice(4, 4 + 4 * STAGES)
CHUNKS, MATCHED = BY_STAGE.stop, slice(BY_STAGE.stop + 1, None)

Tokenized = tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]
"""The predictions, and the references of each, words parted by blanks."""


class _COCO(SplitMetric):
    computed_by = "pycocoevalcap, on Stanford's tokens"

    def require(self) -> None:
        if importlib.util.find_spec(PACKAGE) is None:
            raise AbsentError(
                f"metric {self.name} needs {PACKAGE}, which is not installed: pip install -e '.[nlg]'"
            )
        if shutil.which("java") is None:
            raise UserError(f"metric {self.name} needs Java, and there is no java on PATH; install a JRE")


@METRICS.register
class METEOR(_COCO, CorpusMetric):
    """METEOR 1.5 (Denkowski and Lavie 2014), of the whole corpus, by its authors' program.

    An example's statistics are the 23 numbers that the program gives of the reference which it scores best:
    words and function words of both sides, matched words of each by stage, chunks (none where the two are
    the same, for nothing is out of place there), and all matched words.
    """

    name = "meteor"
    share = True
    computed_by = "METEOR 1.5's own program (pycocoevalcap), on Stanford's tokens"

    @property
    def title(self) -> str:
        return "METEOR"

    def scores(
        self, predictions: Sequence[str], golds: Sequence[str | References]
    ) -> list[tuple[float, ...]]:
        found, wanted = tokenized(predictions, golds)
        lines = [" ||| ".join(("SCORE", *refs, text)) for text, refs in zip(found, wanted, strict=True)]
        command = ["-Xmx2G", "-jar", "meteor-1.5.jar", "-", "-", "-stdio", "-l", "en", "-norm"]
        return [
            _whole_in_no_chunk(tuple(map(float, line.split()))) for line in _java(command, "meteor", lines)
        ]

    def of_totals(self, totals: np.ndarray) -> np.ndarray:
        import numpy as np

        lengths, functional = totals[..., 0:2], totals[..., 2:4]
        of_stage = totals[..., BY_STAGE].reshape(*totals.shape[:-1], STAGES, 2, 2)
        matched = np.einsum(
            "s,...skt->...kt", np.array(WEIGHTS), of_stage
        )  # content, function; test, reference
        weighted = DELTA * matched[..., 0, :] + (1 - DELTA) * matched[..., 1, :]
        size = DELTA * (lengths - functional) + (1 - DELTA) * functional
        with np.errstate(divide="ignore", invalid="ignore"):
            share = np.where(size > 0, weighted / size, 0.0)  # precision, recall
            mean = 1 / ((1 - ALPHA) / share[..., 0] + ALPHA / share[..., 1])
            fragments = totals[..., CHUNKS] / totals[..., MATCHED].mean(-1)
            values: np.ndarray = mean * (1 - GAMMA * fragments**BETA)
        return np.where((share > 0).all(-1), values, 0.0)


@METRICS.register
class RougeL(_COCO, MeanMetric):
    """F of the longest common subsequence; recall weighs 1.44, each side is the best over the references."""

    name = "rouge_l"
    share = True

    @property
    def title(self) -> str:
        return "ROUGE-L"

    def scores(self, predictions: Sequence[str], golds: Sequence[str | References]) -> list[float]:
        from pycocoevalcap.rouge.rouge import Rouge

        pairs = zip(*tokenized(predictions, golds), strict=True)
        return [float(Rouge().calc_score([text], list(refs))) for text, refs in pairs]


@METRICS.register
class CIDEr(_COCO, MeanMetric):
    """CIDEr-D (Vedantam et al. 2015): n-grams weighted by how few inputs' references have them; from 0 to 10.

    Where examples are resampled, these weights stay those of the split.
    """

    name = "cider"

    @property
    def title(self) -> str:
        return "CIDEr"

    def scores(self, predictions: Sequence[str], golds: Sequence[str | References]) -> list[float]:
        from pycocoevalcap.cider.cider_scorer import CiderScorer

        scorer = CiderScorer()
        for text, refs in zip(*tokenized(predictions, golds), strict=True):
            scorer += (text, list(refs))
        return [float(score) for score in scorer.compute_score()[1]]


def _whole_in_no_chunk(statistics: tuple[float, ...]) -> tuple[float, ...]:
    """As the program adds up segments: one that is its reference, in one chunk, adds none."""
    same = statistics[CHUNKS] == 1 and statistics[MATCHED] == statistics[:2]
    return (*statistics[:CHUNKS], 0.0, *statistics[MATCHED]) if same else statistics


def tokenized(predictions: Sequence[str], golds: Sequence[str | References]) -> Tokenized:
    """Of a split, in one run of the tokenizer for the three metrics together."""
    return _tokenized(tuple(predictions), tuple(references(gold) for gold in golds))


@functools.lru_cache(maxsize=1)
def _tokenized(predictions: tuple[str, ...], wanted: tuple[tuple[str, ...], ...]) -> Tokenized:
    from pycocoevalcap.tokenizer.ptbtokenizer import PUNCTUATIONS, STANFORD_CORENLP_3_4_1_JAR

    texts = [*predictions, *(text for several in wanted for text in several)]
    # Every line break ends a line for Java; a mark of METEOR's own protocol is no word.
    lines = [" ".join(text.replace("|||", " ").split()) for text in texts]
    program = ["edu.stanford.nlp.process.PTBTokenizer", "-preserveLines", "-lowerCase", "-encoding", "UTF-8"]
    read = _java(["-cp", STANFORD_CORENLP_3_4_1_JAR, *program], "tokenizer", lines)
    words = iter(" ".join(word for word in line.split() if word not in PUNCTUATIONS) for line in read)
    return tuple(next(words) for _ in predictions), tuple(
        tuple(next(words) for _ in several) for several in wanted
    )


def _java(arguments: Sequence[str], folder: str, lines: Sequence[str]) -> list[str]:
    """What a program in the package's folder writes for these lines, one for each.

    Raises:
        UserError: it fails, or writes another number of lines.
    """
    import pycocoevalcap

    place = Path(next(iter(pycocoevalcap.__path__))) / folder
    done = subprocess.run(
        ["java", "-Dfile.encoding=UTF-8", *arguments],
        cwd=place,
        input="".join(f"{line}\n" for line in lines).encode(),
        capture_output=True,
        check=False,
    )
    written = done.stdout.decode("utf-8").splitlines()
    if done.returncode or len(written) != len(lines):
        reason = (done.stderr.decode("utf-8", "replace").strip().splitlines() or ["no message"])[-1][:200]
        raise UserError(
            f"{PACKAGE}'s {folder} ended with status {done.returncode} and {len(written)} of {len(lines)} "
            f"lines ({reason}); see whether java -version works and memory is free"
        )
    return written
