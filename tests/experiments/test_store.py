"""A run is finished or it is not: at no moment does the store show anything in between."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from experiments import store
from experiments.store import BusyError, RunFolder

REPOSITORY = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def folder(tmp_path):
    return RunFolder.of(tmp_path, "study", "sql-qv-r8", "abc123")


def test_address(folder, tmp_path):
    assert folder.path == tmp_path / "study" / "sql-qv-r8-abc123"
    assert folder.id == "sql-qv-r8-abc123"


def test_a_run_is_found_by_its_hash_whatever_stands_before_it(folder, tmp_path):
    """The name follows from how the model's folder is called, the hash from its content."""
    again = RunFolder.of(tmp_path, "study", "sql-renamed-qv-r8", "abc123")
    assert again.id == "sql-renamed-qv-r8-abc123"
    folder.path.mkdir(parents=True)
    assert RunFolder.of(tmp_path, "study", "sql-renamed-qv-r8", "abc123") == folder
    assert RunFolder.of(tmp_path, "study", "sql-qv-r8", "abc124").id == "sql-qv-r8-abc124"
    assert RunFolder.of(tmp_path, "other", "sql-qv-r8", "abc123").path.parent.name == "other"
    again.path.mkdir()
    assert RunFolder.of(tmp_path, "study", "sql-renamed-qv-r8", "abc123") == again


def test_finished_once_run_json_exists(folder):
    assert folder.read() is None
    with folder.lock():
        assert folder.read() is None
        folder.publish(folder.begin(), {"metrics": {"last": 1.0}})
    record = folder.read()
    assert record is not None
    assert record["metrics"] == {"last": 1.0}
    assert record["id"] == folder.id
    assert not [path for path in folder.path.iterdir() if path.name.startswith(".run.json")]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"status": "running"}', "\x00\x01"])
def test_damaged_record_is_an_unfinished_run(folder, content):
    folder.path.mkdir(parents=True)
    folder.file(store.RUN).write_text(content)
    assert folder.read() is None


def test_record_with_nan_is_refused(folder):
    with folder.lock():
        folder.publish(folder.begin(), {"ok": 1})
        with pytest.raises(ValueError, match="JSON"):
            folder.publish(folder.begin(), {"loss": float("nan")})
    assert folder.read()["ok"] == 1


def test_lock_is_held_against_other_processes_and_freed_when_they_die(folder):
    script = textwrap.dedent(f"""
        import os, sys, time
        from pathlib import Path
        from experiments.store import RunFolder
        with RunFolder(Path({str(folder.path)!r})).lock():
            print("held", flush=True)
            time.sleep(60)
    """)
    other = subprocess.Popen(
        [sys.executable, "-c", script], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
    )
    try:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(BusyError, match="another process"), folder.lock():
            pass
    finally:
        other.kill()
        other.wait()
    with folder.lock():
        pass


def test_publishing_replaces_all_of_an_earlier_try(folder):
    with folder.lock():
        first = folder.begin()
        first.file(store.ADAPTER).write_text("old")
        first.file(store.DELTA).write_text("old")
        folder.publish(first, {"number": 1})
        second = folder.begin()
        second.file(store.ADAPTER).write_text("new")
        # Until the second is published the first stays whole.
        assert folder.read()["number"] == 1
        assert folder.file(store.ADAPTER).read_text() == "old"
        folder.publish(second, {"number": 2})
    assert folder.read()["number"] == 2
    assert {path.name for path in folder.path.iterdir()} == {store.RUN, store.ADAPTER, store.LOCK}
    assert folder.file(store.ADAPTER).read_text() == "new"


def test_training_begins_in_an_empty_folder(folder):
    with folder.lock():
        folder.begin().file(store.HISTORY).write_text("left by a killed try")
        assert [path.name for path in folder.begin().path.iterdir()] == [store.OWNER]


@pytest.mark.parametrize("where", ["", store.WORKSPACE])
def test_what_is_not_the_store_s_own_stays_and_loses_nothing(folder, where):
    """A folder of a notebook's checkpoints inside a run's, or a person's notes."""
    with folder.lock():
        folder.publish(folder.begin(), {"number": 1})
        second = folder.begin()
        (folder.path / where / ".ipynb_checkpoints").mkdir()
        (folder.path / where / ".ipynb_checkpoints" / "run-checkpoint.json").touch()
        (folder.path / where / "notes.txt").touch()
        second.file(store.ADAPTER).write_text("new")
        folder.publish(second, {"number": 2})
    assert folder.read()["number"] == 2
    assert folder.file(store.ADAPTER).read_text() == "new"
    assert (folder.path / ".ipynb_checkpoints").exists() == (where == "")
    assert not (folder.path / store.WORKSPACE).exists()


def replaced(folder, monkeypatch, calls):
    """Publish a second run over a first, killed at the call of this number to the file system."""

    class Killed(BaseException):
        pass

    left = iter([*[True] * calls, *[False] * 1000])

    def counted(function):
        def call(*arguments, **options):
            if not next(left):
                raise Killed
            return function(*arguments, **options)

        return call

    with folder.lock():
        first = folder.begin()
        for name in (store.ADAPTER, store.DELTA):
            first.file(name).write_text("old")
        folder.publish(first, {"number": 1})
        second = folder.begin()
        for name in (store.ADAPTER, store.HISTORY):
            second.file(name).write_text("new")
        with monkeypatch.context() as patched:
            for module, name in ((os, "replace"), (Path, "unlink"), (shutil, "rmtree")):
                patched.setattr(module, name, counted(getattr(module, name)))
            try:
                folder.publish(second, {"number": 2})
            except Killed:
                return False
    return True


