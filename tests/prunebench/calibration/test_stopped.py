"""A full disk and Ctrl-C while the model runs leave the layers that are finished, or nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from prunebench.calibration.text_calibration import TextCalibration
from pruner.errors import PruneError
from pruner.output.manifest import PrunedCheckpoint
from pruner.prune import prune
from pruner.scoring.targets import Target
from tests.prunebench.calibration.test_refit import make
from tests.pruner import tiny

_LIMITED = """
import resource, sys
from pathlib import Path
from prunebench.calibration.model import LayeredModel
from prunebench.calibration.text_calibration import TextCalibration
from pruner.prune import prune
from pruner.scoring.targets import Target
source, text, out = map(Path, sys.argv[1:4])
calibration = TextCalibration(source, [text], sys.argv[4], refit="one-shot")
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[5]),) * 2)
try:
    prune(source, out, [Target("percentage", 50)], criterion=sys.argv[4], remove_layers=[int(sys.argv[6])], calibration=calibration)
except Exception as error:
    print(type(error).__name__, error)
"""


def run(source: Path, text: Path, out: Path, criterion: str, layers: int = 0, stop_at: int = -1) -> PrunedCheckpoint:
    """Ctrl-C comes as the progress is told for the `stop_at`th time."""
    calls = iter(range(1000))

    def progress(done: int, total: int, what: str) -> None:
        if next(calls) == stop_at:
            raise KeyboardInterrupt

    calibration = TextCalibration(source, [text], criterion, refit="one-shot", progress=progress)
    targets, removed = [Target("percentage", 50)], [layers]
    (made,) = prune(source, out, targets, criterion=criterion, remove_layers=removed, calibration=calibration)
    return made


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@pytest.mark.parametrize(("criterion", "layers"), [("act", 0), ("taylor", 0), ("act", 1)])
def test_a_file_that_cannot_grow_is_named_in_one_line_and_nothing_is_left(
    criterion: str, layers: int, text: Path, tmp_path: Path
) -> None:
    source, out = make("llama", tmp_path / "source"), tmp_path / "out"
    # -B: the limit would cut compiled modules off too
    words = [sys.executable, "-B", "-c", _LIMITED, source, text, out, criterion, "3000", str(layers)]
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"PruneError {out}/calibration-"), done.stdout + done.stderr
    assert done.stdout.endswith(": File too large\n")
    assert not out.exists()


@pytest.mark.parametrize(("criterion", "layers"), [("act", 0), ("taylor", 0), ("act", 1)])
def test_ctrl_c_at_any_moment_leaves_finished_layers_alone_and_the_same_command_ends_as_if_nothing_had_been(
    criterion: str, layers: int, text: Path, tmp_path: Path
) -> None:
    source, out = make("llama", tmp_path / "source"), tmp_path / "out"
    whole = run(source, text, tmp_path / "whole", criterion, layers)
    stop_at = 0
    while True:
        try:
            made = run(source, text, out, criterion, layers, stop_at)
            break
        except KeyboardInterrupt:
            stop_at += 1
        for folder in out.glob("calibration-*"):
            left = [path for path in files(folder) if path.count("/") == 1 or "partial" in path]
            (done,) = [int(path.rpartition("-")[2]) for path in left if "/states-" in path] or [0]
            layers_left = [path for path in left if "/layer-" in path]
            assert layers_left == [f"pass-0/layer-{layer}" for layer in range(done)]
            assert len(left) == len(layers_left) + bool(done) + sum(
                "slopes-" in path or "removed" in path for path in left
            )
    assert stop_at >= 2
    assert made.manifest == whole.manifest
    assert files(out) == files(tmp_path / "whole")


def test_what_cannot_be_computed_leaves_nothing(text: Path, tmp_path: Path) -> None:
    source = make("llama", tmp_path / "source")
    tensors = tiny.tensors_of(source)
    name = next(name for name in tensors if name.endswith("layers.0.mlp.up_proj.weight"))
    tensors[name] = torch.full_like(tensors[name], 1e38)
    save_file(tensors, source / "model.safetensors")
    with pytest.raises(PruneError, match="beyond what the dtype can hold"):
        run(source, text, tmp_path / "out", "act")
    assert not (tmp_path / "out").exists()
