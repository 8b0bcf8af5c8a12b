"""Bring together what a day on a machine without network needs, in one folder: this tree, and the wheels that a Python with torch
and transformers lacks, at the versions of the lock.

    .venv/bin/python -P -m benchmarks.gpu_day.carry --output dist/gpu-day
    rsync -a dist/gpu-day MACHINE:  and there  gpu-day/deployment/gpu-day/run.sh --minutes 9 --output results

Where wheels and tree go separately, `dist/gpu-day/wheels` is found in a clone, too.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

from benchmarks.gpu_day.preparing import CARRIED, ROOT

LIMIT_BYTES = 60 * 2**20
_THERE = frozenset({"hf-xet", "huggingface-hub", "numpy", "safetensors", "tokenizers", "torch", "transformers"})
_GLIBC = (39, 35, 34, 31, 28, 27, 26, 24, 17, 12, 5)  # pip takes each tag as it is, not as at least that


def main() -> None:
    """Write the folder, and print its size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=ROOT / "dist" / "gpu-day", help="replaced as a whole")
    parser.add_argument("--python", default="3.12", metavar="X.Y", help="of the machine with the GPU")
    parser.add_argument("--machine", default="x86_64", help="its processor")
    options = parser.parse_args()
    output: Path = options.output
    shutil.rmtree(output, ignore_errors=True)
    wheels = output / "wheels"
    wheels.mkdir(parents=True)
    packages = _download(carried(), wheels, options.python, options.machine)
    revision = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    record = {"revision": revision.strip(), "python": options.python, "packages": packages}
    (wheels / CARRIED).write_text(json.dumps(record, indent=1) + "\n")
    _copy_tree(output)
    sizes = {"tree": _size(output) - _size(wheels), "wheels": _size(wheels)}
    for file in sorted(wheels.glob("*.whl"), key=_size, reverse=True):
        print(f"{_size(file) / 2**20:7.2f} MiB  {file.name}")
    total = sum(sizes.values())
    print(f"{output}: {total / 2**20:.1f} MiB, " + ", ".join(f"{k} {v / 2**20:.1f}" for k, v in sizes.items()))
    if total > LIMIT_BYTES:
        raise SystemExit(f"more than {LIMIT_BYTES / 2**20:.0f} MiB")


def carried() -> dict[str, str]:
    """Package → the versions that will do, of all that prunebench needs and a Python with transformers does not have anyway."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found: dict[str, str] = {}
    for line in project["dependencies"]:  # without the charts of reports, for which there is no room
        _collect(Requirement(line), found)
    return dict(sorted(found.items()))


def _collect(requirement: Requirement, found: dict[str, str]) -> None:
    """The requirement, and those of the package as it is installed here, into `found`."""
    name = canonicalize_name(requirement.name)
    if name in _THERE:
        return
    is_new = name not in found
    found[name] = ",".join(filter(None, dict.fromkeys([found.get(name, ""), f"{requirement.specifier}"])))
    for line in metadata.requires(name) or [] if is_new else []:
        needed = Requirement(line)
        if needed.marker is None or needed.marker.evaluate({"extra": ""}):
            _collect(needed, found)


def _download(needs: dict[str, str], wheels: Path, python: str, machine: str) -> dict[str, dict[str, str]]:
    """The wheels at the versions of the lock, into the folder; `carried.json`'s packages."""
    pins = dict(
        line.split("==") for line in (ROOT / "requirements" / "lock.txt").read_text().splitlines() if "==" in line
    )
    platforms = [f"--platform=manylinux_2_{minor}_{machine}" for minor in _GLIBC]
    platforms += [f"--platform=manylinux{year}_{machine}" for year in (2014, 2010, 1)]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
    pip += ["--only-binary=:all:", "--implementation=cp", f"--python-version={python}", *platforms]
    subprocess.run([*pip, "--dest", wheels, *(f"{name}=={pins[name]}" for name in needs)], check=True)
    files = {parse_wheel_filename(file.name)[0]: file.name for file in wheels.glob("*.whl")}
    return {name: {"file": files[canonicalize_name(name)], "needs": specifier} for name, specifier in needs.items()}


def _copy_tree(output: Path) -> None:
    """Every file of the repository, as it is here."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (output / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, output / name)


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file())


if __name__ == "__main__":
    main()
