"""The command lines of inspect and compare, beside what they find."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.analysis.checkup.adapters import llama, orthonormal


def test_a_reader_that_has_what_it_wants_ends_it_without_a_word(planted):
    """Its end of the pipe is closed before anything is printed."""
    path = planted({llama(0, "q"): (orthonormal(24, 2), orthonormal(32, 2, 1).T)}, r=2)
    for words in (["inspect", path], ["compare", path, path]):
        read, write = os.pipe()
        os.close(read)
        command = [sys.executable, "-m", "analysis", *words]
        done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, check=False)
        os.close(write)
        assert (done.returncode, done.stderr) == (1, b"")
