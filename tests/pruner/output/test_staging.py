"""All or nothing: kills, failures, other writers, and folders that are already there."""

from __future__ import annotations

import fcntl
import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pruner.checkpoint.folder import MANIFEST_NAME
from pruner.errors import PruneError
from pruner.output.manifest import Manifest
from pruner.output.staging import locked
from pruner.prune import prune
from pruner.scoring.targets import Target
from tests.pruner import tiny

TARGETS = [Target("width", 17), Target("width", 8)]
_KILLED = """
import os, signal, sys
from pathlib import Path
from pruner.prune import prune
from pruner.scoring.targets import Target
where, left = sys.argv[3], int(sys.argv[4])
def die_in_time(function):
    def called(*arguments):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments)
    return called
if where == "fsync":
    os.fsync = die_in_time(os.fsync)
if where == "rename":
    Path.rename = die_in_time(Path.rename)
progress = die_in_time(lambda done, total: None) if where == "progress" else None
prune(Path(sys.argv[1]), Path(sys.argv[2]), [Target("width", 17), Target("width", 8)], progress=progress)
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def stamps(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def assert_whole(folder: Path) -> None:
    manifest = Manifest.model_validate_json((folder / MANIFEST_NAME).read_bytes())
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    del found[MANIFEST_NAME]
    assert found == {record.name: record.sha256 for record in manifest.output_files}


@pytest.mark.parametrize(
    ("where", "calls"),
    [
        *(("progress", calls) for calls in (0, 3, 20, 40)),  # scoring, writing, verifying
        *(("fsync", calls) for calls in (0, 2, 9, 12)),  # of files, of folders
        *(("rename", calls) for calls in (0, 1)),  # between the two as well
    ],
)
def test_a_run_killed_at_any_moment_leaves_whole_folders_or_partial_ones_that_the_next_one_clears(
    where: str, calls: int, llama: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    killed = subprocess.run([sys.executable, "-c", _KILLED, llama, out, where, str(calls)], check=False)
    assert killed.returncode == -signal.SIGKILL
    finished = [name for name in names(out) if not name.endswith(".partial")]
    assert finished == (["width-17"] if (where, calls) in {("rename", 1), ("fsync", 12)} else [])
    for name in finished:
        assert_whole(out / name)
    prune(llama, out, TARGETS)
    assert names(out) == ["width-17", "width-8"]
    assert_whole(out / "width-17")
    assert_whole(out / "width-8")


def test_a_run_that_is_stopped_leaves_nothing(llama: Path, tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prune(llama, tmp_path / "out", TARGETS, progress=stop)
    assert not (tmp_path / "out").exists()


def test_folders_that_only_look_like_ours_are_left_alone(llama: Path, tmp_path: Path) -> None:
    (tmp_path / "out" / "my.partial").mkdir(parents=True)
    (tmp_path / "out" / "width-9.partial").write_text("a file")
    prune(llama, tmp_path / "out", TARGETS)
    assert names(tmp_path / "out") == ["my.partial", "width-17", "width-8", "width-9.partial"]


def test_the_very_same_prune_is_kept_and_only_what_is_missing_is_written(llama: Path, tmp_path: Path) -> None:
    (first,) = prune(llama, tmp_path / "out", [Target("width", 17)])
    before = stamps(first.folder)
    again, new = prune(llama, tmp_path / "out", TARGETS)
    assert stamps(again.folder) == before
    assert again == first
    assert new.width == 8


@pytest.mark.parametrize("how", [{"criterion": "vow"}, {"tie_break": "torch"}, {"criterion": "random", "seed": 5}])
def test_a_folder_pruned_with_other_settings_is_not_overwritten(how, llama: Path, tmp_path: Path) -> None:
    (first,) = prune(llama, tmp_path / "out", [Target("width", 17)])
    before = stamps(first.folder)
    with pytest.raises(
        PruneError, match=r"width-17: is already there and was pruned with other settings \(maw, width 17\)"
    ):
        prune(llama, tmp_path / "out", TARGETS, **how)
    assert stamps(first.folder) == before
    assert names(tmp_path / "out") == ["width-17"]


def test_a_folder_pruned_from_another_source_is_not_taken_for_this_one(llama: Path, tmp_path: Path) -> None:
    prune(llama, tmp_path / "out", [Target("width", 17)])
    tiny.rewrite(llama, lambda tensors: tensors["model.norm.weight"].add_(1))
    with pytest.raises(PruneError, match="width-17: was pruned from another source"):
        prune(llama, tmp_path / "out", TARGETS)
    assert names(tmp_path / "out") == ["width-17"]


@pytest.mark.parametrize("harm", [Path.unlink, lambda path: os.truncate(path, 100)])
def test_a_finished_folder_with_a_file_gone_or_cut_is_not_taken_for_whole(harm, llama: Path, tmp_path: Path) -> None:
    (first,) = prune(llama, tmp_path / "out", [Target("width", 17)])
    harm(first.folder / "model.safetensors")
    with pytest.raises(PruneError, match=r"its model\.safetensors is missing or altered"):
        prune(llama, tmp_path / "out", [Target("width", 17)])


def test_a_folder_without_a_manifest_is_not_overwritten(llama: Path, tmp_path: Path) -> None:
    (tmp_path / "out" / "width-17").mkdir(parents=True)
    with pytest.raises(PruneError, match=r"no readable pruning\.json; remove it"):
        prune(llama, tmp_path / "out", TARGETS)


@pytest.mark.parametrize("inside", ["", "sub", "sub/sub"])
def test_the_source_is_never_written_to(inside: str, llama: Path) -> None:
    before = names(llama)
    with pytest.raises(PruneError, match="lies in the source checkpoint"):
        prune(llama, llama / inside, TARGETS)
    assert names(llama) == before


def test_a_link_to_the_source_is_seen_through(llama: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(llama)
    with pytest.raises(PruneError, match="lies in the source checkpoint"):
        prune(llama, tmp_path / "link", TARGETS)


def test_a_source_may_lie_beside_its_targets(llama: Path) -> None:
    (one,) = prune(llama, llama.parent, [Target("width", 17)])
    assert one.folder == llama.parent / "width-17"


def test_two_writers_do_not_share_a_folder(llama: Path, tmp_path: Path) -> None:
    with locked(tmp_path / "out"), pytest.raises(PruneError, match="another prune is writing there"):
        prune(llama, tmp_path / "out", TARGETS)
    prune(llama, tmp_path / "out", TARGETS)


def test_the_claim_leaves_no_file_and_no_lock(llama: Path, tmp_path: Path) -> None:
    prune(llama, tmp_path / "out", TARGETS)
    assert names(tmp_path / "out") == ["width-17", "width-8"]
    descriptor = os.open(tmp_path / "out", os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(descriptor)


def test_every_file_and_folder_is_on_the_disk_before_it_gets_its_name(llama: Path, tmp_path: Path, monkeypatch) -> None:
    synced: dict[int, str] = {}  # inode -> what it was called then
    sync = os.fsync
    monkeypatch.setattr(
        os,
        "fsync",
        lambda fd: synced.update({os.fstat(fd).st_ino: str(Path(f"/proc/self/fd/{fd}").readlink())}) or sync(fd),
    )
    (one,) = prune(llama, tmp_path / "out", [Target("width", 17)])
    for path in (one.folder, *one.folder.iterdir()):
        assert "width-17.partial" in synced[path.stat().st_ino]


def test_a_full_disk_is_seen_before_anything_is_written(llama: Path, tmp_path: Path, monkeypatch) -> None:
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("pruner.output.staging.shutil.disk_usage", lambda place: usage)
    with pytest.raises(PruneError, match=r"[0-9,]{5,} bytes are needed, 1,000 are free"):
        prune(llama, tmp_path / "out", TARGETS)
    assert not (tmp_path / "out").exists()


def test_an_output_that_cannot_be_made_is_one_line(llama: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PruneError, match=r"file.*: (Not a directory|File exists)"):
        prune(llama, tmp_path / "file" / "out", TARGETS)
