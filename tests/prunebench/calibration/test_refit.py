"""Refitted down projections, held against least squares in numpy on what hooks see."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from prunebench.calibration import layerwise
from prunebench.calibration.gram import RIDGE
from prunebench.calibration.text_calibration import TextCalibration
from pruner.output.manifest import PrunedCheckpoint
from pruner.prune import prune
from pruner.scoring.targets import Target
from tests.prunebench.calibration.test_text_calibration import add_tokenizer, sequences
from tests.pruner import tiny
from tests.support.long import short_or_long

Inputs = dict[str, np.ndarray]  # MLP prefix -> [tokens, neurons]
HALF = [Target("percentage", 50)]


def make(family: str, folder: Path) -> Path:
    return add_tokenizer(tiny.make_checkpoint(family, folder, torch.float32))


def refitted(
    source: Path, text: Path, out: Path, how: str = "one-shot", targets: list[Target] = HALF, criterion: str = "wanda"
) -> list[PrunedCheckpoint]:
    calibration = TextCalibration(source, [text], criterion, refit=how)
    return prune(source, out, targets, criterion=criterion, calibration=calibration)


def inputs_of(model: torch.nn.Module) -> Inputs:
    """What each down projection is fed by the text."""
    found: dict[str, list[torch.Tensor]] = {}

    def note(name: str, rows: torch.Tensor) -> None:
        found.setdefault(name, []).append(rows.detach().flatten(0, -2))

    def note_experts(name: str, module: torch.nn.Module, hidden: torch.Tensor, routes: torch.Tensor) -> None:
        hidden = hidden.reshape(-1, tiny.HIDDEN)
        for expert, gate_up in enumerate(module.gate_up_proj):
            gate, up = (hidden[(routes == expert).any(dim=-1)] @ gate_up.T).chunk(2, dim=-1)
            note(f"{name}.{expert}", functional.silu(gate) * up)

    for name, module in model.named_modules():
        if name.endswith(("down_proj", "output_linear")) and "vision" not in name:
            prefix = name.rpartition(".")[0]
            module.register_forward_pre_hook(lambda _, args, prefix=prefix: note(prefix, args[0]))
        elif name.endswith(".experts"):
            module.register_forward_pre_hook(lambda m, args, name=name: note_experts(name, m, args[0], args[1]))
    with torch.no_grad():
        for ids in sequences():
            model(ids)
    return {name: torch.cat(rows).double().numpy() for name, rows in found.items()}


def least_squares(inputs: np.ndarray, weight: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Ridge regression to the old weights, as one tall system."""
    ridge = np.sqrt(RIDGE * lower_median(np.square(inputs).sum(axis=0)))
    rows = np.vstack([inputs[:, kept], ridge * np.eye(len(kept))])
    right = np.vstack([inputs @ weight.T, ridge * weight[:, kept].T])
    return np.linalg.lstsq(rows, right, rcond=None)[0].T


