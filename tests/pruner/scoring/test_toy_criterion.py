"""One module and one call to `register` make a criterion: the product's tree knows nothing of this one."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from pruner.output.manifest import Manifest
from pruner.scoring.criteria import criteria
from tests.pruner import tiny
from tests.support.captured import captured

SOURCE = Path(__file__).parents[3]
CODE = "import tests.pruner.scoring.toy_criterion; from prunebench.cli import main; main()"


def prunebench_with_toy(*words: object) -> str:
    command = [sys.executable, "-c", CODE, *map(str, words)]
    done = captured(command, cwd=SOURCE, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def pruned(llama: Path, tmp_path: Path) -> Path:
    prunebench_with_toy("prune", llama, "--output", tmp_path / "out", "--intermediate-size", 17, "--criterion", "toy")
    return tmp_path / "out" / "width-17"


def test_a_new_criterion_prunes_a_checkpoint(pruned: Path, llama: Path):
    """The kept rows are those whose first weights of gate and up add up to the most."""
    source, narrow = tiny.tensors_of(llama), tiny.tensors_of(pruned)
    gate, up = (f"model.layers.0.mlp.{part}_proj.weight" for part in ("gate", "up"))
    score = (source[gate][:, 0].float() + source[up][:, 0].float()).numpy()
    kept = np.sort(np.argsort(-score, kind="stable")[:17])
    assert np.array_equal(narrow[gate].float().numpy(), source[gate][kept].float().numpy())


def test_manifest_and_model_card_name_the_new_criterion(pruned: Path):
    manifest = Manifest.model_validate_json((pruned / "pruning.json").read_bytes())
    assert (manifest.criterion, manifest.seed, manifest.calibration) == ("toy", None, None)
    card = (pruned / "README.md").read_text()
    assert "Criterion `toy`, the highest stay: the first weights of the neuron's gate and up rows, added." in card
    assert "--criterion toy" in card


def test_a_new_criterion_is_a_choice_of_the_command_line_and_of_the_experiment_file():
    names = [one.name for one in criteria()]
    assert "|".join([*names, "toy"]) in prunebench_with_toy("prune", "--help")
    schema = json.loads(prunebench_with_toy("schema"))
    one, several = schema["$defs"]["Prune"]["properties"]["criterion"]["anyOf"]
    assert one["enum"] == several["items"]["enum"] == [*names, "toy"]
