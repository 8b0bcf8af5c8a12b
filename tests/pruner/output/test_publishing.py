"""Uploads: a real huggingface_hub against a small server on the loopback, and against none at all."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pruner.errors import PruneError
from pruner.output.publishing import check_push
from tests.pruner.checkpoint.hub_server import Hub

_CHECK = """
import sys
from pruner.errors import PruneError
from pruner.output.publishing import check_push
try:
    print(check_push(sys.argv[1]))
except PruneError as error:
    print("PruneError", error)
"""
_PUSH = """
import sys
from pathlib import Path
from pruner.errors import PruneError
from pruner.output.publishing import push
from pruner.prune import prune
from pruner.scoring.targets import Target
pruned = prune(Path(sys.argv[1]), Path(sys.argv[2]), [Target("width", 17), Target("width", 8)])
started = []
try:
    print(push(pruned, sys.argv[3], started.append), started)
except PruneError as error:
    print("PruneError", error)
"""
SIGNED_IN = {"HF_TOKEN": "right"}


def test_every_width_gets_a_private_repository_with_every_file_of_its_folder(hub: Hub, ask, llama, tmp_path) -> None:
    answer = ask(_PUSH, llama, tmp_path / "out", "me/tiny", **SIGNED_IN)
    names = ["me/tiny-width-17", "me/tiny-width-8"]
    assert answer == f"{[f'{hub.url}/{name}' for name in names]} {names}"
    assert [(made["name"], made["visibility"]) for made in hub.created] == [
        ("tiny-width-17", "private"),
        ("tiny-width-8", "private"),
    ]
    for name in names:
        folder = tmp_path / "out" / name.removeprefix("me/tiny-")
        assert hub.committed[name] == {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        (SIGNED_IN, "None"),
        ({}, "PruneError --push me/tiny: log in with `hf auth login`, or set HF_TOKEN"),
        ({"HF_TOKEN": "wrong"}, "PruneError --push me/tiny: the hub answers 401; log in with .*"),
        (SIGNED_IN | {"HF_HUB_OFFLINE": "1"}, "PruneError --push me/tiny: HF_HUB_OFFLINE is set.*; unset it"),
        (
            SIGNED_IN | {"HF_ENDPOINT": "http://127.0.0.1:9"},
            r"PruneError --push me/tiny: no answer from .* \(ConnectError\).*",
        ),
    ],
)
def test_whether_a_push_could_work_is_known_beforehand_and_is_one_line(environment, message: str, ask) -> None:
    assert re.fullmatch(message, ask(_CHECK, "me/tiny", **environment))


def test_an_upload_that_fails_leaves_the_checkpoints_and_names_the_repository(ask, llama: Path, tmp_path: Path) -> None:
    answer = ask(_PUSH, llama, tmp_path / "out", "me/tiny", **SIGNED_IN, HF_ENDPOINT="http://127.0.0.1:9")
    assert answer.startswith(
        f"PruneError --push me/tiny-width-17: {tmp_path}/out/width-17 is finished but not uploaded: no "
    )
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["width-17", "width-8"]


@pytest.mark.parametrize("name", ["tiny", "me/", "/tiny", "me/my/tiny", "https://huggingface.co/me/tiny", "me/ti ny"])
def test_a_name_that_is_no_repository_is_refused_before_anybody_is_asked(name: str) -> None:
    with pytest.raises(PruneError, match=rf"--push {name}: must read OWNER/NAME"):
        check_push(name)