def lower_median(values: np.ndarray) -> float:
    """Of those that are not 0; 1 of none."""
    fed = np.sort(values[values != 0])
    return float(fed[(len(fed) - 1) // 2]) if len(fed) else 1.0


def weights_of(folder: Path) -> dict[str, dict[str, np.ndarray]]:
    """MLP prefix as the loaded model has it -> gate rows and down weight."""
    found: dict[str, dict[str, np.ndarray]] = {}
    for name, tensor in tiny.tensors_of(folder).items():
        loaded = name.replace("block_sparse_moe", "mlp").replace("language_model.model.", "model.language_model.")
        prefix, part = loaded.removesuffix(".weight").rpartition(".")[::2]
        half = slice(0, len(tensor) // 2) if part in {"gate_up_proj", "input_linear"} else slice(None)
        if part in {"gate_proj", "w1", "gate_up_proj", "input_linear"} and "vision" not in name:
            found.setdefault(prefix, {})["gate"] = tensor[half].double().numpy()
        elif part in {"down_proj", "w2", "output_linear"} and "vision" not in name:
            found.setdefault(prefix, {})["down"] = tensor.double().numpy()
    return found


def kept_rows(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    rows = [row.tobytes() for row in before]
    return np.array([rows.index(row.tobytes()) for row in after])


LAYOUTS = ["llama", "llama-with-mlp-bias", "phi3", "granite4-hybrid", "mixtral", "qwen2-moe", "glm4-moe"]


@pytest.mark.parametrize("family", short_or_long(LAYOUTS, sorted(tiny.CONFIGS)))
def test_new_weights_are_the_ridge_regression_to_the_old_output(family: str, text: Path, tmp_path: Path) -> None:
    source = make(family, tmp_path / "source")
    (one,) = refitted(source, text, tmp_path / "out")
    inputs, before, after = inputs_of(tiny.load(source)), weights_of(source), weights_of(one.folder)
    assert before.keys() == after.keys()
    for prefix, old in before.items():
        kept = kept_rows(old["gate"], after[prefix]["gate"])
        expected = least_squares(inputs[prefix], old["down"], kept)
        np.testing.assert_allclose(after[prefix]["down"], expected, rtol=2e-3, atol=2e-4)
        output = inputs[prefix] @ old["down"].T
        errors = [np.square(inputs[prefix][:, kept] @ w.T - output).sum() for w in (expected, old["down"][:, kept])]
        assert errors[0] < errors[1]
    assert {c.name for c in tmp_path.joinpath("out").iterdir()} == {one.folder.name}


def test_a_sequential_refit_regresses_on_what_the_pruned_layers_before_let_through(text: Path, tmp_path: Path) -> None:
    source = make("llama", tmp_path / "source")
    wide, narrow = refitted(source, text, tmp_path / "out", "sequential", [Target("width", 30), Target("width", 12)])
    before = weights_of(source)
    for one in (wide, narrow):
        after, model = weights_of(one.folder), tiny.load(source)
        for layer in range(2):
            prefix = f"model.layers.{layer}.mlp"
            kept = kept_rows(before[prefix]["gate"], after[prefix]["gate"])
            expected = least_squares(inputs_of(model)[prefix], before[prefix]["down"], kept)
            np.testing.assert_allclose(after[prefix]["down"], expected, rtol=2e-3, atol=2e-4)
            with torch.no_grad():
                down = model.get_submodule(f"{prefix}.down_proj").weight
                down.zero_()
                down[:, kept] = torch.from_numpy(after[prefix]["down"]).float()
    assert [one.manifest.calibration.refit for one in (wide, narrow)] == ["sequential"] * 2


def test_with_all_neurons_kept_the_weights_come_back(text: Path, tmp_path: Path) -> None:
    source = make("llama-with-mlp-bias", tmp_path / "source")
    (one,) = refitted(source, text, tmp_path / "out", targets=[Target("width", tiny.WIDTH)])
    before, after = tiny.tensors_of(source), tiny.tensors_of(one.folder)
    assert all(torch.equal(after[name], before[name]) for name in before)


@pytest.mark.parametrize("silent", [tiny.WIDTH // 2 + 3, tiny.WIDTH])
def test_neurons_that_the_text_never_drives_do_not_lower_the_ridge(silent: int, text: Path, tmp_path: Path) -> None:
    source = make("llama", tmp_path / "source")

    def silence(tensors: dict[str, torch.Tensor]) -> None:
        for name, tensor in tensors.items():
            if name.endswith("gate_proj.weight"):
                tensor[:silent] = 0

    tiny.rewrite(source, silence)
    (one,) = refitted(source, text, tmp_path / "out", criterion="random")
    inputs, before, after = inputs_of(tiny.load(source)), weights_of(source), weights_of(one.folder)
    for prefix, old in before.items():
        up = f"{prefix}.up_proj.weight"  # the silent rows of the gate are alike
        kept = kept_rows(tiny.tensors_of(source)[up].numpy(), tiny.tensors_of(one.folder)[up].numpy())
        expected = least_squares(inputs[prefix], old["down"], kept)
        np.testing.assert_allclose(after[prefix]["down"], expected, rtol=2e-3, atol=2e-4)


def test_twice_the_same_gives_the_same_bytes(text: Path, tmp_path: Path) -> None:
    source = make("llama", tmp_path / "source")
    first, again = (refitted(source, text, tmp_path / out)[0] for out in ("a", "b"))
    assert first.manifest == again.manifest


@pytest.mark.parametrize("criterion", ["obs", "maw", "random"])
def test_every_criterion_can_be_refitted(criterion: str, text: Path, tmp_path: Path) -> None:
    source = make("llama", tmp_path / "source")
    (one,) = refitted(source, text, tmp_path / "out", criterion=criterion)
    inputs, before, after = inputs_of(tiny.load(source)), weights_of(source), weights_of(one.folder)
    for prefix, old in before.items():
        kept = kept_rows(old["gate"], after[prefix]["gate"])
        np.testing.assert_allclose(
            after[prefix]["down"], least_squares(inputs[prefix], old["down"], kept), rtol=2e-3, atol=2e-4
        )
        if criterion == "obs":
            gram = inputs[prefix].T @ inputs[prefix]
            inverse = np.linalg.inv(gram + RIDGE * lower_median(gram.diagonal()) * np.eye(len(gram)))
            errors = np.square(old["down"]).sum(axis=0) / inverse.diagonal()
            assert set(kept) == set(np.argsort(-errors)[: len(kept)])


def test_an_expert_that_no_token_reaches_is_pruned_by_its_weights_and_recorded(text: Path, tmp_path: Path) -> None:
    source = make("mixtral", tmp_path / "source")
    shy = "model.layers.0.mlp.gate.weight"

    def never_route_to_the_last(tensors: dict[str, torch.Tensor]) -> None:
        (name,) = (n for n in tensors if n.endswith("layers.0.block_sparse_moe.gate.weight") or n == shy)
        tensors[name][:] = tensors[name][0]  # equal logits: the same two are taken always

    tiny.rewrite(source, never_route_to_the_last)
    (one,) = refitted(source, text, tmp_path / "out")
    unreached = [layer.prefix for layer in one.manifest.layers if layer.calibration_tokens == 0]
    assert unreached
    before, after = tiny.tensors_of(source), tiny.tensors_of(one.folder)
    for prefix in unreached:
        down = before[f"{prefix}.w2.weight"]
        kept = down.abs().sum(dim=0).argsort(descending=True)[: after[f"{prefix}.w2.weight"].shape[1]].sort().values
        assert torch.equal(after[f"{prefix}.w2.weight"], down[:, kept])


@pytest.mark.parametrize("how", ["one-shot", "sequential"])
def test_experts_whose_matrices_do_not_fit_together_take_turns_and_nothing_changes(
    how: str, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make("qwen2-moe", tmp_path / "source")
    (together,) = refitted(source, text, tmp_path / "together", how)
    monkeypatch.setattr(layerwise, "GRAM_BYTES", 2 * 4 * 24 * 24)  # two experts at a time
    (apart,) = refitted(source, text, tmp_path / "apart", how)
    assert apart.manifest == together.manifest


def test_criteria_that_share_a_run_of_the_text_give_what_each_gives_by_itself(text: Path, tmp_path: Path) -> None:
    source, criteria = make("llama", tmp_path / "source"), ["maw", "obs"]
    calibration = TextCalibration(source, [text], criteria, refit="one-shot")
    both = prune(source, tmp_path / "both", HALF, criterion=criteria, calibration=calibration)
    assert [one.folder.name for one in both] == ["maw-refit-width-20", "obs-refit-width-20"]
    for one in both:
        (alone,) = refitted(source, text, tmp_path / one.manifest.criterion, criterion=one.manifest.criterion)
        assert one.manifest.layers == alone.manifest.layers
        assert one.manifest.held_out == alone.manifest.held_out
        assert weights_equal(one.folder, alone.folder)


def weights_equal(one: Path, other: Path) -> bool:
    return (one / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()


@pytest.mark.parametrize("how", ["one-shot", "sequential"])
def test_a_run_that_was_stopped_resumes_after_the_layers_that_it_had_finished(
    how: str, text: Path, tmp_path: Path
) -> None:
    source, targets = make("llama", tmp_path / "source"), [Target("width", 30), Target("width", 12)]
    whole = refitted(source, text, tmp_path / "whole", how, targets)
    passes = 2 if how == "sequential" else 1
    for stop_at in range(1, 2 * passes):
        seen: list[int] = []

        def stop(done: int, total: int, what: str, seen: list[int] = seen, stop_at: int = stop_at) -> None:
            seen.append(done)
            if done == stop_at:
                raise KeyboardInterrupt

        out = tmp_path / f"stopped-{stop_at}"
        with pytest.raises(KeyboardInterrupt):
            prune(
                source,
                out,
                targets,
                criterion="wanda",
                calibration=TextCalibration(source, [text], "wanda", refit=how, progress=stop),
            )
        assert [path.name.startswith("calibration-") for path in out.iterdir()] == [True]
        seen.clear()
        calibration = TextCalibration(source, [text], "wanda", refit=how, progress=lambda d, t, w, s=seen: s.append(d))
        again = prune(source, out, targets, criterion="wanda", calibration=calibration)
        assert min(n for n in seen if n) >= stop_at
        assert [one.manifest for one in again] == [one.manifest for one in whole]
        assert sorted(path.name for path in out.iterdir()) == ["width-12", "width-30"]
