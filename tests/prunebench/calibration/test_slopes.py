"""Slopes of the loss at what neurons feed their down projections, held against autograd through the whole model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from prunebench.calibration import slopes
from prunebench.calibration.text_calibration import TextCalibration
from pruner.checkpoint.anatomy import find_mlps
from pruner.checkpoint.folder import open_checkpoint
from pruner.prune import prune
from pruner.scoring.targets import Target
from tests.prunebench.calibration.test_text_calibration import add_tokenizer, sequences
from tests.pruner import tiny
from tests.support.long import short_or_long

Inputs = dict[str, list[torch.Tensor]]  # MLP prefix -> what its down projection is fed, by sequence
HALF = [Target("width", 20)]


def make(family: str, folder: Path) -> Path:
    return add_tokenizer(tiny.make_checkpoint(family, folder, torch.float32))


def calibrated(source: Path, text: Path, progress: Callable[..., None] = lambda *_: None) -> TextCalibration:
    return TextCalibration(source, [text], "taylor", progress=progress)


def measured(source: Path, text: Path, removed: tuple[int, ...] = ()) -> dict[str, np.ndarray]:
    """MLP prefix -> norm x slope, no MLP being cut."""
    found = {}
    for activity in calibrated(source, text).activities(
        find_mlps(open_checkpoint(source)), {"out": removed}, text.with_name("work")
    ):
        activity.keep("out", np.arange(activity.mlp.neurons))
        found[activity.mlp.prefix] = activity.figure("norm x slope")
    return found


def watched(model: torch.nn.Module) -> Inputs:
    """Keeps the gradients of what the down projections are fed from now on; experts are computed by hand, each over its tokens."""
    fed: Inputs = {}

    def note(prefix: str, inputs: torch.Tensor) -> None:
        inputs.retain_grad()
        fed.setdefault(prefix, []).append(inputs)

    def run_experts(
        name: str, module: torch.nn.Module, hidden: torch.Tensor, routes: torch.Tensor, shares: torch.Tensor
    ) -> torch.Tensor:
        total = torch.zeros_like(hidden)
        for expert, (gate_up, down) in enumerate(zip(module.gate_up_proj, module.down_proj, strict=True)):
            token, place = (routes == expert).nonzero(as_tuple=True)
            gate, up = (hidden[token] @ gate_up.T).chunk(2, dim=-1)
            inputs = functional.silu(gate) * up
            note(f"{name}.{expert}", inputs)
            total = total.index_add(0, token, inputs @ down.T * shares[token, place, None])
        return total

    for name, module in model.named_modules():
        if name.endswith(("down_proj", "output_linear")) and "vision" not in name:
            prefix = name.rpartition(".")[0]
            module.register_forward_pre_hook(lambda _, args, prefix=prefix: note(prefix, args[0]))
        elif name.endswith(".experts"):
            module.forward = lambda *args, name=name, module=module: run_experts(name, module, *args)
    return fed


def by_autograd(model: torch.nn.Module) -> dict[str, np.ndarray]:
    """MLP prefix -> norm x slope of the summed loss of all sequences."""
    fed = watched(model)
    for ids in sequences():
        functional.cross_entropy(model(ids).logits[0, :-1].float(), ids[0, 1:], reduction="sum").backward()
    result = {}
    for prefix, parts in fed.items():
        inputs = torch.cat([part.detach().flatten(0, -2) for part in parts]).double()
        gradients = torch.cat([part.grad.flatten(0, -2) for part in parts if part.grad is not None]).double()
        result[prefix] = (inputs.norm(dim=0) * (inputs * gradients).norm(dim=0)).numpy()
    return result


def as_loaded(prefix: str) -> str:
    """An MLP of the checkpoint as the loaded model names it."""
    return prefix.replace("block_sparse_moe", "mlp").replace("language_model.model.", "model.language_model.")


SHORT = ["llama", "llama-with-mlp-bias", "phi3", "granite4-hybrid", "mixtral", "qwen2-moe", "glm4-moe"]


@pytest.mark.parametrize("family", short_or_long(SHORT, sorted(tiny.CONFIGS)))
def test_slopes_are_those_of_autograd_through_the_whole_model(family: str, text: Path, tmp_path: Path) -> None:
    source = make(family, tmp_path / "source")
    ours, theirs = measured(source, text), by_autograd(tiny.load(source))
    assert {as_loaded(prefix) for prefix in ours} == theirs.keys()
    for prefix, found in ours.items():
        expected = theirs[as_loaded(prefix)]
        assert expected.max() > 0
        np.testing.assert_allclose(found, expected, rtol=2e-3, atol=1e-5 * expected.max())


def test_neurons_stay_by_the_weights_the_norm_and_the_slope_together(text: Path, tmp_path: Path) -> None:
    source = make("llama", tmp_path / "source")
    (one,) = prune(source, tmp_path / "out", HALF, criterion="taylor", calibration=calibrated(source, text))
    before, after = tiny.tensors_of(source), tiny.tensors_of(one.folder)
    for prefix, figure in by_autograd(tiny.load(source)).items():
        rows = [before[f"{prefix}.{part}_proj.weight"] for part in ("gate", "up")]
        maw = sum(row.max(dim=1).values + row.min(dim=1).values.abs() for row in rows)
        kept = (maw * torch.from_numpy(figure)).argsort(descending=True)[:20].sort().values
        assert torch.equal(after[f"{prefix}.down_proj.weight"], before[f"{prefix}.down_proj.weight"][:, kept])
    assert "molchanov2019importance" in one.folder.joinpath("README.md").read_text()


def test_without_a_layer_the_slopes_are_those_of_the_model_that_is_left(text: Path, tmp_path: Path) -> None:
    source = make("llama", tmp_path / "source")
    model = tiny.load(source)
    del model.model.layers[0]
    model.model.layers[0].self_attn.layer_idx = 0
    ((_, expected),) = by_autograd(model).items()
    ((prefix, found),) = measured(source, text, removed=(0,)).items()
    assert prefix == "model.layers.1.mlp"
    np.testing.assert_allclose(found, expected, rtol=2e-3)


def test_all_widths_share_one_measurement_of_the_slopes(text: Path, tmp_path: Path) -> None:
    source = make("llama", tmp_path / "source")
    seen: list[int] = []
    note = calibrated(source, text, lambda done, _, what: seen.append(done) if "loss" in what else None)
    prune(source, tmp_path / "out", [*HALF, Target("width", 30)], criterion="taylor", calibration=note)
    assert seen == [0, 1, 2, 3, 4]


def test_a_text_in_parts_gives_what_it_gives_as_a_whole_and_a_stopped_run_goes_on_after_the_last_part(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make("llama", tmp_path / "source")
    (whole,) = prune(source, tmp_path / "whole", HALF, criterion="taylor", calibration=calibrated(source, text))
    monkeypatch.setattr(slopes, "STATE_BYTES", 1)  # a sequence at a time: two parts of four steps
    seen: list[tuple[int, int]] = []

    def stop(done: int, total: int, what: str) -> None:
        seen.append((done, total))
        if "loss" in what and done == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prune(source, tmp_path / "out", HALF, criterion="taylor", calibration=calibrated(source, text, stop))
    assert seen == [(done, 8) for done in range(7)]
    seen.clear()
    again = calibrated(source, text, lambda done, total, what: seen.append((done, total)))
    (one,) = prune(source, tmp_path / "out", HALF, criterion="taylor", calibration=again)
    assert seen[0] == (4, 8)
    assert one.manifest.layers == whole.manifest.layers
    assert [path.name for path in tmp_path.joinpath("out").iterdir()] == ["width-20"]
