"""Made once, whole or not at all; whatever is wrong with what lies there, it is made anew and never used."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from experiments import cache
from experiments.cache import VARIABLE, cache_folder, code_identity, once


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    cache._warn.cache_clear()
    return tmp_path / "cache"


def write(text, folder):
    (folder / "text").write_text(text)
    (folder / "length").write_text(str(len(text)))
    return {"words": text.split()}


def read(folder, about):
    text = (folder / "text").read_text()
    assert about == {"words": text.split()}
    return text


def made(text="one two", key="k", log=None):
    """What `once` gives, and how often it was made."""
    log = [] if log is None else log
    found = once("test", {"of": key}, lambda: log.append(text) or text, write, read)
    return found, len(log)


def entry(folder):
    [path] = [path for path in folder.iterdir() if path.name[0] != "."]
    return path


def test_it_is_made_once_for_a_key(folder):
    assert made() == ("one two", 1)
    assert made("other") == ("one two", 0)
    assert made("other", key="l") == ("other", 1)
    assert sorted(path.name for path in entry_files(folder)) == sorted(["entry.json", "length", "text"] * 2)
    shutil.rmtree(folder)
    assert made("other") == ("other", 1)


def entry_files(folder):
    return [file for path in folder.iterdir() if path.is_dir() for file in path.iterdir()]


def cut(path):
    (path / "text").write_bytes((path / "text").read_bytes()[:-1])


def flipped(path):
    (path / "text").write_bytes(b"ome two")


def emptied(path):
    shutil.rmtree(path)
    path.mkdir()


def without_a_file(path):
    (path / "length").unlink()


def no_json(path):
    (path / "entry.json").write_text((path / "entry.json").read_text()[:-9])


def edited(path):
    told = json.loads((path / "entry.json").read_text())
    told["about"]["words"] = ["one"]
    (path / "entry.json").write_text(json.dumps(told))


def a_list(path):
    (path / "entry.json").write_text("[]")


def anothers(path):
    """An entry that is whole, but of something else."""
    shutil.rmtree(path)
    made("something else", key="m")
    [other] = [one for one in path.parent.iterdir() if one.is_dir()]
    other.rename(path)


def a_file(path):
    shutil.rmtree(path)
    path.write_text("foreign")


def a_dead_link(path):
    shutil.rmtree(path)
    path.symlink_to(path.parent / "nowhere")


WRONG = [cut, flipped, emptied, without_a_file, no_json, edited, a_list, anothers, a_file, a_dead_link]


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_damaged_or_anothers_is_made_anew(wrong, folder):
    made()
    wrong(entry(folder))
    assert made() == ("one two", 1)
    assert made() == ("one two", 0)
    assert [path.name for path in folder.iterdir() if path.name.startswith(".making")] == []


def test_a_file_that_was_exchanged_under_a_link_does_not_touch_its_target(folder, tmp_path):
    made()
    path = entry(folder)
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("x")
    shutil.rmtree(path)
    path.symlink_to(tmp_path / "precious")
    assert made() == ("one two", 1)
    assert (tmp_path / "precious" / "file").read_text() == "x"


def test_what_is_not_to_be_kept_is_not(folder):
    for _ in range(2):
        log = []
        assert once("test", {}, lambda log=log: log.append(1) or "x", lambda *_: None, read) == "x"
        assert log == [1]
    assert not entry_files(folder)


def test_an_error_of_the_maker_leaves_nothing_and_no_lock(folder):
    def fail():
        raise RuntimeError("no")

    for _ in range(2):
        with pytest.raises(RuntimeError, match="no"):
            once("test", {"of": "k"}, fail, write, read)
    assert made() == ("one two", 1)


@pytest.mark.parametrize("where", ["below a file", "no room"])
def test_where_nothing_can_be_written_it_is_made_and_said_once(where, folder, monkeypatch, capsys):
    if where == "below a file":
        folder.write_text("")
    else:

        def full(text, place):
            (place / "text").write_text("one")
            raise OSError(28, "No space left on device")

        monkeypatch.setitem(globals(), "write", full)
    assert made() == ("one two", 1)
    assert made() == ("one two", 1)
    said = capsys.readouterr().err
    assert said.count("not kept for other processes") == 1
    assert VARIABLE in said
    assert where == "below a file" or not entry_files(folder)


def _make(log, seconds):
    def slow():
        with open(log, "a") as file:
            file.write(f"{os.getpid()}\n")
        time.sleep(seconds)
        return "one two"

    assert once("test", {"of": "k"}, slow, write, read) == "one two"


def processes(log, count, seconds):
    context = multiprocessing.get_context("fork")
    started = [context.Process(target=_make, args=(log, seconds)) for _ in range(count)]
    for process in started:
        process.start()
    return started


def test_of_processes_at_once_one_makes_and_the_others_wait(tmp_path):
    log = tmp_path / "log"
    for process in (started := processes(log, 3, 0.5)):
        process.join()
    assert [process.exitcode for process in started] == [0, 0, 0]
    assert len(log.read_text().split()) == 1


def test_a_process_that_is_killed_leaves_the_others_free(tmp_path, folder):
    log = tmp_path / "log"
    [process] = processes(log, 1, 60)
    while not log.exists():
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert made() == ("one two", 1)
    assert made() == ("one two", 0)


def test_where_it_lies(monkeypatch, tmp_path):
    monkeypatch.setenv(VARIABLE, "~/mine")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", "/home/me")
    assert cache_folder() == Path("/home/me/mine")
    monkeypatch.delenv(VARIABLE)
    assert cache_folder() == tmp_path / "lora-section7"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path("/home/me/.cache/lora-section7")


def test_code_is_named_by_its_content(tmp_path):
    one, two, three = (tmp_path / name for name in "abc")
    one.write_text("x = 1")
    two.write_text("x = 1")
    three.write_text("x = 2")
    assert code_identity(one) == code_identity(two) != code_identity(three)
