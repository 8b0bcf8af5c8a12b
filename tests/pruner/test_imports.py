"""The pruner is light: it can be used where no torch is installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.pruner import tiny

_HEAVY = "torch transformers safetensors huggingface_hub scipy fastapi"


def test_pruning_imports_no_torch_and_no_transformers(llama: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from pruner.prune import Target, prune\n"
        "prune(Path(sys.argv[1]), Path(sys.argv[2]), [Target('width', 17)], tie_break='torch')\n"
        f"print([name for name in {_HEAVY.split()} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, llama, tmp_path / "out"], check=True, capture_output=True, text=True
    )
    assert done.stdout == "[]\n"


@pytest.mark.slow
def test_memory_does_not_grow_with_the_model(tmp_path: Path) -> None:
    code = (
        "import re, sys; from pathlib import Path; from pruner.prune import Target, prune\n"
        "prune(Path(sys.argv[1]), Path(sys.argv[2]), [Target('percentage', p) for p in (10, 50)])\n"
        "print(re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1])"  # ru_maxrss counts the parent
    )
    peaks = {}
    for layers in (2, 16):
        folder = tmp_path / str(layers)
        tiny.make_checkpoint(
            "llama", folder / "source", hidden_size=512, intermediate_size=4096, num_hidden_layers=layers
        )
        done = subprocess.run(
            [sys.executable, "-c", code, folder / "source", folder / "out"], check=True, capture_output=True, text=True
        )
        peaks[layers] = int(done.stdout) * 1024
    weights = {layers: (tmp_path / str(layers) / "source/model.safetensors").stat().st_size for layers in peaks}
    assert weights[16] - weights[2] > 150e6
    assert peaks[16] - peaks[2] < 30e6
