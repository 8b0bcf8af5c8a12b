"""Whole layers taken out, held against transformers models without them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from prunebench.calibration.depth import last_of_a_kind
from prunebench.calibration.text_calibration import TextCalibration
from pruner.checkpoint.layers import layer_of
from pruner.errors import PruneError
from pruner.inspection import inspect_checkpoint
from pruner.output.manifest import PrunedCheckpoint
from pruner.prune import prune
from pruner.scoring.targets import Target
from tests.prunebench.calibration.test_text_calibration import TEXT, add_tokenizer, perplexity, sequences
from tests.pruner import tiny

LAYERS = 5
FAMILIES = [
    "llama",
    "llama-with-mlp-bias",
    "phi3",
    "gemma2",
    "gemma3-multimodal",
    "smollm3",
    "mixtral",
    "qwen2-moe-with-a-dense-layer",
    "glm4-moe",
    "granite4-hybrid",
]


def make(family: str, folder: Path) -> Path:
    """A tiny model of five layers, unlike each other where the family has several kinds."""
    config = tiny.CONFIGS[family]()
    text = config.get_text_config()
    text.num_hidden_layers = LAYERS
    kinds = {
        "gemma2": ["sliding_attention", "full_attention"],
        "gemma3-multimodal": ["sliding_attention", "full_attention"],
        "granite4-hybrid": ["linear_attention", "full_attention"],
    }
    if family in kinds:
        text.layer_types = (kinds[family] * LAYERS)[:LAYERS]
    elif getattr(text, "layer_types", None):
        text.layer_types = [text.layer_types[0]] * LAYERS
    if family == "smollm3":
        text.no_rope_layers = [1, 1, 0, 1, 0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(tiny.CONFIGS, family, lambda: config)
        return add_tokenizer(tiny.make_checkpoint(family, folder, torch.float32))


def removed(
    source: Path, text: Path, out: Path, counts: list[int], targets: list[Target] | None = None, **how: Any
) -> list[PrunedCheckpoint]:
    calibration = TextCalibration(source, [text], how.get("criterion", "maw"), refit=how.pop("refit", None))
    return prune(source, out, targets or [], remove_layers=counts, calibration=calibration, **how)


def without(folder: Path, gone: list[int]) -> Any:
    """The model with these layers taken out of the loaded module."""
    model = tiny.load(folder)
    decoder = model.get_decoder()
    config = decoder.config
    if getattr(config, "layer_types", None):  # masks are made by kind of layer
        config.layer_types = [kind for layer, kind in enumerate(config.layer_types) if layer not in gone]
    config.num_hidden_layers = LAYERS - len(gone)
    decoder.layers = torch.nn.ModuleList(layer for place, layer in enumerate(decoder.layers) if place not in gone)
    return model


def logits(model: Any, ids: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():  # a cache goes by the layers' old numbers
        return model(ids, use_cache=False).logits.float()


def text_loss(model: Any) -> float:
    """Of the text that is not held out, per token."""
    losses = [functional.cross_entropy(logits(model, ids)[0, :-1], ids[0, 1:]) for ids in sequences()]
    return float(torch.stack(losses).mean())


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_left_computes_what_the_model_without_these_layers_does(
    family: str, text: Path, tmp_path: Path
) -> None:
    source = make(family, tmp_path / "source")
    (one,) = removed(source, text, tmp_path / "out", [2])
    gone = [layer.layer for layer in one.manifest.removed_layers]
    assert (one.folder.name, len(gone), one.manifest.source_layers) == ("layers-3", 2, LAYERS)
    ids = sequences()[0][:, :32]
    assert torch.allclose(logits(tiny.load(one.folder), ids), logits(without(source, gone), ids), atol=1e-4, rtol=1e-4)
    found = inspect_checkpoint(one.folder, [])
    assert found.layers == 3
    (row,) = inspect_checkpoint(source, [], remove_layers=[2]).targets
    assert (row.name, row.layers) == ("layers-3", 3)
    assert found.parameters <= row.parameters or family in {"qwen2-moe-with-a-dense-layer", "glm4-moe"}
    assert {layer for name in tiny.tensors_of(one.folder) if (layer := layer_of(name)) is not None} == {0, 1, 2}
    assert all(f"layers.{layer}." not in cut.prefix for layer in gone for cut in one.manifest.layers)


def test_at_each_step_the_layer_goes_that_the_text_misses_least(text: Path, tmp_path: Path) -> None:
    source = make("llama", tmp_path / "source")
    (one,) = removed(source, text, tmp_path / "out", [2])
    gone: list[int] = []
    for step in one.manifest.removed_layers:
        losses = {layer: text_loss(without(source, [*gone, layer])) for layer in range(LAYERS) if layer not in gone}
        assert step.layer == min(losses, key=losses.__getitem__)
        assert step.perplexity == pytest.approx(math.exp(losses[step.layer]), rel=1e-4)
        gone.append(step.layer)


@pytest.mark.parametrize("how", [None, "one-shot", "sequential"])
def test_a_width_and_a_depth_go_together_and_their_cost_is_that_of_the_written_model(
    how: str | None, text: Path, tmp_path: Path
) -> None:
    source = make("llama", tmp_path / "source")
    made = removed(source, text, tmp_path / "out", [0, 1, 2], [Target("width", 30)], criterion="act", refit=how)
    assert [one.folder.name for one in made] == ["width-30", "width-30-layers-4", "width-30-layers-3"]
    held_out = torch.tensor([[3 + "abcdefghijklmnopqrstuvwxyz .,".index(letter) for letter in TEXT[1024:]]])
    for one in made:
        assert one.manifest.held_out.perplexity_after == pytest.approx(perplexity(one.folder, held_out), rel=1e-4)
    order = [one.manifest.removed_layers for one in made]
    assert order[0] == []
    assert order[1] == order[2][:1]


def test_the_last_layer_of_a_kind_stays(text: Path, tmp_path: Path) -> None:
    source = make("granite4-hybrid", tmp_path / "source")
    linear, full = "linear_attention", "full_attention"
    kinds = {"layer_types": [linear, full, linear, full, linear]}
    assert last_of_a_kind(kinds, range(LAYERS)) == set()
    assert last_of_a_kind(kinds, [0, 1, 2]) == {1}
    assert last_of_a_kind(kinds, [1, 2]) == {1, 2}
    assert last_of_a_kind(kinds | {"layer_types": [full] * LAYERS}, [3]) == set()
    (one,) = removed(source, text, tmp_path / "out", [3])
    gone = {layer.layer for layer in one.manifest.removed_layers}
    assert len(gone & {1, 3}) < 2 < 3 == len(gone)
    assert gone != {0, 2, 4}
    with pytest.raises(PruneError, match="--remove-layers: each layer that is left is the last of its kind"):
        removed(source, text, tmp_path / "none", [4])


def test_layers_over_several_files_leave_no_empty_one_behind(text: Path, tmp_path: Path) -> None:
    source = make("llama", tmp_path / "source")
    names = sorted(tiny.tensors_of(source))
    per_layer = [[name for name in names if layer_of(name) == layer] for layer in range(LAYERS)]
    tiny.reshard(source, [*per_layer, [name for name in names if layer_of(name) is None]])
    (one,) = removed(source, text, tmp_path / "out", [2])
    index = json.loads((one.folder / "model.safetensors.index.json").read_text())
    assert len(list(one.folder.glob("*.safetensors"))) == 4 == len(set(index["weight_map"].values()))
    assert set(index["weight_map"]) == set(tiny.tensors_of(one.folder))
    gone = [layer.layer for layer in one.manifest.removed_layers]
    ids = sequences()[0][:, :32]
    assert torch.allclose(logits(tiny.load(one.folder), ids), logits(without(source, gone), ids), atol=1e-4, rtol=1e-4)


def test_a_choice_that_was_stopped_goes_on_and_a_finished_one_is_kept(text: Path, tmp_path: Path) -> None:
    source = make("llama", tmp_path / "source")
    whole = removed(source, text, tmp_path / "whole", [2])

    def stop(done: int, total: int, what: str) -> None:
        if done == LAYERS + 2:
            raise KeyboardInterrupt

    calibration = TextCalibration(source, [text], "maw", progress=stop)
    with pytest.raises(KeyboardInterrupt):
        prune(source, tmp_path / "out", [], remove_layers=[2], calibration=calibration)
    seen: list[int] = []
    calibration = TextCalibration(source, [text], "maw", progress=lambda done, total, what: seen.append(done))
    again = prune(source, tmp_path / "out", [], remove_layers=[2], calibration=calibration)
    assert seen[0] == LAYERS
    assert [one.manifest for one in again] == [one.manifest for one in whole]
    assert prune(source, tmp_path / "out", [], remove_layers=[2], calibration=calibration) == again


def test_the_card_names_the_layers_and_the_command(text: Path, tmp_path: Path) -> None:
    source = make("llama", tmp_path / "source")
    (one,) = removed(source, text, tmp_path / "out", [1])
    card = (one.folder / "README.md").read_text()
    assert "`source` with 4 of its 5 layers. Layers were removed" in card
    assert f"- Layers {one.manifest.removed_layers[0].layer} of the source, counted from 0" in card
    assert "--remove-layers 1 --criterion maw --calibration text.txt" in card
    assert "depth-pruning" in card
    assert "intermediate_size" not in card


@pytest.mark.parametrize(
    ("counts", "said"),
    [([5], "--remove-layers 5: must be from 0 to 4 in this checkpoint"), ([-1], "--remove-layers -1: must be from 0")],
)
def test_a_number_of_layers_that_cannot_go_is_refused(counts: list[int], said: str, text: Path, tmp_path: Path) -> None:
    source = make("llama", tmp_path / "source")
    with pytest.raises(PruneError, match=said):
        removed(source, text, tmp_path / "out", counts)
    with pytest.raises(PruneError, match="--remove-layers: needs a text, --calibration FILE"):
        prune(source, tmp_path / "out", [], remove_layers=[1])


def test_a_config_that_speaks_of_layers_in_an_unknown_way_is_refused(text: Path, tmp_path: Path) -> None:
    source = make("llama", tmp_path / "source")
    for key, value in (("rates", [1, 2, 3, 4, 5]), ("moe_layer_freq", 2)):
        tiny.reconfigure(source, **{key: value})
        with pytest.raises(PruneError, match=rf"config\.json: {key} .*--remove-layers"):
            removed(source, text, tmp_path / "out", [1])
        tiny.reconfigure(source, **{key: None})
