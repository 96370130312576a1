"""What the main sweep costs: wall time and peak memory of the first run, and of the repeat that keeps all.

    python scripts/benchmark_sweep.py

Runs `python run.py -m rank=1,2,4,8 targets=qv` twice in an empty folder of its own.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SWEEP = ["-m", "rank=1,2,4,8", "targets=qv", "wandb.mode=offline"]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name in ("first", "repeat"):
            start = time.perf_counter()
            subprocess.run([sys.executable, ROOT / "run.py", *SWEEP], cwd=folder, check=True)
            seconds = time.perf_counter() - start
            peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
            print(f"{name}: {seconds:.1f} s, peak memory so far {peak:.2f} GiB", flush=True)


if __name__ == "__main__":
    main()
