"""What Section 7's analysis costs at GPT-3's shapes: 96 layers of d = 12288 on a laptop, or on a GPU.

    python scripts/benchmark_analysis.py
    python scripts/benchmark_analysis.py --device cuda
    python scripts/benchmark_analysis.py --layers 4 --dimension 768      # the same, small

It writes adapters of W_q and W_v at r = 8 and r = 64, two seeds each, as adapter files (2.7 GB by default, in
a temporary folder), makes a W whose spectrum is like that of the paper's W_q (Table 7: the top 4 directions
hold 12 % of its energy, the top 64 hold 37 %), and times

    figures   everything behind Figures 3, 4, 6 and 7 for every layer, read one projection at a time
    table 7   dW and random directions of one layer, then W's own top 64
    obvious   a dense SVD of each product B A and a loop over i and j, at a size it can bear, beside ours

What was planted is printed beside what was found.  Seconds are those of the wall and of the processor: they
differ where other work shares the machine, and for that reason the load is printed too.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import scipy.fft
import torch
from torch import Tensor
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from analysis.geometry.amplification import amplification, own_projected_norms, random_projected_norms
from analysis.geometry.dimensions import shared_dimension
from analysis.geometry.nulls import haar, z_scores
from analysis.geometry.similarity import phi_grid
from analysis.geometry.subspaces import directions
from analysis.geometry.svd import thin_svd
from analysis.geometry.weight_svd import top_directions
from analysis.reading.adapters import AdapterFactors, read_adapter
from lora.files import FORMAT, VERSION
from lora.saving import Factors

LETTERS = ("q", "v")
RANKS = SMALL, LARGE = 8, 64
SEEDS = (0, 1)
COMMON = {"q": 3, "v": 1}
"""Input directions that every rank and seed of a projection learns."""
SCALING = 0.125
WEIGHT_NORM = 61.95


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layers", type=int, default=96)
    parser.add_argument("--dimension", type=int, default=12288, help="d, at least 512")
    parser.add_argument("--obvious-dimension", type=int, default=1024, help="d for the obvious way")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--folder", type=Path, help="where the temporary folder is made")
    arguments = parser.parse_args()
    if arguments.dimension < 512:
        parser.error(f"--dimension {arguments.dimension}: a W like Table 7's needs at least d = 512")
    layers, d, device = arguments.layers, arguments.dimension, torch.device(arguments.device)
    print(
        f"{layers} layers, d = {d}, {device}, {torch.get_num_threads()} of {os.cpu_count()} cores; "
        f"load {_load()}",
        flush=True,
    )
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        paths = {
            pair: Path(folder) / "r{}-seed{}.safetensors".format(*pair) for pair in product(RANKS, SEEDS)
        }
        with timed("write the adapter files", device):
            for (rank, seed), path in tqdm(paths.items(), desc="writing", unit="file"):
                write_adapter(path, layers, d, rank, seed)
        print(f"  {sum(path.stat().st_size for path in paths.values()) / 1e9:.2f} GB")
        adapters = {pair: read_adapter(path) for pair, path in paths.items()}
        with timed(f"figures 3, 4, 6 and 7, {layers} layers", device):
            report = figures(adapters, device)
        for line in report:
            print(f"  {line}")
        layer = layers // 2
        held = {rank: _on(device, adapters[rank, 0][layer, "q"]) for rank in RANKS}
        with timed("make W", device):
            values, W = weight(d)
            W = W.to(device)
        with timed("table 7, dW and random", device):
            for rank, pair in held.items():
                found = amplification(W, pair.B, pair.A, pair.scaling)
                drawn = random_projected_norms(W, rank)
                print(
                    f"  r = {rank}: ||U^T W V|| {found.projected_norm:.4f}, random {drawn.mean():.4f}, "
                    f"null {found.null_projected_norm:.4f}, factor {found.factor:.2f}"
                )
        with timed("table 7, W's own top 64", device):
            S = top_directions(W, LARGE)[1].cpu()
        own = own_projected_norms(S)
        error = float((S / torch.from_numpy(values[:LARGE]) - 1).abs().max())
        print(f"  r = 4: {own[3]:.2f}, r = 64: {own[-1]:.2f}; off by {error:.0e} (W is float32)")
    obvious(arguments.obvious_dimension, device)
    print(f"load {_load()}")


@contextmanager
def timed(what: str, device: torch.device) -> Iterator[dict[str, float]]:
    """Time the block, and print seconds and the peak memory of the process so far."""
    seconds: dict[str, float] = {}
    wall, processor = time.perf_counter(), time.process_time()
    yield seconds
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    seconds["wall"], seconds["processor"] = time.perf_counter() - wall, time.process_time() - processor
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{what}: {seconds['wall']:.2f} s ({seconds['processor']:.2f} s of processor), "
        f"peak memory so far {peak:.2f} GiB",
        flush=True,
    )


def write_adapter(path: Path, layers: int, d: int, rank: int, seed: int) -> None:
    """An adapter file (lora/saving.py), written one tensor after another: it is never held in memory."""
    shapes = {"A": (rank, d), "B": (d, rank)}
    size = 4 * rank * d
    header: dict[str, object] = {}
    for position, (layer, letter, name) in enumerate(product(range(layers), LETTERS, shapes)):
        header[f"layers.{layer}.{letter}.{name}"] = {
            "dtype": "F32",
            "shape": shapes[name],
            "data_offsets": [position * size, (position + 1) * size],
        }
    numbers = {"rank": rank, "alpha": SCALING * rank, "scaling": SCALING}
    told = {"architecture": "gpt2", "targets": LETTERS, "scaling": "alpha/r", "bias": "none", "dropout": 0.0}
    projections = {f"{layer}.{letter}": numbers for layer, letter in product(range(layers), LETTERS)}
    adapter = json.dumps({**told, "projections": projections})
    header["__metadata__"] = {"format": FORMAT, "version": VERSION, "adapter": adapter}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for layer, letter in product(range(layers), LETTERS):
            for tensor in factors(layer, letter, d, rank, seed):
                file.write(tensor.numpy().data)


def factors(layer: int, letter: str, d: int, rank: int, seed: int) -> tuple[Tensor, Tensor]:
    """A (r, d) and B (d, r): Gaussian, with a projection's common directions trained into A."""
    place = (layer, LETTERS.index(letter))
    common = torch.randn(COMMON[letter], d, generator=_generator(*place)) / d**0.5
    own = _generator(*place, rank, seed)
    A = torch.randn(rank, d, generator=own) / d**0.5
    strengths = torch.arange(COMMON[letter] + 2, 2, -1)
    A += haar(COMMON[letter], rank, own).T.float() * strengths @ common
    return A, 0.1 * torch.randn(d, rank, generator=own) / d**0.5


