"""The act criterion: weight scores times activation norms, which the caller measures."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from pruner.checkpoint.anatomy import Anatomy
from pruner.errors import PruneError
from pruner.output.manifest import Manifest
from pruner.prune import prune
from pruner.scoring.calibration import CalibrationText
from pruner.scoring.targets import Target
from tests.pruner import tiny

TEXT = CalibrationText(
    name="text.txt", sha256="0" * 64, tokens=9, sequence_tokens=512, dtype="bfloat16", measured_with={"torch": "2"}
)
TARGETS = [Target("width", 17)]


@dataclass
class Norms:
    """A calibration whose outcome is known."""

    outcome: dict[str, np.ndarray] | float
    record: CalibrationText = TEXT
    asked: list[Anatomy] = field(default_factory=list)

    def norms(self, anatomy: Anatomy) -> dict[str, np.ndarray]:
        self.asked.append(anatomy)
        if isinstance(self.outcome, dict):
            return self.outcome
        return {mlp.prefix: np.full(mlp.neurons, self.outcome) for mlp in anatomy.mlps}


def pruned_by_act(source: Path, out: Path, outcome: dict[str, np.ndarray] | float) -> Manifest:
    return prune(source, out, TARGETS, criterion="act", calibration=Norms(outcome))[0].manifest


def per_layer(norm: np.ndarray) -> dict[str, np.ndarray]:
    return {f"model.layers.{layer}.mlp": norm for layer in range(2)}


def test_equal_activations_leave_the_weights_to_decide(llama: Path, tmp_path: Path) -> None:
    (by_weights,) = prune(llama, tmp_path / "maw", TARGETS)
    assert pruned_by_act(llama, tmp_path / "act", 2.0).layers == by_weights.manifest.layers


def test_neurons_that_the_text_drives_hardest_stay(llama: Path, tmp_path: Path) -> None:
    norm = np.ones(40)
    norm[3::3] = 1e6  # 13 neurons
    pruned_by_act(llama, tmp_path / "out", per_layer(norm))
    before, after = tiny.tensors_of(llama), tiny.tensors_of(tmp_path / "out/width-17")
    for prefix in per_layer(norm):
        rows = after[f"{prefix}.gate_proj.weight"].tolist()
        assert all(row in rows for row in before[f"{prefix}.gate_proj.weight"][3::3].tolist())


def test_the_manifest_has_the_text(llama: Path, tmp_path: Path) -> None:
    assert pruned_by_act(llama, tmp_path / "out", 1.0).calibration == TEXT


@pytest.mark.parametrize(
    ("outcome", "message"),
    [
        ({}, "gave no norm for each of its 40 neurons"),
        (per_layer(np.ones(39)), "gave no norm for each of its 40 neurons"),
        (np.nan, "beyond what the dtype can hold"),
        (np.inf, "beyond what the dtype can hold"),
        (0.0, "no token of the calibration text reaches it; use a longer --calibration text"),
        (3e38, "the act score of row [0-9]+ overflows float32; use --criterion maw"),
    ],
)
def test_norms_that_cannot_be_used_are_refused_by_their_mlp(outcome, message: str, llama: Path, tmp_path: Path) -> None:
    with pytest.raises(PruneError, match=rf"model\.layers\.0\.mlp: .*{message}"):
        pruned_by_act(llama, tmp_path / "out", outcome)
    assert not (tmp_path / "out").exists()


def test_a_text_is_needed_for_act_and_for_nothing_else(llama: Path, tmp_path: Path) -> None:
    with pytest.raises(PruneError, match="--criterion act: needs a text, --calibration FILE"):
        prune(llama, tmp_path / "out", TARGETS, criterion="act")
    with pytest.raises(PruneError, match="--calibration: only --criterion act uses a text"):
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
