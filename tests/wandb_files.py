"""What W&B has written of an offline run."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def records(file: Path) -> Iterator[Any]:
    """The records of an offline run's file, which is a LevelDB log behind a header of 7 bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    block, first_or_middle = 32768, (2, 3)
    data, position, content = file.read_bytes(), 7, b""
    while position + 7 <= len(data):
        left = block - position % block
        if left < 7:
            position += left
            continue
        _, length, kind = struct.unpack("<IHB", data[position : position + 7])
        content += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind not in first_or_middle:
            record = Record()
            record.ParseFromString(content)
            yield record
            content = b""


def written(file: Path) -> list[Any]:
    """The records of a run that has ended; wandb's service writes them a moment later."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        found = list(records(file))
        if any(record.HasField("exit") for record in found):
            return found
        time.sleep(0.05)
    raise AssertionError(f"{file} has no end")
