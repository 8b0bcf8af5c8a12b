"""Several criteria in one prune: outputs with the names of both, each as if it had been pruned by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from pruner.errors import PruneError
from pruner.prune import prune
from pruner.scoring.targets import Target

TARGETS = [Target("width", 30), Target("width", 17)]


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_several_criteria_give_the_same_tensors_as_each_by_itself(llama: Path, tmp_path: Path) -> None:
    made = prune(llama, tmp_path / "both", TARGETS, criterion=["maw", "random"], seed=3)
    assert [one.folder.name for one in made] == [f"{c}-width-{w}" for w in (30, 17) for c in ("maw", "random")]
    for criterion in ("maw", "random"):
        for one in prune(llama, tmp_path / criterion, TARGETS, criterion=criterion, seed=3):
            assert one.folder.name == f"width-{one.width}"
            both = tmp_path / "both" / f"{criterion}-{one.folder.name}"
            assert (one.folder / "model.safetensors").read_bytes() == (both / "model.safetensors").read_bytes()


def test_what_is_there_is_kept_and_leftovers_are_cleared(llama: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prune(llama, out, TARGETS[:1], criterion=["maw", "vow"])
    for name in ("maw-refit-width-5", "vow-width-5", "my-width-5"):
        (out / f"{name}.partial").mkdir()
    stamp = (out / "maw-width-30" / "config.json").stat().st_mtime_ns
    prune(llama, out, TARGETS, criterion=["maw", "vow"])
    assert names(out) == {"my-width-5.partial"} | {f"{c}-width-{w}" for w in (30, 17) for c in ("maw", "vow")}
    assert (out / "maw-width-30" / "config.json").stat().st_mtime_ns == stamp


def test_a_criterion_named_twice_is_refused(llama: Path, tmp_path: Path) -> None:
    with pytest.raises(PruneError, match="--criterion vow: is named twice"):
        prune(llama, tmp_path / "out", TARGETS, criterion=["vow", "maw", "vow"])


def test_the_card_of_each_repeats_it_alone(llama: Path, tmp_path: Path) -> None:
    for one in prune(llama, tmp_path / "out", TARGETS[:1], criterion=["maw", "vow"]):
        card = (one.folder / "README.md").read_text()
        assert f"--criterion {one.manifest.criterion} --tie-break" in card
