"""`results.tar.gz` never grows over its limit, and names what it has no room for."""

from __future__ import annotations

import json
import random
import tarfile

import pytest

from benchmarks.gpu_day.archive import files_below, write_archive

LIMIT = 60_000


@pytest.mark.parametrize("seed", range(8))
def test_whatever_is_there_the_archive_fits_and_every_file_is_in_it_or_named(tmp_path, seed):
    draw = random.Random(seed)
    folder = tmp_path / "work"
    for number in range(draw.randrange(1, 60)):
        file = folder / draw.choice(["", "trials/one", "logs"]) / f"{number}.bin"
        file.parent.mkdir(parents=True, exist_ok=True)
        size = draw.choice([0, 100, 3_000, 20_000, 300_000])
        file.write_bytes(draw.randbytes(size) if draw.random() < 0.7 else b"x" * size)
    target = tmp_path / "results.tar.gz"
    left_out = write_archive(target, folder, lambda left: json.dumps([one.file for one in left]), LIMIT)
    assert target.stat().st_size <= LIMIT
    with tarfile.open(target) as archive:
        held = {member.name: archive.extractfile(member).read() for member in archive}
    assert next(iter(held)) == "stages.json"
    assert json.loads(held.pop("stages.json")) == [one.file for one in left_out]
    every = {f"{path.relative_to(folder)}": path.read_bytes() for path in files_below(folder)}
    assert held == {name: every[name] for name in held}
    assert {*held, *(one.file for one in left_out)} == every.keys()
    assert list(tmp_path.glob("*.partial")) == []


def test_checkpoints_are_no_results(tmp_path):
    for name in ("scratch/model/model.safetensors", "a/nvml.json"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("{}")
    assert [f"{path.relative_to(tmp_path)}" for path in files_below(tmp_path)] == ["a/nvml.json"]


def test_a_reader_has_the_last_archive_while_the_next_one_is_written(tmp_path):
    folder, target = tmp_path / "work", tmp_path / "results.tar.gz"
    folder.mkdir()
    write_archive(target, folder, lambda _: "1")

    def look(_: object) -> str:
        with tarfile.open(target) as archive:
            assert archive.extractfile("stages.json").read() == b"1"
        return "2"

    write_archive(target, folder, look)
    with tarfile.open(target) as archive:
        assert archive.extractfile("stages.json").read() == b"2"
