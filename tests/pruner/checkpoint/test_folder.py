"""Reading a folder: checkpoints, the files copied with them, and folders refused before anything is written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from pruner.checkpoint.folder import open_checkpoint
from pruner.errors import PruneError
from tests.pruner import tiny

INDEX = "model.safetensors.index.json"


def halves(folder: Path) -> None:
    names = sorted(tiny.tensors_of(folder))
    tiny.reshard(folder, [names[::2], names[1::2]])


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(PruneError, match="nowhere: no such checkpoint folder"):
        open_checkpoint(tmp_path / "nowhere")


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff\xfe"])
def test_a_config_that_is_not_a_json_object_is_named(content: bytes, llama: Path) -> None:
    (llama / "config.json").write_bytes(content)
    with pytest.raises(PruneError, match=r"config\.json: not "):
        open_checkpoint(llama)


def test_a_missing_config_is_named(llama: Path) -> None:
    (llama / "config.json").unlink()
    with pytest.raises(PruneError, match=r"config\.json: missing"):
        open_checkpoint(llama)


def test_pickled_weights_alone_are_refused_with_the_way_out(llama: Path) -> None:
    (llama / "model.safetensors").rename(llama / "pytorch_model.bin")
    with pytest.raises(PruneError, match=r"only pytorch_model\.bin; save it as safetensors first"):
        open_checkpoint(llama)


def test_a_shard_that_the_index_names_must_be_there(llama: Path) -> None:
    halves(llama)
    (llama / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(PruneError, match=r"model-00002-of-00002\.safetensors: missing"):
        open_checkpoint(llama)


def test_an_index_that_points_outside_of_the_folder_is_refused(llama: Path) -> None:
    (llama / INDEX).write_text(json.dumps({"weight_map": {"a": "../other/model.safetensors"}}))
    with pytest.raises(PruneError, match="not the plain name"):
        open_checkpoint(llama)


@pytest.mark.parametrize("weight_map", [None, [], {"a": 1}])
def test_an_index_without_a_proper_weight_map_is_refused(weight_map, llama: Path) -> None:
    (llama / INDEX).write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(PruneError, match="weight_map"):
        open_checkpoint(llama)


def test_an_index_that_puts_a_tensor_into_the_wrong_file_is_refused(llama: Path) -> None:
    halves(llama)
    index = json.loads((llama / INDEX).read_text())
    files = sorted(set(index["weight_map"].values()))
    index["weight_map"]["model.norm.weight"] = next(f for f in files if f != index["weight_map"]["model.norm.weight"])
    (llama / INDEX).write_text(json.dumps(index))
    with pytest.raises(PruneError, match=r"model\.norm\.weight is not in"):
        open_checkpoint(llama)


def test_a_tensor_in_two_files_is_refused(llama: Path) -> None:
    halves(llama)
    shutil.copy(llama / "model-00001-of-00002.safetensors", llama / "model-00002-of-00002.safetensors")
    with pytest.raises(PruneError, match="is also in model-00001-of-00002"):
        open_checkpoint(llama)


def test_a_single_file_beside_an_index_that_does_not_name_it_is_refused(llama: Path) -> None:
    shutil.copytree(llama, llama.with_name("sharded"))
    halves(llama.with_name("sharded"))
    shutil.copy(llama / "model.safetensors", llama.with_name("sharded"))
    with pytest.raises(PruneError, match="contradict each other"):
        open_checkpoint(llama.with_name("sharded"))


def test_everything_but_weights_goes_along_wherever_it_lies(llama: Path) -> None:
    along = ["tokenizer.json", "chat_template.jinja", "modeling_own.py", "extra/templates/tool.jinja", "LICENSE"]
    stays = [
        "pytorch_model.bin",
        "pytorch_model.bin.index.json",
        "consolidated.safetensors",
        "params.json",
        "model.gguf",
        "original/consolidated.00.pth",
        "original/params.json",
        "onnx/model.onnx",
        ".cache/huggingface/x.json",
        ".gitattributes",
        "pruning.json",
    ]
    for name in along + stays:
        (llama / name).parent.mkdir(parents=True, exist_ok=True)
        (llama / name).write_text("x")
    companions = {path.as_posix() for path in open_checkpoint(llama).companions}
    assert companions == {*along, "generation_config.json"}


def test_a_link_to_nothing_is_named(llama: Path) -> None:
    (llama / "tokenizer.json").symlink_to(llama / "gone")
    with pytest.raises(PruneError, match=r"tokenizer\.json: a link to nothing"):
        open_checkpoint(llama)


def test_a_hub_snapshot_has_its_id_and_commit(llama: Path) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    snapshot = llama.parent / "models--meta-llama--Llama-3.2-1B" / "snapshots" / commit
    snapshot.parent.mkdir(parents=True)
    llama.rename(snapshot)
    assert open_checkpoint(snapshot).identity == ("meta-llama/Llama-3.2-1B", commit)


def test_a_download_to_a_folder_has_its_commit(llama: Path) -> None:
    notes = llama / ".cache/huggingface/download/config.json.metadata"
    notes.parent.mkdir(parents=True)
    notes.write_text("0123456789abcdef0123456789abcdef01234567\netag\n1700000000.0\n")
    assert open_checkpoint(llama).identity == ("source", "0123456789abcdef0123456789abcdef01234567")


def test_any_other_folder_has_its_name_and_no_commit(llama: Path) -> None:
    assert open_checkpoint(llama).identity == ("source", None)


@pytest.mark.parametrize("name", ["tokenizer.json", "README.md", "config.json", "model.safetensors", "notes/one.txt"])
def test_a_link_out_of_the_checkpoint_is_refused_for_any_file(name: str, llama: Path, tmp_path: Path) -> None:
    (llama / "notes").mkdir()
    outside, link = tmp_path / "secret", llama / name
    if link.exists():
        link.rename(outside)
    else:
        outside.write_text("secret")
    link.symlink_to(outside)
    with pytest.raises(PruneError, match=f"{name}: links to .*secret, outside the checkpoint"):
        open_checkpoint(llama)


def test_a_link_to_a_folder_is_refused(llama: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (llama / "assets").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PruneError, match="assets: a link to a folder"):
        open_checkpoint(llama)


def test_links_within_the_checkpoint_and_to_its_own_blobs_in_the_hubs_cache_are_copied(llama: Path) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    model = llama.parent / "models--some--Tiny"
    snapshot, blobs = model / "snapshots" / commit, model / "blobs"
    snapshot.parent.mkdir(parents=True)
    blobs.mkdir()
    llama.rename(snapshot)
    for number, file in enumerate(sorted(snapshot.iterdir())):
        file.rename(blobs / str(number))
        file.symlink_to(Path("../../blobs") / str(number))
    (snapshot / "same.json").symlink_to("config.json")
    assert Path("same.json") in open_checkpoint(snapshot).companions
    (model / "other").write_text("x")
    (snapshot / "out.txt").symlink_to(model / "other")
    with pytest.raises(PruneError, match="outside the checkpoint"):
        open_checkpoint(snapshot)
