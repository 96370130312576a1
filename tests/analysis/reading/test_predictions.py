"""A run's answers come back as they were written, under either checkpoint's name."""

from __future__ import annotations

import errno
import gzip
from pathlib import Path

import pytest

from analysis.errors import AnalysisError
from analysis.reading.predictions import PACKED, read_predictions
from experiments.store import PREDICTIONS, write_jsonl


def record(checkpoint, split, id_, correct):
    return {"checkpoint": checkpoint, "split": split, "id": id_, "prediction": "", "correct": correct}


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "sql-qv-r8"
    write_jsonl(
        folder / PREDICTIONS,
        [
            record("last", "dev", "0", True),
            record("last", "test", "7", False),
            record("last", "test", "3", True),
            record("best", "dev", "0", False),
            record("best", "test", "7", True),
            record("best", "test", "3", True),
        ],
    )
    return folder


def test_split_and_checkpoint(run):
    found = read_predictions(run)
    assert found.ids == ("7", "3")
    assert found.scores.tolist() == [False, True]
    assert read_predictions(run, "test", "best").scores.tolist() == [True, True]
    assert read_predictions(str(run), "dev", "best").scores.tolist() == [False]


def test_a_best_that_is_the_last_is_kept_once(tmp_path):
    write_jsonl(tmp_path / PREDICTIONS, [record("last", "test", "0", True)])
    assert read_predictions(tmp_path, "test", "best").scores.tolist() == [True]


def test_an_archive_s_file_is_packed(run, tmp_path):
    data = (run / PREDICTIONS).read_bytes()
    packed = tmp_path / "packed" / PACKED
    packed.parent.mkdir()
    packed.write_bytes(gzip.compress(data))
    found = read_predictions(packed.parent)
    assert found.ids == ("7", "3")
    assert found.scores.tolist() == [False, True]
    for damaged in (packed.read_bytes()[:-12], b"no gzip", gzip.compress(b"[1]\n"), gzip.compress(b"{}\n")):
        packed.write_bytes(damaged)
        with pytest.raises(AnalysisError, match=r"packed: predictions\.jsonl\.gz is damaged"):
            read_predictions(packed.parent)


def test_a_file_that_may_not_be_read_is_not_called_damaged(run, monkeypatch):
    def refuse(_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(
        AnalysisError, match=r"^sql-qv-r8: predictions\.jsonl cannot be read: Permission denied$"
    ):
        read_predictions(run)


def test_what_is_not_there(run):
    with pytest.raises(AnalysisError, match="no predictions on 'train'; it has dev, test"):
        read_predictions(run, "train")
    with pytest.raises(AnalysisError, match="'first' is unknown; valid are last, best"):
        read_predictions(run, checkpoint="first")
    (run / PREDICTIONS).write_text('{"checkpoint": "last"')
    with pytest.raises(AnalysisError, match=r"sql-qv-r8: predictions\.jsonl is damaged"):
        read_predictions(run)
    (run / PREDICTIONS).write_text("[]\n")
    with pytest.raises(AnalysisError, match="damaged"):
        read_predictions(run)
    (run / PREDICTIONS).unlink()
    with pytest.raises(AnalysisError, match=r"has no predictions\.jsonl"):
        read_predictions(run)


def test_scores_that_are_numbers_and_statistics(tmp_path):
    def write(*scores):
        line = {"checkpoint": "last", "split": "test"}
        lines = [{**line, "id": str(number), "score": score} for number, score in enumerate(scores)]
        write_jsonl(tmp_path / PREDICTIONS, lines)

    write(0.37, -2, 1)
    found = read_predictions(tmp_path)
    assert (found.scores.dtype, found.scores.tolist()) == ("float64", [0.37, -2, 1])
    write([3, 4], [0, 2.5])
    assert read_predictions(tmp_path).scores.tolist() == [[3, 4], [0, 2.5]]
    for scores in ([0.5, [1, 2]], [[1], [1, 2]], ["many", 1.0], [None, {}]):
        write(*scores)
        with pytest.raises(AnalysisError, match="its scores on 'test' are not of one kind"):
            read_predictions(tmp_path)
    write_jsonl(tmp_path / PREDICTIONS, [{"checkpoint": "last", "split": "test", "id": "0"}])
    with pytest.raises(AnalysisError, match="a line without checkpoint, split, id or without correct or"):
        read_predictions(tmp_path)
