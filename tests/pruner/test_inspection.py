"""What inspection announces, from headers alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from pruner.errors import PruneError
from pruner.inspection import inspect_checkpoint
from pruner.prune import prune
from pruner.scoring.targets import Target
from tests.pruner import tiny


def test_a_checkpoint_is_described_and_nothing_is_written(llama: Path) -> None:
    before = sorted(llama.rglob("*"))
    found = inspect_checkpoint(llama, [])
    assert sorted(llama.rglob("*")) == before
    assert (found.family, found.hidden_size, found.width, found.layers, found.mlps) == ("llama", 16, 40, 2, 2)
    assert found.parameters == sum(tensor.numel() for tensor in tiny.tensors_of(llama).values())
    assert found.bytes == (llama / "model.safetensors").stat().st_size


def test_a_tied_embedding_counts_once(tmp_path: Path) -> None:
    tied, untied = (inspect_checkpoint(tiny.make_checkpoint(f, tmp_path / f), []) for f in ("llama-tied", "llama"))
    assert untied.parameters - tied.parameters == 64 * 16


def test_every_target_is_announced_as_it_would_be_written(llama: Path, tmp_path: Path) -> None:
    targets = [Target("percentage", 10), Target("ratio", 1.25), Target("width", 8)]
    rows = inspect_checkpoint(llama, targets).targets
    assert [(row.target, row.width) for row in rows] == [("percentage 10", 36), ("ratio 1.25", 20), ("width 8", 8)]
    assert [(row.expansion_ratio, row.pruning_percentage) for row in rows[1:]] == [(1.25, 50), (0.5, 80)]
    for row, one in zip(rows, prune(llama, tmp_path / "out", targets), strict=True):
        assert row.bytes == (one.folder / "model.safetensors").stat().st_size
        assert row.parameters == sum(tensor.numel() for tensor in tiny.tensors_of(one.folder).values())


def test_alignment_and_shares_count_only_what_divides(tmp_path: Path) -> None:
    source = tiny.make_checkpoint("llama", tmp_path / "source", intermediate_size=512)
    targets = [Target("width", width) for width in (512, 448, 400, 333, 12)]
    rows = inspect_checkpoint(source, targets).targets
    assert [row.aligned_to for row in rows] == [[8, 16, 64, 128], [8, 16, 64], [8, 16], [], []]
    assert [row.tensor_parallel for row in rows] == [[1, 2, 4, 8]] * 3 + [[1], [1, 2, 4]]


def test_every_width_must_divide_in_a_mixture_of_experts(tmp_path: Path) -> None:
    source = tiny.make_checkpoint("qwen2-moe", tmp_path / "source")
    (row,) = inspect_checkpoint(source, [Target("percentage", 34)]).targets
    assert row.widths == {"moe_intermediate_size": 16, "shared_expert_intermediate_size": 32}
    assert row.aligned_to == [8, 16]


def test_a_multiple_is_announced_too(llama: Path) -> None:
    (row,) = inspect_checkpoint(llama, [Target("percentage", 10)], multiple_of=16).targets
    assert row.width == 32


def test_a_source_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(PruneError, match="no such checkpoint folder"):
        inspect_checkpoint(tmp_path / "none", [])
