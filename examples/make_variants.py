"""Write two variants of a checkpoint, to compare with it as `[[configurations]]`: its weights in 8 bits, and a coarser tokenizer.

    python examples/make_variants.py examples/tinyglu checkpoints

`NAME-w8a8` has the matrices of attention and MLP as 8-bit integers with one scale a row, rounded to nearest; activations are
quantized as they come, with a scale a token. The folder is one of compressed-tensors, which vLLM serves, on CPUs too.

`NAME-half-merges` has the same weights and a tokenizer with the first half of the merges: it makes more tokens of the same
text, as another family's tokenizer would, and the model, which never saw text cut so, gets worse.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

_LARGEST = 127  # of symmetric 8-bit integers
_INTEGERS = {"num_bits": 8, "type": "int", "symmetric": True}
_QUANTIZATION = {
    "quant_method": "compressed-tensors",
    "format": "int-quantized",
    "quantization_status": "compressed",
    "ignore": ["lm_head"],
    "config_groups": {
        "group_0": {
            "targets": ["Linear"],
            "weights": _INTEGERS | {"strategy": "channel", "dynamic": False},
            "input_activations": _INTEGERS | {"strategy": "token", "dynamic": True},
        }
    },
}


def write_w8a8(source: Path, output: Path) -> None:
    """Every `*_proj.weight` as int8 [rows, columns], and its scales [rows, 1] in the weights' own type beside it."""
    shutil.copytree(source, output, ignore=shutil.ignore_patterns("*.safetensors", "*.safetensors.index.json"))
    for file in sorted(source.glob("*.safetensors")):
        tensors = load_file(file)
        for name in [name for name in tensors if name.endswith("_proj.weight")]:
            weight = tensors[name].float()
            largest = weight.abs().amax(1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
            scale = (largest / _LARGEST).to(tensors[name].dtype)  # rounded first, so that the integers make up for it
            tensors[f"{name}_scale"] = scale
            tensors[name] = (weight / scale.float()).round().clamp(-_LARGEST, _LARGEST).to(torch.int8)
        save_file(tensors, output / file.name, metadata={"format": "pt"})
    config = json.loads((source / "config.json").read_text())
    (output / "config.json").write_text(json.dumps(config | {"quantization_config": _QUANTIZATION}, indent=2))


def write_half_merges(source: Path, output: Path) -> None:
    """The same checkpoint with the first half of its tokenizer's merges; ids keep their meaning."""
    shutil.copytree(source, output)
    file = output / "tokenizer.json"
    tokenizer = json.loads(file.read_text())
    merges = tokenizer["model"]["merges"]
    tokenizer["model"]["merges"] = merges[: len(merges) // 2]
    file.write_text(json.dumps(tokenizer, ensure_ascii=False))


def main() -> None:
    """Write both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="a checkpoint in 16 or 32 bits, with a BPE tokenizer")
    parser.add_argument("output", type=Path, help="the folder of the two")
    given = parser.parse_args()
    write_w8a8(given.source, given.output / f"{given.source.name}-w8a8")
    write_half_merges(given.source, given.output / f"{given.source.name}-half-merges")


if __name__ == "__main__":
    main()