def weight(d: int) -> tuple[np.ndarray, Tensor]:
    """The singular values (d,) and W (d, d), float32: dense orthogonal transforms of a diagonal matrix."""
    position = np.arange(1, d + 1)
    energy = np.empty(d)
    energy[:4] = 0.12 * np.array([0.40, 0.26, 0.19, 0.15])
    energy[4:64] = position[4:64] ** -0.9
    energy[4:64] *= 0.25 / energy[4:64].sum()
    # A tail that begins where the top ends and holds the rest: a flatter or steeper power law.
    low, high = 0.0, 5.0
    for _ in range(60):
        power = (low + high) / 2
        energy[64:] = energy[63] * (position[64:] / 64) ** -power
        low, high = (power, high) if energy[64:].sum() > 0.63 else (low, power)
    values = WEIGHT_NORM * np.sqrt(energy / energy.sum())
    W = np.diag(values.astype(np.float32))
    generator = np.random.default_rng(0)
    for axis in (0, 1, 0, 1):
        signs = generator.choice(np.array([-1, 1], np.float32), d)
        W *= signs[:, None] if axis == 0 else signs
        W = scipy.fft.dct(W, axis=axis, norm="ortho", overwrite_x=True)
    return values, torch.from_numpy(W)


def figures(adapters: dict[tuple[int, int], AdapterFactors], device: torch.device) -> list[str]:
    """phi, its z-scores, the near-equal marks and the shared dimension of every projection; a summary."""
    summary: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    keys = list(adapters[LARGE, 0])
    d = adapters[LARGE, 0].shape(*keys[0])[1]
    for key in tqdm(keys, desc="figures", unit="projection"):
        found = {
            pair: directions(_on(device, adapters[pair][key]))
            for pair in ((SMALL, 0), (LARGE, 0), (LARGE, 1))
        }
        ranks = phi_grid(found[SMALL, 0].vectors, found[LARGE, 0].vectors)
        seeds = phi_grid(found[LARGE, 0].vectors, found[LARGE, 1].vectors)
        of_letter = summary[key[1]]
        for name, grid in (("ranks", ranks), ("seeds", seeds)):
            of_letter[name].append(float(grid[0, 0]))
            of_letter[f"z of {name}"].append(float(z_scores(grid, d)[0, 0]))
        of_letter["near-equal"].append(float(found[LARGE, 0].near_equal().double().mean()))
        of_letter["shared"].append(shared_dimension(found[LARGE, 0].vectors, found[LARGE, 1].vectors))
    gaussian = [torch.randn(LARGE, d, generator=_generator(seed)).to(device) for seed in SEEDS]
    random = phi_grid(*(directions(Factors(A, A.T, LARGE, 1.0, 1.0)).vectors for A in gaussian))
    lines = [f"random Gaussian: phi(64, 64) = {random[-1, -1]:.4f}, null {LARGE / d:.4f}"]
    for letter, numbers in summary.items():
        mean = {name: np.mean(values) for name, values in numbers.items()}
        lines.append(
            f"W_{letter}: phi(1, 1) = {mean['ranks']:.2f} between ranks (z {mean['z of ranks']:.0f}), "
            f"{mean['seeds']:.2f} between seeds (z {mean['z of seeds']:.0f}); "
            f"{100 * mean['near-equal']:.0f} % of A's neighbours near-equal; "
            f"shared dimension {mean['shared']:.2f}, planted {COMMON[letter]}"
        )
    return lines


