"""Train one run, or a sweep with -m.  `python run.py --help` explains each key."""

from __future__ import annotations

import os
import sys

import hydra
from omegaconf import DictConfig

from experiments import overrides, sweep
from experiments.errors import UserError

INTERRUPTED = 130
INTERRUPTED_LINE = (
    "interrupted: finished runs are kept; the same command skips them and goes on with what is missing"
)


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def train(config: DictConfig) -> None:
    from experiments.launch import launch

    launch(config)


def main() -> int:
    """The exit status: 0; 1 for a failed run; 2 for a wrong command line; 130 for Ctrl-C."""
    try:
        overrides.check(sys.argv[1:])
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    status = 0
    try:
        train()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except KeyboardInterrupt:
        status = INTERRUPTED
    complete = sweep.report()
    if status == INTERRUPTED:
        print(f"\n{INTERRUPTED_LINE}", file=sys.stderr)
    return status or (0 if complete else 1)


if __name__ == "__main__":
    try:
        status = main()
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, such as head, has what it wanted
        status = 1
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing is left to fail at exit
    sys.exit(status)
