"""What a machine without network lacks comes from the wheels that were carried, and only that."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from benchmarks.gpu_day import preparing
from benchmarks.gpu_day.carry import carried
from benchmarks.gpu_day.preparing import CARRIED, with_wheels
from tests.project.test_packaging import PYPROJECT, ROOT


def wheel(folder: Path, name: str, tag: str = "py3-none-any") -> str:
    file = f"{name}-1.0-{tag}.whl"
    with zipfile.ZipFile(folder / file, "w") as archive:
        archive.writestr(f"{name}/__init__.py", "here = True\n")
        archive.writestr(f"{name}-1.0.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(f"{name}-1.0.dist-info/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n")
        archive.writestr(f"{name}-1.0.dist-info/RECORD", "")
    return file


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    folder = tmp_path / "wheels"
    folder.mkdir()
    return folder


def carry(wheels: Path, **needs: tuple[str, str]) -> None:
    packages = {name: {"file": file, "needs": specifier} for name, (file, specifier) in needs.items()}
    (wheels / CARRIED).write_text(json.dumps({"revision": "abc", "packages": packages}))


def can_import(name: str, environment: dict[str, str]) -> bool:
    words = [sys.executable, "-P", "-c", f"import {name}; assert {name}.here"]
    return subprocess.run(words, env=environment, capture_output=True, check=False).returncode == 0


def test_only_what_is_missing_or_of_a_wrong_version_is_unpacked(tmp_path, wheels):
    carry(
        wheels,
        gpu_day_missing=(wheel(wheels, "gpu_day_missing"), ""),
        pydantic=(wheel(wheels, "pydantic"), ">=2"),
        psutil=(wheel(wheels, "psutil"), ">=9999"),
    )
    environment, notes = with_wheels(tmp_path, wheels, os.environ)
    assert notes[0] == "carried at revision abc"
    assert notes[1:] == ["unpacked gpu_day_missing-1.0-py3-none-any.whl", "unpacked psutil-1.0-py3-none-any.whl"]
    assert [can_import(name, environment) for name in ("gpu_day_missing", "psutil", "pydantic")] == [True, True, False]


def test_a_wheel_for_another_python_costs_only_itself(tmp_path, wheels):
    other = wheel(wheels, "gpu_day_other", "cp27-cp27m-win32")
    carry(wheels, gpu_day_other=(other, ""), gpu_day_missing=(wheel(wheels, "gpu_day_missing"), ""))
    environment, notes = with_wheels(tmp_path, wheels, os.environ)
    assert can_import("gpu_day_missing", environment)
    assert notes[1].startswith(f"not unpacked: {other}: ERROR")
    assert notes[2:] == ["unpacked gpu_day_missing-1.0-py3-none-any.whl"]


def test_without_carried_wheels_nothing_is_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(preparing, "WHEEL_FOLDERS", (tmp_path / "wheels",))
    environment, notes = with_wheels(tmp_path, None, {"HOME": "/root"})
    assert (notes, environment["HOME"]) == ([], "/root")
    assert environment["PYTHONPATH"].startswith(f"{ROOT}{os.pathsep}")


def test_a_tree_that_is_not_installed_has_its_version_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(preparing, "WHEEL_FOLDERS", ())
    monkeypatch.setattr(preparing, "_is_there", lambda *_: False)
    environment, _ = with_wheels(tmp_path, None, os.environ)
    words = [
        sys.executable,
        "-P",
        "-S",
        "-c",
        "import prunebench; print(prunebench.__version__)",
    ]  # -S: as not installed
    printed = subprocess.run(words, env=environment, capture_output=True, text=True, check=True).stdout
    assert printed.strip() == PYPROJECT["project"]["version"]


def test_everything_that_prunebench_needs_is_carried_at_the_locks_version_or_is_there_with_transformers():
    found = carried()
    there = {"huggingface-hub", "numpy", "tokenizers"}
    needed = {re.split(r"[<>=]", line)[0] for line in PYPROJECT["project"]["dependencies"]}
    assert needed - there <= found.keys()
    pinned = {line.partition("==")[0] for line in (ROOT / "requirements" / "lock.txt").read_text().splitlines()}
    assert found.keys() <= pinned
    assert not {"torch", "transformers", *there} & found.keys()
