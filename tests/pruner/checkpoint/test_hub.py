"""Sources on the hub: a real huggingface_hub against a small server on the loopback, and against none at all."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from pruner.checkpoint.folder import open_checkpoint
from pruner.checkpoint.hub import find_source, source_headers
from pruner.errors import PruneError
from pruner.inspection import inspect_checkpoint
from pruner.prune import prune
from pruner.scoring.targets import Target
from tests.pruner import tiny
from tests.pruner.checkpoint.hub_server import COMMIT, Hub

_FIND = """
import sys
from pruner.checkpoint.hub import find_source
from pruner.errors import PruneError
try:
    print(find_source(*sys.argv[1:]))
except PruneError as error:
    print("PruneError", error)
"""
_INSPECT = """
import sys
from pruner.checkpoint.hub import source_headers
from pruner.inspection import inspect_checkpoint
from pruner.scoring.targets import Target
with source_headers(*sys.argv[1:]) as folder:
    print(inspect_checkpoint(folder, [Target("width", 17)]).model_dump_json())
"""


def test_a_model_on_the_hub_is_downloaded_and_pruned_with_its_id_and_commit(
    hub: Hub, ask, llama: Path, tmp_path: Path
) -> None:
    hub.models["some-org/Tiny-1B"] = llama
    folder = Path(ask(_FIND, "some-org/Tiny-1B"))
    assert any(path.is_symlink() for path in folder.iterdir())  # the cache's own layout
    (one,) = prune(folder, tmp_path / "out", [Target("width", 17)])
    (same,) = prune(llama, tmp_path / "same", [Target("width", 17)])
    assert (one.manifest.source_id, one.manifest.source_revision) == ("some-org/Tiny-1B", COMMIT)
    assert (one.folder / "model.safetensors").read_bytes() == (same.folder / "model.safetensors").read_bytes()
    assert not any(path.is_symlink() for path in one.folder.rglob("*"))


def test_weights_in_other_formats_stay_where_they_are(hub: Hub, ask, llama: Path) -> None:
    hub.models["some-org/Tiny-1B"] = llama
    other = [
        "pytorch_model.bin",
        "consolidated.safetensors",
        "model.gguf",
        "original/consolidated.00.pth",
        "onnx/a.onnx",
    ]
    for name in [*other, "tokenizer.json", "extra/template.jinja"]:
        (llama / name).parent.mkdir(exist_ok=True)
        (llama / name).write_text("x")
    folder = Path(ask(_FIND, "some-org/Tiny-1B"))
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert found == {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "extra/template.jinja",
    }


def test_what_an_earlier_download_left_will_do_without_a_network(hub: Hub, ask, llama: Path) -> None:
    hub.models["some-org/Tiny-1B"] = llama
    folder = ask(_FIND, "some-org/Tiny-1B")
    for nothing in ({"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9"}):
        assert ask(_FIND, "some-org/Tiny-1B", **nothing) == folder
        assert json.loads(ask(_INSPECT, "some-org/Tiny-1B", **nothing))["width"] == 40


def test_a_commit_of_the_model_may_be_asked_for(hub: Hub, ask, llama: Path) -> None:
    hub.models["some-org/Tiny-1B"] = llama
    assert Path(ask(_FIND, "some-org/Tiny-1B", COMMIT)).name == COMMIT


@pytest.mark.parametrize(
    ("words", "environment", "message"),
    [
        (["org/none"], {}, "the hub shows no org/none; check the name"),
        (["org/tiny", "v9"], {}, "the hub's org/tiny has no --revision v9"),
        (
            ["org/gated"],
            {},
            "access is restricted; accept the terms at http://.*/org/gated and log in with `hf auth login`",
        ),
        (["org/broken"], {}, "the hub answers 500; try again later"),
        (["org/tiny--x"], {}, "Cannot have -- or"),
        (["org/tiny"], {"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE is set and the model is not in the cache; unset it"),
        (
            ["org/tiny"],
            {"HF_ENDPOINT": "http://127.0.0.1:9"},
            r"no answer from http://127.0.0.1:9 \(ConnectError\); check",
        ),
    ],
)
def test_what_keeps_a_model_on_the_hub_is_one_line(
    words, environment, message: str, hub: Hub, ask, llama: Path
) -> None:
    hub.models["org/tiny"] = llama
    hub.refuse |= {"org/gated": (403, "GatedRepo"), "org/broken": (500, "")}
    answer = ask(_FIND, *words, **environment)
    assert re.fullmatch(f"PruneError SOURCE {words[0]}: no such folder here: {message}.*", answer)


@pytest.mark.parametrize("sharded", [False, True])
def test_inspection_fetches_headers_only(sharded: bool, hub: Hub, ask, tmp_path: Path) -> None:
    folder = tiny.make_checkpoint("llama", tmp_path / "source", vocab_size=60_000)  # 2 x 1.9 MB of embeddings
    if sharded:
        names = sorted(tiny.tensors_of(folder))
        tiny.reshard(folder, [names[::2], names[1::2]])
    hub.models["some-org/Tiny-1B"] = folder
    found = ask(_INSPECT, "some-org/Tiny-1B")
    assert found == inspect_checkpoint(folder, [Target("width", 17)]).model_dump_json()
    assert hub.sent_bytes < 700_000 < json.loads(found)["bytes"] / 5


def test_a_local_folder_comes_before_the_hub(llama: Path, monkeypatch) -> None:
    monkeypatch.chdir(llama.parent.parent)
    name = f"{llama.parent.name}/source"
    assert find_source(name) == Path(name)
    with source_headers(name) as folder:
        assert folder == Path(name)


def test_a_name_that_is_no_hub_id_is_taken_for_a_folder(tmp_path: Path) -> None:
    for name in ("nowhere", "./org/name", "../org/name", "a/b/c", str(tmp_path / "none")):
        with pytest.raises(PruneError, match="no such checkpoint folder"):
            open_checkpoint(find_source(name))


def test_only_models_on_the_hub_have_revisions(llama: Path) -> None:
    with pytest.raises(PruneError, match=r"--revision main: .*source is not a model on the hub"):
        find_source(str(llama), "main")
