"""What the main sweep costs beside what it replaces: wall time and peak memory, one after the other.

    python scripts/benchmark_sweep.py --out sweep.json
    python scripts/benchmark_sweep.py --only ours,peer --repeats 3
    python scripts/benchmark_sweep.py --steps 4 --train 64 --dev 8 --test 8     # does it work at all?

The lanes, each in an empty folder of its own:

    ours     run.py -m rank=1,2,4,8 targets=qv, as it comes
    repeat   the same again in the same folder, where every run is finished and kept
    serial   the same four runs one after the other in one process with one thread
    peer     the same four runs as people write them, with PEFT and the transformers Trainer at their
             defaults, one process after the other (scripts/peer_trainer.py says what is equal to ours)

All compute in float32 on every machine.  Seconds are those of the whole command, start-up and evaluation
included; every library has been loaded once before, so that the first lane does not pay for the disk.  Memory
is the sum of what the processes of a lane hold at one time, sampled four times a second; pages that several
share count in each.  Lanes other than serial use as many threads as they choose: OMP_NUM_THREADS=1 before the
command gives the peer one thread too.  Other work on the machine spoils the comparison: see its load.
Needs the extra `dev`, for peft.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from experiments import provenance, store

ROOT = Path(__file__).resolve().parent.parent
RANKS = (1, 2, 4, 8)
LANES = ("ours", "repeat", "serial", "peer")
SPLITS = ("dev", "test")
STUDY = "default"
SIZES = {"steps": "steps", "train": "task.train", "dev": "task.dev", "test": "task.test"}
"""Options that make a trial smaller, and the keys of run.py that they set."""
SAMPLING_SECONDS = 0.25
LIBRARIES = "import hydra, pandas, peft, rich, torch; from transformers import GPT2LMHeadModel, Trainer"


@dataclass(frozen=True)
class Measurement:
    """One lane, once.  `device` is what its runs computed on, `accuracy` by rank and split."""

    lane: str
    seconds: float
    peak_bytes: int
    device: str
    accuracy: dict[int, dict[str, float]]


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    description = machine()
    description["versions"]["peft"] = version("peft")
    print("\n".join(f"{name}: {value}" for name, value in description.items()), flush=True)
    subprocess.run([sys.executable, "-c", LIBRARIES], check=True)
    measurements = []
    for _ in range(options.repeats):
        with tempfile.TemporaryDirectory() as folder:
            for lane in options.only:
                measurement = measure(lane, Path(folder), options)
                print(f"{lane}: {measurement.seconds:.1f} s", file=sys.stderr, flush=True)
                measurements.append(measurement)
    print(f"\n{table(measurements)}\n")
    for name, ratio in ratios(measurements).items():
        print(f"{name}: {ratio['min']:.2f} of the fastest, {ratio['median']:.2f} of the medians")
    if options.out:
        record = {
            "machine": description,
            "commands": {
                lane: [shown(lane, command) for command in commands(lane, options)] for lane in options.only
            },
            "measurements": [asdict(measurement) for measurement in measurements],
            "ratios": ratios(measurements),
        }
        options.out.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", type=_lanes, default=LANES, metavar="LANE,LANE", help=", ".join(LANES))
    parser.add_argument("--repeats", type=int, default=1, help="rounds through the lanes")
    for name, key in SIZES.items():
        parser.add_argument(f"--{name}", type=int, help=f"for a trial: {key} of every run")
    parser.add_argument("--out", type=Path, metavar="FILE", help="where to write the same as JSON")
    return parser


def _lanes(text: str) -> tuple[str, ...]:
    names = text.split(",")
    if unknown := [name for name in names if name not in LANES]:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is unknown; valid are {', '.join(LANES)}")
    if "repeat" in names and "ours" not in names:
        raise argparse.ArgumentTypeError("'repeat' keeps what 'ours' has trained; give both")
    return tuple(lane for lane in LANES if lane in names)


# ----------------------------------------------------------------------------------------- measuring


def commands(lane: str, options: argparse.Namespace) -> list[list[str]]:
    """What the lane runs, one after the other: scripts of this repository and their arguments."""
    names = [name for name in SIZES if vars(options)[name] is not None]
    if lane == "peer":
        sizes = [f"--{name}={vars(options)[name]}" for name in names]
        outputs = [[f"--rank={rank}", f"--out={_peer_result(rank)}"] for rank in RANKS]
        return [["scripts/peer_trainer.py", *output, *sizes] for output in outputs]
    sizes = [f"{SIZES[name]}={vars(options)[name]}" for name in names]
    ranks = ",".join(map(str, RANKS))
    sweep = ["run.py", "-m", f"rank={ranks}", "targets=qv", "wandb.mode=disabled", "precision=float32"]
    workers = ["hydra.launcher.workers=1"] if lane == "serial" else []
    return [[*sweep, *sizes, *workers]]


def _peer_result(rank: int) -> str:
    return f"r{rank}.json"


def variables(lane: str) -> dict[str, str]:
    """What the lane sets in its environment."""
    return {"OMP_NUM_THREADS": "1"} if lane == "serial" else {}


def shown(lane: str, command: Sequence[str]) -> str:
    """The command as one would type it."""
    settings = [f"{name}={value}" for name, value in variables(lane).items()]
    return shlex.join([*settings, "python", *command])


def measure(lane: str, parent: Path, options: argparse.Namespace) -> Measurement:
    """Run the lane in a folder of `parent`.  Exits where a run fails or `repeat` trains one again."""
    folder = parent / ("ours" if lane == "repeat" else lane)
    folder.mkdir(exist_ok=lane == "repeat")
    before = _results(lane, folder)
    start = time.perf_counter()
    peaks = [_peak_memory(lane, command, folder) for command in commands(lane, options)]
    seconds = time.perf_counter() - start
    results = _results(lane, folder)
    if lane == "repeat" and results != before:
        sys.exit("repeat: runs that were finished have been trained again")
    accuracy = {result["rank"]: {split: result[split] for split in SPLITS} for result in results}
    if set(accuracy) != set(RANKS):
        sys.exit(f"{lane}: of ranks {RANKS} only {tuple(accuracy)} are finished")
    devices = ", ".join(sorted({result["device"] for result in results}))
    return Measurement(lane, seconds, max(peaks), devices, accuracy)


def _peak_memory(lane: str, command: Sequence[str], folder: Path) -> int:
    """Run one command to its end; the most bytes that it and its children held at one time."""
    script, *arguments = command
    log = folder / "log.txt"
    peak = 0
    with (
        log.open("w", encoding="utf-8") as output,
        subprocess.Popen(
            [sys.executable, ROOT / script, *arguments],
            cwd=folder,
            env={**os.environ, **variables(lane)},
            stdout=output,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        while process.poll() is None:
            peak = max(peak, _held(process.pid))
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(SAMPLING_SECONDS)
    if process.returncode:
        tail = log.read_text(encoding="utf-8", errors="replace")[-2000:]
        sys.exit(f"{tail}\n{shown(lane, command)} ended with status {process.returncode}")
    return peak


def _held(pid: int) -> int:
    """Bytes resident in a process and all its descendants, which may end meanwhile."""
    held = 0
    with contextlib.suppress(psutil.Error):
        parent = psutil.Process(pid)
        for process in [parent, *parent.children(recursive=True)]:
            with contextlib.suppress(psutil.Error):
                held += process.memory_info().rss
    return held


def _results(lane: str, folder: Path) -> list[dict[str, Any]]:
    """Rank, device, dev and test of each finished run; of our own also when it was finished, by rank."""
    if lane == "peer":
        files = (folder / _peer_result(rank) for rank in RANKS)
        return [json.loads(file.read_text(encoding="utf-8")) for file in files if file.is_file()]
    results = []
    for run in store.runs(folder / "outputs", STUDY):
        if record := run.read():
            scores = {split: record["metrics"]["last"][split][record["metric"]] for split in SPLITS}
            rank = max(record["config"]["rank"].values())
            finished = run.file(store.RUN).stat().st_mtime_ns
            results.append({"rank": rank, "device": record["device"], "finished": finished, **scores})
    return sorted(results, key=lambda result: result["rank"])


# ----------------------------------------------------------------------------------------- reporting


def ratios(measurements: Sequence[Measurement]) -> dict[str, dict[str, float]]:
    """How many times as long as ours a lane takes: its fastest to our fastest, its median to our median."""
    seconds = _seconds(measurements)
    return {
        f"{lane}/ours": {
            "min": min(seconds[lane]) / min(seconds["ours"]),
            "median": statistics.median(seconds[lane]) / statistics.median(seconds["ours"]),
        }
        for lane in ("serial", "peer")
        if {lane, "ours"} <= set(seconds)
    }


def _seconds(measurements: Sequence[Measurement]) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {}
    for measurement in measurements:
        seconds.setdefault(measurement.lane, []).append(measurement.seconds)
    return seconds


def table(measurements: Sequence[Measurement]) -> str:
    """One row a lane: seconds and peak memory over the rounds, accuracy (dev, test) of the last round."""
    rows = []
    last = {measurement.lane: measurement for measurement in measurements}
    for lane, seconds in _seconds(measurements).items():
        peak = max(measurement.peak_bytes for measurement in measurements if measurement.lane == lane)
        cells = {
            "lane": lane,
            "fastest, s": f"{min(seconds):.1f}",
            "median, s": f"{statistics.median(seconds):.1f}",
            "peak, GiB": f"{peak / 2**30:.2f}",
            "each run on": last[lane].device,
        }
        for rank, scores in sorted(last[lane].accuracy.items()):
            cells[f"r={rank} dev, test"] = ", ".join(f"{scores[split]:.3f}" for split in SPLITS)
        rows.append(cells)
    return pd.DataFrame(rows).to_string(index=False)


def machine() -> dict[str, Any]:
    """What the numbers depend on: processor, cores, load at the start, versions, commit."""
    model, flags = _processor()
    features = {"AVX-512": "avx512f", "AVX-512 bfloat16": "avx512_bf16", "AMX bfloat16": "amx_bf16"}
    return {
        "processor": model,
        "instructions": {name: flag in flags for name, flag in features.items()},
        "cores": psutil.cpu_count(logical=False),
        "hardware threads": psutil.cpu_count(),
        "memory, GiB": round(psutil.virtual_memory().total / 2**30, 1),
        "load": psutil.getloadavg()[0],
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "not set"),
        "versions": provenance.versions(),
        "commit": provenance.git_commit(),
    }


def _processor() -> tuple[str, set[str]]:
    """The model's name and the instruction sets that it has; the latter are known on Linux only."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    return facts.get("model name", platform.processor()), set(facts.get("flags", "").split())


if __name__ == "__main__":
    main()
