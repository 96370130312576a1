"""The command lines of inspect and compare, beside what they find."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from analysis.commands import main
from tests.analysis.checkup.adapters import llama, orthonormal


def test_a_reader_that_has_what_it_wants_ends_it_without_a_word(planted, tmp_path):
    """Its end of the pipe is closed before anything is printed; the files are there all the same."""
    path = planted({llama(0, "q"): (orthonormal(24, 2), orthonormal(32, 2, 1).T)}, r=2)
    for words in (["inspect", path], ["compare", path, path]):
        read, write = os.pipe()
        os.close(read)
        page = tmp_path / f"{words[0]}.html"
        command = [sys.executable, "-m", "analysis", *words, "--html", page]
        done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, check=False)
        os.close(write)
        assert (done.returncode, done.stderr) == (1, b"")
        assert page.read_text().startswith("<!DOCTYPE html>")


def test_a_file_that_cannot_be_written_loses_nothing_of_the_page(planted, tmp_path, capsys):
    path = planted({llama(0, "q"): (orthonormal(24, 2), orthonormal(32, 2, 1).T)}, r=2)
    (tmp_path / "taken").mkdir()
    assert main(["inspect", str(path), "--json", f"{tmp_path}/a.json", "--html", f"{tmp_path}/taken"]) == 1
    out, error = capsys.readouterr()
    assert "1 projection (q" in out
    assert out.endswith(f"{tmp_path}/a.json\n")
    assert error.startswith(f"error: {tmp_path}/taken cannot be written")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["inspect", "ADAPTER", "--base", "BASE", "--epsilon", "2"],
            "epsilon=2 is no |cosine|; give one",
        ),
        (["inspect", "ADAPTER", "--base", "BASE", "--intruders", "-1"], "intruders=-1 is no number of"),
        (["inspect", "ADAPTER", "--epsilon", "0.4"], "--epsilon is of intruder dimensions, which need W"),
        (["compare", "ADAPTER"], "compare takes two adapters or more, and 1 is given"),
        (["resize", "--rank", "4", "--out", "OUT"], "give the PATH of an adapter, or --from-full TUNED"),
    ],
)
def test_a_wrong_command_is_status_2_whatever_the_files_say(words, message, planted, tmp_path, capsys):
    path = planted({llama(0, "q"): (orthonormal(24, 2), orthonormal(32, 2, 1).T)}, r=2)
    places = {"ADAPTER": path, "BASE": tmp_path / "base", "OUT": tmp_path / "out"}
    assert main([str(places.get(word, word)) for word in words]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
