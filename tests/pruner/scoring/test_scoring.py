"""Calibrated criteria: scores of the weights times figures of the activations, which the caller measures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch

from pruner.checkpoint.anatomy import Anatomy, Mlp
from pruner.errors import PruneError
from pruner.output.manifest import Manifest
from pruner.prune import prune
from pruner.scoring.calibration import CalibrationText, HeldOut
from pruner.scoring.targets import Target
from tests.pruner import tiny

TEXT = CalibrationText(
    name="text.txt", sha256="0" * 64, tokens=9, sequence_tokens=512, dtype="bfloat16", measured_with={"torch": "2"}
)
TARGETS = [Target("width", 17)]


@dataclass
class Known:
    """An activity whose figures are known."""

    mlp: Mlp
    outputs: tuple[str, ...]
    norm: np.ndarray
    tokens: int

    def figure(self, kind: str) -> np.ndarray:
        return self.norm

    def keep(self, output: str, kept: np.ndarray) -> None:
        return None


@dataclass
class Norms:
    """A calibration whose outcome is known."""

    outcome: dict[str, np.ndarray] | float
    record: CalibrationText = TEXT
    tokens: int = 9
    asked: list[Anatomy] = field(default_factory=list)

    def activities(self, anatomy: Anatomy, outputs: Sequence[str], work: Path) -> Iterator[Known]:
        self.asked.append(anatomy)
        for mlp in anatomy.mlps:
            known = isinstance(self.outcome, dict)
            norm = self.outcome[mlp.prefix] if known else np.full(mlp.neurons, self.outcome)
            yield Known(mlp, tuple(outputs), norm, self.tokens)

    def held_out(self, output: str) -> HeldOut:
        return HeldOut(tokens=8, perplexity_before=10.0, perplexity_after=12.0)


def pruned_by_act(source: Path, out: Path, outcome: dict[str, np.ndarray] | float) -> Manifest:
    return prune(source, out, TARGETS, criterion="act", calibration=Norms(outcome))[0].manifest


def per_layer(norm: np.ndarray) -> dict[str, np.ndarray]:
    return {f"model.layers.{layer}.mlp": norm for layer in range(2)}


def test_equal_activations_leave_the_weights_to_decide(llama: Path, tmp_path: Path) -> None:
    (by_weights,) = prune(llama, tmp_path / "maw", TARGETS)
    by_act = pruned_by_act(llama, tmp_path / "act", 2.0).layers
    assert [layer.kept_sha256 for layer in by_act] == [layer.kept_sha256 for layer in by_weights.manifest.layers]


def test_neurons_that_the_text_drives_hardest_stay(llama: Path, tmp_path: Path) -> None:
    norm = np.ones(40)
    norm[3::3] = 1e6  # 13 neurons
    pruned_by_act(llama, tmp_path / "out", per_layer(norm))
    before, after = tiny.tensors_of(llama), tiny.tensors_of(tmp_path / "out/width-17")
    for prefix in per_layer(norm):
        rows = after[f"{prefix}.gate_proj.weight"].tolist()
        assert all(row in rows for row in before[f"{prefix}.gate_proj.weight"][3::3].tolist())


@pytest.mark.parametrize(("criterion", "power"), [("wanda", 1), ("obs", 2)])
def test_wanda_and_obs_weigh_the_columns_of_the_down_projection(
    criterion: str, power: int, llama: Path, tmp_path: Path
) -> None:
    norm = np.linspace(1, 3, 40)
    (one,) = prune(llama, tmp_path / "out", TARGETS, criterion=criterion, calibration=Norms(per_layer(norm)))
    before, after = tiny.tensors_of(llama), tiny.tensors_of(one.folder)
    for prefix in per_layer(norm):
        down = before[f"{prefix}.down_proj.weight"]
        score = down.double().abs().pow(power).sum(dim=0) * torch.from_numpy(norm)
        kept = score.argsort(descending=True)[:17].sort().values
        assert torch.equal(after[f"{prefix}.down_proj.weight"], down[:, kept])


def test_a_damaged_down_projection_is_named_by_its_row(llama: Path, tmp_path: Path) -> None:
    tiny.rewrite(llama, lambda tensors: tensors["model.layers.1.mlp.down_proj.weight"][3, 5].fill_(torch.nan))
    with pytest.raises(PruneError, match=r"layers\.1\.mlp\.down_proj\.weight: row 3 holds NaN"):
        prune(llama, tmp_path / "out", TARGETS, criterion="wanda", calibration=Norms(1.0))


def test_an_mlp_that_no_token_reached_is_scored_by_its_weights_and_the_manifest_says_so(
    llama: Path, tmp_path: Path
) -> None:
    (by_weights,) = prune(llama, tmp_path / "maw", TARGETS)
    (one,) = prune(llama, tmp_path / "act", TARGETS, criterion="act", calibration=Norms(0.0, tokens=0))
    assert [layer.kept_sha256 for layer in one.manifest.layers] == [
        layer.kept_sha256 for layer in by_weights.manifest.layers
    ]
    assert [layer.calibration_tokens for layer in one.manifest.layers] == [0, 0]
    assert [layer.calibration_tokens for layer in by_weights.manifest.layers] == [None, None]


def test_the_manifest_has_the_text_and_what_pruning_cost(llama: Path, tmp_path: Path) -> None:
    made = pruned_by_act(llama, tmp_path / "out", 1.0)
    assert made.calibration == TEXT
    assert (made.held_out.perplexity_before, made.held_out.perplexity_after) == (10.0, 12.0)


@pytest.mark.parametrize(
    ("outcome", "message"),
    [
        (per_layer(np.ones(39)), "gave no figure for each of its 40 neurons"),
        (np.nan, "beyond what the dtype can hold"),
        (np.inf, "beyond what the dtype can hold"),
        (3e38, "the act score of row [0-9]+ overflows float32; use --criterion maw"),
    ],
)
def test_norms_that_cannot_be_used_are_refused_by_their_mlp(outcome, message: str, llama: Path, tmp_path: Path) -> None:
    with pytest.raises(PruneError, match=rf"model\.layers\.0\.mlp: .*{message}"):
        pruned_by_act(llama, tmp_path / "out", outcome)
    assert not (tmp_path / "out").exists()


def test_a_text_is_needed_for_act_and_of_no_use_for_maw(llama: Path, tmp_path: Path) -> None:
    with pytest.raises(PruneError, match="--criterion act: needs a text, --calibration FILE"):
        prune(llama, tmp_path / "out", TARGETS, criterion="act")
    with pytest.raises(
        PruneError,
        match="--calibration: only --criterion act, wanda, obs, taylor, --refit and --remove-layers use a text",
    ):
        prune(llama, tmp_path / "out", TARGETS, calibration=Norms(1.0))


def test_the_model_is_run_last_and_only_if_something_is_to_be_written(llama: Path, tmp_path: Path) -> None:
    calibration = Norms(1.0)
    with pytest.raises(PruneError, match="--intermediate-size 99"):
        prune(llama, tmp_path / "out", [Target("width", 99)], criterion="act", calibration=calibration)
    assert not calibration.asked
    for _ in range(2):
        prune(llama, tmp_path / "out", TARGETS, criterion="act", calibration=calibration)
        assert len(calibration.asked) == 1


def test_a_folder_pruned_over_another_text_is_not_taken_for_this_one(llama: Path, tmp_path: Path) -> None:
    pruned_by_act(llama, tmp_path / "out", 1.0)
    other = Norms(1.0, record=TEXT.model_copy(update={"sha256": "1" * 64}))
    with pytest.raises(PruneError, match=r"was pruned with other settings \(act, width 17\)"):
        prune(llama, tmp_path / "out", TARGETS, criterion="act", calibration=other)
