"""The two wheels that `make wheel` builds, and the demo from what they hold, away from the clone."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from prunebench.experiment.file import ExperimentError
from prunebench.experiment.shipped import find_experiment
from tests.project.test_packaging import PYPROJECT, ROOT
from tests.support.captured import captured

ROOMS = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]


@pytest.fixture(scope="module")
def wheels(tmp_path_factory) -> dict[str, Path]:
    """Both, by name, unpacked: as an installation has them."""
    folder = tmp_path_factory.mktemp("wheels")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet", "--no-deps"]
    subprocess.run([*pip, "--wheel-dir", folder, ROOT, ROOT / "examples"], check=True, timeout=600)
    unpacked = {}
    for file in folder.glob("*.whl"):
        unpacked[file.name.partition("-")[0]] = folder / file.stem
        zipfile.ZipFile(file).extractall(folder / file.stem)
    return unpacked


def files_of(wheel: Path) -> set[str]:
    return {
        f"{file.relative_to(wheel)}" for file in wheel.rglob("*") if file.is_file() and ".dist-info" not in str(file)
    }


@pytest.mark.slow
def test_prunebenchs_wheel_has_every_file_of_its_rooms_and_nothing_else(wheels):
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *ROOMS],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert files_of(wheels["prunebench"]) == set(listed.stdout.splitlines())
    assert sum(file.stat().st_size for file in wheels["prunebench"].rglob("*") if file.is_file()) < 5_000_000
    (entry_points,) = wheels["prunebench"].glob("*.dist-info/entry_points.txt")
    assert "prunebench = prunebench.cli:main" in entry_points.read_text()


@pytest.mark.slow
def test_the_demos_wheel_has_the_checkpoint_and_the_experiments_that_use_it(wheels):
    held = files_of(wheels["prunebench_demo"])
    experiments = [file for file in (ROOT / "experiments").glob("*.toml") if "examples/tinyglu" in file.read_text()]
    assert {f"prunebench_demo/experiments/{file.name}" for file in experiments} <= held
    checkpoint = {f"prunebench_demo/examples/tinyglu/{file.name}" for file in (ROOT / "examples" / "tinyglu").iterdir()}
    assert checkpoint <= held
    assert len(held) == len(experiments) + len(checkpoint)


@pytest.mark.slow
@pytest.mark.parametrize("both", [True, False])
def test_the_demo_is_found_in_an_empty_folder_and_without_its_wheel_the_error_says_which(wheels, tmp_path, both):
    places = [wheels["prunebench"], *[wheels["prunebench_demo"]] * both]
    done = captured(
        [sys.executable, "-P", "-m", "prunebench", "run", "demo", "--dry-run"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, places))},
        timeout=300,
    )
    if both:
        assert done.returncode == 0, done.stderr
        assert "width-410" in done.stdout
    else:
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert "the demo's wheel is not installed" in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_file_of_that_name_comes_first_and_other_names_are_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_experiment(Path("demo")) == ROOT / "experiments" / "demo.toml"
    assert find_experiment(Path("demo.toml")) == Path("demo.toml")
    assert find_experiment(Path("sub/demo")) == Path("sub/demo")
    assert find_experiment(Path("mine")) == Path("mine")
    Path("demo").touch()
    assert find_experiment(Path("demo")) == Path("demo")
    monkeypatch.setattr("prunebench.experiment.shipped._places", lambda: iter(()))
    with pytest.raises(ExperimentError, match="EXPERIMENT quick: no such file here, and the demo's wheel"):
        find_experiment(Path("quick"))
