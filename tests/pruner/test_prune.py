"""The whole command on real little checkpoints: written, kept and refused."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pruner.checkpoint.folder import MANIFEST_NAME
from pruner.checkpoint.tensors import read_shard
from pruner.errors import PruneError
from pruner.inspection import inspect_checkpoint
from pruner.output.manifest import Manifest
from pruner.prune import prune
from pruner.scoring.targets import Target
from tests.pruner import tiny

WIDTHS = [Target("width", 30), Target("width", 17), Target("width", 8)]


def is_mlp(name: str) -> bool:
    return ".mlp." in name


def names_of(folder: Path) -> list[str]:
    return sorted(tiny.tensors_of(folder))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(
    "layout",
    [
        lambda names: [names],
        lambda names: [[name] for name in names],
        lambda names: [names[::2], names[1::2]],
        lambda names: [[n for n in names if "down" in n], [n for n in names if "down" not in n]],  # down before gate
        lambda names: [[n for n in names if "up" in n], [n for n in names if "up" not in n]],  # gate and up apart
    ],
)
def test_the_layout_of_the_shards_is_kept_and_does_not_change_a_tensor(
    layout, reverse, llama: Path, tmp_path: Path
) -> None:
    expected = [tiny.tensors_of(one.folder) for one in prune(llama, tmp_path / "one-file", WIDTHS)]
    tiny.reshard(llama, layout(names_of(llama)), reverse=reverse)
    for one, tensors in zip(prune(llama, tmp_path / "out", WIDTHS), expected, strict=True):
        found = tiny.tensors_of(one.folder)
        assert found.keys() == tensors.keys()
        assert all(torch.equal(found[name], tensors[name]) for name in tensors)
        for file in llama.glob("*.safetensors"):
            before, after = read_shard(llama, file.name), read_shard(one.folder, file.name)
            assert [tensor.name for tensor in after.tensors] == [tensor.name for tensor in before.tensors]
            assert after.metadata == before.metadata == {"format": "pt", "made": "by hand"}
            assert after.tensors[0].start % 8 == 0


def test_the_index_counts_what_is_there(llama: Path, tmp_path: Path) -> None:
    names = names_of(llama)
    tiny.reshard(llama, [names[:7], names[7:]])
    (one,) = prune(llama, tmp_path / "out", [Target("width", 17)])
    before, after = (json.loads((f / "model.safetensors.index.json").read_text()) for f in (llama, one.folder))
    stored = tiny.tensors_of(one.folder).values()
    assert after["weight_map"] == before["weight_map"]
    assert after["metadata"] == {
        "total_parameters": sum(tensor.numel() for tensor in stored),
        "total_size": sum(tensor.nbytes for tensor in stored),
    }


def test_tensors_outside_of_the_mlps_are_identical_and_cut_ones_are_rows_and_columns_of_the_source(
    llama, tmp_path
) -> None:
    source = tiny.tensors_of(llama)
    for one in prune(llama, tmp_path / "out", WIDTHS):
        found = tiny.tensors_of(one.folder)
        assert all(torch.equal(found[name], source[name]) for name in source if not is_mlp(name))
        for layer in one.manifest.layers:
            gate, new = (tensors[f"{layer.prefix}.gate_proj.weight"].tolist() for tensors in (source, found))
            kept = np.array([gate.index(row) for row in new], dtype="<i8")
            assert (np.diff(kept) > 0).all()
            assert hashlib.sha256(kept.tobytes()).hexdigest() == layer.kept_sha256
            for part, axis in (("up_proj", 0), ("down_proj", 1)):
                name = f"{layer.prefix}.{part}.weight"
                assert torch.equal(found[name], source[name].index_select(axis, torch.from_numpy(kept)))


def test_only_the_width_changes_in_config_json(llama: Path, tmp_path: Path) -> None:
    tiny.reconfigure(llama, a_key_that_no_library_knows={"nested": [1e-05, "ü", None]}, rms_norm_eps=1e-6)
    (one,) = prune(llama, tmp_path / "out", [Target("width", 17)])
    before, after = (json.loads((folder / "config.json").read_text()) for folder in (llama, one.folder))
    assert list(before) == list(after)
    assert after == before | {"intermediate_size": 17}


def test_narrower_cuts_nest_in_wider_ones(llama: Path, tmp_path: Path) -> None:
    rows = []
    for one in prune(llama, tmp_path / "out", WIDTHS):
        gate = tiny.tensors_of(one.folder)["model.layers.0.mlp.gate_proj.weight"]
        rows.append({tuple(row) for row in gate.tolist()})
    assert all(narrow < wide for wide, narrow in pairwise(rows))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_weights_keep_their_dtype_and_bits(dtype: torch.dtype, tmp_path: Path) -> None:
    source = tiny.make_checkpoint("llama-with-mlp-bias", tmp_path / "source", dtype)
    (one,) = prune(source, tmp_path / "out", [Target("width", 17)])
    model = tiny.load(source)
    tiny.prune_in_memory(model, 57.5)  # 23 of 40 neurons
    expected, found = dict(model.state_dict()), tiny.tensors_of(one.folder)
    assert {tensor.dtype for tensor in found.values()} == {dtype}
    assert all(torch.equal(found[name], expected[name]) for name in found)


def test_an_odd_width_misaligns_no_wider_element_that_follows(tmp_path: Path) -> None:
    source = tiny.make_checkpoint("llama-with-mlp-bias", tmp_path / "source")
    bias, norm = "model.layers.0.mlp.gate_proj.bias", "model.norm.weight"
    tiny.rewrite(source, lambda tensors: tensors.update({norm: tensors[norm].float()}))
    first = [bias, norm]  # 17 elements of 2 bytes before elements of 4, as the library would never lay them out
    tiny.reshard(source, [first + [name for name in names_of(source) if name not in first]])
    (one,) = prune(source, tmp_path / "out", [Target("width", 17)])
    (file,) = one.folder.glob("*.safetensors")
    assert all(tensor.start % tensor.element_bytes == 0 for tensor in read_shard(one.folder, file.name).tensors)
    assert torch.equal(tiny.tensors_of(one.folder)[norm], tiny.tensors_of(source)[norm])


def test_the_manifest_has_the_origin_of_every_byte(llama: Path, tmp_path: Path) -> None:
    (llama / "tokenizer.json").write_text("{}")
    (one,) = prune(llama, tmp_path / "out", [Target("percentage", 50)])
    manifest = Manifest.model_validate_json((one.folder / MANIFEST_NAME).read_bytes())
    assert manifest == one.manifest
    for folder, records in ((llama, manifest.source_files), (one.folder, manifest.output_files)):
        assert {r.name for r in records} == {p.name for p in folder.iterdir()} - {MANIFEST_NAME}
        for record in records:
            content = (folder / record.name).read_bytes()
            assert (record.bytes, record.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert (manifest.source_width, manifest.width, manifest.hidden_size) == (40, 20, 16)
    assert (manifest.expansion_ratio, manifest.pruning_percentage) == (1.25, 50)
    assert (manifest.target, manifest.criterion, manifest.tie_break, manifest.seed) == (
        "percentage 50",
        "maw",
        "stable",
        None,
    )
    assert manifest.source_id == "source"
    assert manifest.tool_versions["numpy"] == np.__version__


def test_companions_are_copied_links_are_followed_and_remote_code_is_not_run(llama: Path, tmp_path: Path) -> None:
    blob = llama / ".blob"
    blob.write_text("raise SystemExit('this must never run')")
    (llama / "modeling_own.py").symlink_to(blob)
    weights = (llama / "model.safetensors").rename(llama / ".weights-blob")
    (llama / "model.safetensors").symlink_to(weights)
    (one,) = prune(llama, tmp_path / "out", [Target("width", 17)])
    assert not any(path.is_symlink() for path in one.folder.rglob("*"))
    assert (one.folder / "modeling_own.py").read_text() == blob.read_text()
    assert (one.folder / "generation_config.json").read_bytes() == (llama / "generation_config.json").read_bytes()


def test_files_are_readable_under_the_umask(llama: Path, tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        (one,) = prune(llama, tmp_path / "out", [Target("width", 17)])
    finally:
        os.umask(before)
    assert {stat.S_IMODE(path.stat().st_mode) for path in one.folder.iterdir()} == {0o644}
    assert stat.S_IMODE(one.folder.stat().st_mode) == 0o755


def test_two_targets_of_the_same_width_are_written_once(llama: Path, tmp_path: Path) -> None:
    (one,) = prune(llama, tmp_path / "out", [Target("percentage", 50), Target("ratio", 1.25), Target("width", 20)])
    assert one.manifest.target == "percentage 50, ratio 1.25, width 20"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["width-20"]


def test_the_whole_width_gives_a_copy(llama: Path, tmp_path: Path) -> None:
    (one,) = prune(llama, tmp_path / "out", [Target("percentage", 0)])
    assert (one.folder / "model.safetensors").read_bytes() == (llama / "model.safetensors").read_bytes()


def test_a_pruned_checkpoint_can_be_pruned_again(llama: Path, tmp_path: Path) -> None:
    (wide,) = prune(llama, tmp_path / "out", [Target("width", 30)])
    (twice,) = prune(wide.folder, tmp_path / "again", [Target("width", 17)])
    (once,) = prune(llama, tmp_path / "once", [Target("width", 17)])
    files = [[record for record in one.manifest.output_files if record.name != "README.md"] for one in (twice, once)]
    assert files[0] == files[1]
    assert twice.manifest.source_id == "width-30"


def test_a_seeded_random_prune_repeats_and_another_seed_differs(llama: Path, tmp_path: Path) -> None:
    kept = [
        prune(llama, tmp_path / name, [Target("width", 17)], criterion="random", seed=seed)[0].manifest.layers
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]
    assert kept[0] == kept[1] != kept[2]


def test_progress_grows_to_its_total(llama: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    prune(llama, tmp_path / "out", WIDTHS, progress=lambda done, total: seen.append((done, total)))
    assert len({total for _, total in seen}) == 1
    assert all(a[0] <= b[0] for a, b in pairwise(seen))
    assert seen[-1][0] == seen[-1][1]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_bad_weight_is_refused_with_its_layer_and_row(bad: float, llama: Path, tmp_path: Path) -> None:
    name = "model.layers.1.mlp.up_proj.weight"
    tiny.rewrite(llama, lambda tensors: tensors[name].__setitem__((23, 5), bad))
    with pytest.raises(PruneError, match=rf"{name}: row 23 holds (NaN|infinity)"):
        prune(llama, tmp_path / "out", WIDTHS)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("factor", "message"),
    [
        (1e30, "pon score of row 0 overflows float32; use --criterion maw"),
        (1e38, "row [0-9]+ is too large for the pon criterion"),
    ],
)
def test_a_score_that_overflows_is_not_called_damage(factor: float, message: str, tmp_path: Path) -> None:
    def enlarge(tensors: dict[str, torch.Tensor]) -> None:
        for part in ("gate", "up"):
            tensors[f"model.layers.0.mlp.{part}_proj.weight"] *= factor

    source = tiny.make_checkpoint("llama", tmp_path / "source", torch.float32)
    tiny.rewrite(source, enlarge)
    with pytest.raises(PruneError, match=message):
        prune(source, tmp_path / "out", WIDTHS, criterion="pon")
    assert prune(source, tmp_path / "out", WIDTHS)


def test_a_source_that_changes_meanwhile_is_refused(llama: Path, tmp_path: Path) -> None:
    def touch(done: int, total: int) -> None:
        os.utime(llama / "model.safetensors", ns=(done, done))

    with pytest.raises(PruneError, match=r"model\.safetensors: changed while it was being read"):
        prune(llama, tmp_path / "out", WIDTHS, progress=touch)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"targets": []}, "at least one of --expansion-ratio"),
        ({"criterion": "best"}, "--criterion best: must be one of maw, vow"),
        ({"tie_break": "coin"}, "--tie-break coin: must be one of stable, torch"),
        ({"criterion": "random", "seed": -1}, "--seed -1"),
        ({"multiple_of": 0}, "--multiple-of 0"),
        ({"tensor_parallel": 0}, "--tensor-parallel 0"),
        ({"tensor_parallel": 2}, "gives intermediate_size 17, which 2 GPUs cannot share; use --multiple-of 2"),
    ],
)
def test_arguments_that_make_no_sense_are_refused_by_their_flag(arguments, message: str, llama, tmp_path) -> None:
    with pytest.raises(PruneError, match=message):
        prune(llama, tmp_path / "out", **{"targets": [Target("width", 17)]} | arguments)
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_of_several_widths_requires_a_percentage(tmp_path: Path) -> None:
    source = tiny.make_checkpoint("qwen2-moe", tmp_path / "source")
    with pytest.raises(
        PruneError, match=r"--expansion-ratio 1: this checkpoint has several widths .*use --pruning-perc"
    ):
        prune(source, tmp_path / "out", [Target("ratio", 1)])


def test_two_targets_that_would_share_a_folder_are_refused(tmp_path: Path) -> None:
    source = tiny.make_checkpoint("qwen2-moe", tmp_path / "source")  # widths 24 and 48
    with pytest.raises(PruneError, match="same main width 23 but other widths"):
        prune(source, tmp_path / "out", [Target("percentage", 4.2), Target("percentage", 6.3)])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(width=st.integers(1, 40), tie_break=st.sampled_from(["stable", "torch"]), multiple=st.sampled_from([1, 1, 8]))
def test_any_width_gives_a_checkpoint_that_inspects_as_announced(
    width, tie_break, multiple, llama, tmp_path_factory
) -> None:
    target = Target("width", width)
    (row,) = inspect_checkpoint(llama, [target], multiple_of=multiple).targets
    out = tmp_path_factory.mktemp("any")
    (one,) = prune(llama, out, [target], tie_break=tie_break, multiple_of=multiple)
    found = inspect_checkpoint(one.folder, [])
    assert (found.width, found.parameters, found.bytes) == (row.width, row.parameters, row.bytes)
    assert one.width == row.width


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_source_never_leaves_a_target(data, llama: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    content = bytearray((llama / "model.safetensors").read_bytes())
    header_end = 8 + int.from_bytes(content[:8], "little")
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, header_end - 1))] ^= data.draw(st.integers(1, 255))
    folder = tmp_path_factory.mktemp("damaged")
    (folder / "source").mkdir()
    (folder / "source/config.json").write_bytes((llama / "config.json").read_bytes())
    (folder / "source/model.safetensors").write_bytes(content)
    try:
        prune(folder / "source", folder / "out", [Target("width", 17)])
    except PruneError:
        assert not (folder / "out").exists()