@pytest.mark.parametrize("calls", range(20))
def test_a_publication_that_is_killed_keeps_one_whole_run(folder, monkeypatch, calls):
    whole = replaced(folder, monkeypatch, calls)
    found = folder.read()
    if found is not None:  # what counts as finished before anyone looks after it is all of one run
        text = "old" if found["number"] == 1 else "new"
        assert folder.file(store.ADAPTER).read_text() == text
    with folder.lock():  # whoever comes next
        found = folder.read()
    assert found is not None
    names = {path.name for path in folder.path.iterdir() if path.name not in (store.LOCK, store.WORKSPACE)}
    if found["number"] == 1:
        assert not whole
        assert names == {store.RUN, store.ADAPTER, store.DELTA}
    else:
        assert names == {store.RUN, store.ADAPTER, store.HISTORY}
        assert folder.file(store.ADAPTER).read_text() == "new"
    if calls in (0, 19):  # both ends are met
        assert found["number"] == (1 if calls == 0 else 2)


def test_who_trains_and_how_far_is_read_from_the_workspace(folder):
    assert folder.owner() == {} == folder.latest()
    with folder.lock():
        workspace = folder.begin()
        owner = folder.owner()
        assert (owner["pid"], owner["host"], owner["steps"]) == (os.getpid(), socket.gethostname(), None)
        workspace.announce(400)
        assert folder.owner() == {**owner, "steps": 400}
        workspace.file(store.HISTORY).write_text('{"step": 10}\n{"step": 20}\n{"step": 3')
        assert folder.latest() == {"step": 20}
        workspace.file(store.HISTORY).write_text("")
        assert folder.latest() == {}


def test_who_has_begun_in_a_sweep_and_not_finished(folder):
    with folder.lock():
        assert folder.attempts(1.5) == []
        folder.begin(1.5)
        folder.begin(2.5)
        workspace = folder.begin(1.5)
        workspace.announce(3)
        assert folder.attempts(1.5) == [os.getpid()] * 2
        assert folder.attempts(2.5) == [os.getpid()]
        folder.publish(workspace, {})
        assert folder.attempts(1.5) == []


@pytest.mark.parametrize("content", ["", "[]", '{"attempts": 3, "pid": "x"}', '{"attempts": [1, [2], null]}'])
def test_an_owner_s_file_of_any_kind_is_no_obstacle(folder, content):
    with folder.lock():
        folder.begin()
        (folder.path / store.WORKSPACE / store.OWNER).write_text(content)
        assert folder.attempts(0.0) == []
        folder.begin().announce(3)
        assert folder.owner()["steps"] == 3


def test_a_whole_run_without_its_list_of_files_is_put_in_place(folder):
    with folder.lock():
        workspace = folder.begin()
        workspace.file(store.ADAPTER).write_text("new")
        store.write_json(workspace.file(store.RUN), {"status": "finished"})
        workspace.file(store.OWNER).unlink()
        workspace.path.rename(folder.path / store.WHOLE)
    with folder.lock():
        assert folder.read() == {"status": "finished"}
    assert folder.file(store.ADAPTER).read_text() == "new"


def test_failure_is_told_but_does_not_finish_the_run(folder):
    with folder.lock():
        folder.fail("it broke", "Traceback\n  line", "python run.py rank=1")
    assert folder.read() is None
    failure = json.loads(folder.file(store.FAILURE).read_text())
    assert failure == {
        "error": "it broke",
        "command": "python run.py rank=1",
        "traceback": ["Traceback", "  line"],
        "sweep": 0.0,
    }


def test_replacing_a_file_keeps_the_old_one_when_writing_fails(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    store.write_json(path, {"a": 1})
    monkeypatch.setattr(store.os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        store.write_json(path, {"a": 2})
    assert json.loads(path.read_text()) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_runs_of_a_study_are_listed_without_hidden_folders(tmp_path):
    for name in ("b", "a", ".wandb"):
        (tmp_path / "study" / name).mkdir(parents=True)
    assert [run.id for run in store.runs(tmp_path, "study")] == ["a", "b"]
    assert store.runs(tmp_path, "none") == []


def test_jsonl_round_trip(tmp_path):
    records = [{"step": 1, "loss": 0.5}, {"step": 2, "text": "é\n"}]
    store.write_jsonl(tmp_path / "h.jsonl", records)
    assert store.read_jsonl(tmp_path / "h.jsonl") == records


@pytest.mark.parametrize("text", ['{"a": 1}\n{"b": 2\n', '{"a": 1\n"b": 2}\n', '{"a": 1}, {"b": 2}\n'])
def test_a_line_that_is_no_record_is_an_error_also_where_the_lines_together_would_be_json(tmp_path, text):
    (tmp_path / "h.jsonl").write_text(text)
    with pytest.raises(json.JSONDecodeError):
        store.read_jsonl(tmp_path / "h.jsonl")
