"""A full disk, Ctrl-C and figures that cannot be computed, while the model runs: finished layers stay, or nothing."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
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


def numbers(left: list[str], name: str) -> list[int]:
    """N of each folder pass-0/NAME-N."""
    return [int(found[1]) for path in left if (found := re.fullmatch(rf"pass-0/{name}-(\d+)", path))]


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
            left = files(folder)
            assert not [
                path for path in left if "partial" in path or path.startswith(("slopes/states", "depth/states"))
            ]
            assert numbers(left, "states") in ([], [len(numbers(left, "layer"))])
            assert numbers(left, "layer") == list(range(sum(numbers(left, "states"))))
    assert stop_at >= 2
    assert made.manifest == whole.manifest
    assert files(out) == files(tmp_path / "whole")


def damaged(folder: Path, factors: dict[str, float]) -> Path:
    """A tiny model whose tensors, by a part of their names, are multiplied."""
    source = make("llama", folder)
    tensors = tiny.tensors_of(source)
    for part, factor in factors.items():
        tensors |= {name: tensor * factor for name, tensor in tensors.items() if part in name}
    save_file(tensors, source / "model.safetensors")
    return source


def test_activations_beyond_the_dtype_leave_nothing(text: Path, tmp_path: Path) -> None:
    source = damaged(tmp_path / "source", {"layers.0.mlp.up_proj": 1e38, "layers.0.mlp.gate_proj": 1e38})
    with pytest.raises(PruneError, match="beyond what the dtype can hold"):
        run(source, text, tmp_path / "out", "act")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("factor", [1e4, float("nan")])
def test_a_model_without_a_finite_perplexity_is_pruned_and_says_so_and_no_layer_of_it_can_be_chosen(
    factor: float, text: Path, tmp_path: Path
) -> None:
    source = damaged(tmp_path / "source", {"lm_head": factor, "model.norm": factor})
    found = run(source, text, tmp_path / "out", "act").manifest.held_out
    assert found is not None
    assert (found.perplexity_before, found.perplexity_after) == (None, None)
    assert found.reason == "the whole model has no finite perplexity on the held-out text"
    with pytest.raises(PruneError, match="whichever layer goes, the model has no finite perplexity"):
        run(source, text, tmp_path / "depth", "act", layers=1)
    assert not (tmp_path / "depth").exists()


def test_a_tokenizer_of_another_model_is_one_line(text: Path, tmp_path: Path) -> None:
    source = make("llama", tmp_path / "source")
    tensors = tiny.tensors_of(source)
    few = {name: tensor[:10].contiguous() for name, tensor in tensors.items() if "lm_head" in name or "embed" in name}
    save_file(tensors | few, source / "model.safetensors")
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps(config | {"vocab_size": 10}))
    with pytest.raises(PruneError, match=r"tokenizer\.json gives token 30, the model has 10"):
        run(source, text, tmp_path / "out", "act")
    assert not (tmp_path / "out").exists()
