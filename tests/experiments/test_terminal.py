"""What is printed on terminals that cannot show it, and on outputs that end or are full."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PROGRAM = """
import sys
from experiments.terminal import spoken
sys.exit(spoken(lambda: print({text}) or {status}))
"""


def printed(text: str, encoding: str, stream: str) -> bytes:
    """What a command that prints `text` leaves on its standard output or error."""
    program = PROGRAM.format(text=f"{text!a}, file=sys.{stream}", status=7)
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, env=environment, capture_output=True, check=False
    )
    assert done.returncode == 7, done.stderr.decode()
    return bytes(getattr(done, stream)).strip()


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
@pytest.mark.parametrize(
    ("text", "encoding", "expected"),
    [
        ("90.1 ±0.4, 88.2–91.5", "utf-8", "90.1 ±0.4, 88.2–91.5".encode()),
        ("90.1 ±0.4, 88.2–91.5", "ascii", b"90.1 +/-0.4, 88.2-91.5"),
        ("90.1 ±0.4, 88.2–91.5", "latin-1", b"90.1 \xb10.4, 88.2-91.5"),
        ("90.1 ±0.4, 88.2–91.5", "cp1252", b"90.1 \xb10.4, 88.2\x9691.5"),
        ("φ of ΔW ✓ ✗ −1", "cp437", b"\xed of dW + - -1"),
        ("études/数据", "ascii", b"etudes/??"),
        ("a file \udcff", "utf-8", b"a file ?"),
        ("a file \udcff", "ascii:surrogateescape", b"a file ?"),
    ],
)
def test_every_text_can_be_printed(text: str, encoding: str, expected: bytes, stream: str) -> None:
    assert printed(text, encoding, stream) == expected


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("length", [10, 100_000])
def test_an_output_that_is_full_is_one_line(length: int) -> None:
    program = PROGRAM.format(text=f"'x' * {length}", status=0)
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=REPOSITORY,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == "error: [Errno 28] No space left on device\n"


def test_a_reader_that_has_what_it_wanted_ends_it_without_a_word() -> None:
    program = PROGRAM.format(text="'x\\n' * 200_000", status=0)
    done = subprocess.run(
        f'{sys.executable} -c "$PROGRAM" | head -1',
        shell=True,
        cwd=REPOSITORY,
        env={**os.environ, "PROGRAM": program},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("x\n", "")


def test_a_closed_output_is_no_trouble() -> None:
    program = PROGRAM.format(text="'x'", status=3)
    done = subprocess.run(
        f'{sys.executable} -c "$PROGRAM" >&-',
        shell=True,
        cwd=REPOSITORY,
        env={**os.environ, "PROGRAM": program},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (3, "")