def obvious(d: int, device: torch.device) -> None:
    """phi between ranks and between seeds in the basis of dW, the obvious way and ours, on one projection."""
    pairs = {pair: factors(0, "q", d, *pair) for pair in ((SMALL, 0), (LARGE, 0), (LARGE, 1))}
    compared = [((SMALL, 0), (LARGE, 0)), ((LARGE, 0), (LARGE, 1))]
    with timed(f"the obvious way, d = {d}, one projection", device) as slow:
        dense = {
            pair: np.linalg.svd(SCALING * B.double().numpy() @ A.double().numpy())[2][: pair[0]]
            for pair, (A, B) in pairs.items()
        }
        theirs = []
        for one, other in compared:
            grid = np.empty((one[0], other[0]))
            for i, j in np.ndindex(grid.shape):
                overlap = np.linalg.norm(dense[one][: i + 1] @ dense[other][: j + 1].T) ** 2
                grid[i, j] = overlap / min(i + 1, j + 1)
            theirs.append(grid)
    with timed(f"ours, d = {d}, one projection", device) as fast:
        thin = {pair: thin_svd(B.to(device), A.to(device), SCALING)[2] for pair, (A, B) in pairs.items()}
        ours = [phi_grid(thin[one], thin[other]) for one, other in compared]
    off = max(np.abs(a.cpu().numpy() - b).max() for a, b in zip(ours, theirs, strict=True))
    print(
        f"  ratio {slow['wall'] / fast['wall']:.0f} (wall), {slow['processor'] / fast['processor']:.0f} "
        f"(processor); the two agree to {off:.0e}"
    )


def _on(device: torch.device, pair: Factors) -> Factors:
    return replace(pair, A=pair.A.to(device), B=pair.B.to(device))


def _generator(*seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(int(np.random.SeedSequence(seed).generate_state(1)[0]))


def _load() -> str:
    return " ".join(f"{value:.1f}" for value in os.getloadavg())


if __name__ == "__main__":
    main()
