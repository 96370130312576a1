"""Where a result comes from: versions, commit, time."""

from __future__ import annotations

import functools
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("torch", "transformers", "tokenizers", "datasets", "numpy", "hydra-core", "wandb")
CODE = Path(__file__).resolve().parent
RESULTS = "results"


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


@functools.cache
def git_commit() -> str | None:
    """The commit of this checkout, with "+changes" where files differ from it; None outside a checkout.

    A repository that this code merely lies in, as in a virtual environment inside a project, is none.

    What lies in results/ is made by the code and no part of it: to make it anew is no change.  Read once,
    when a process begins its first job: later commits are not the code that runs.
    """
    try:
        if Path(_git("rev-parse", "--show-toplevel")).resolve() != CODE.parent or not _git("ls-files", "."):
            return None
        commit = _git("rev-parse", "HEAD")
        changes = _git(
            "status", "--porcelain", "--untracked-files=no", "--", ":/", f":(top,exclude){RESULTS}"
        )
        return commit + "+changes" if changes else commit
    except (OSError, subprocess.SubprocessError):
        return None


def _git(*arguments: str) -> str:
    # In a hook of another repository git's own variables point there.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run(
        ["git", *arguments],
        cwd=CODE,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=10,
    )
    return done.stdout.strip()
