"""Before the first stage: what is missing comes from the wheels that were carried, and a probe says what the day can do.

Only the standard library, and pip where wheels are unpacked.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
CARRIED = "carried.json"  # beside the wheels: {"revision": …, "packages": {name: {"file": wheel, "needs": specifier}}}
WHEEL_FOLDERS = (ROOT / "wheels", ROOT / "dist" / "gpu-day" / "wheels")  # of a carried tree, of a clone that carries
_STAND_IN = ROOT / "tests" / "energy" / "known_power" / "fake_nvml.c"
_GPU = {"uuid": "GPU-0000-rehearsal", "name": "Stand-in", "watts": 100, "refresh": 0.1, "sensor": 0.02, "filter": 1}
_PROBE_S = 120.0


def with_wheels(scratch: Path, wheels: Path | None, environment: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """The environment of the stages, and notes of what was unpacked: each carried package that is missing or of a wrong version.

    wheels: their folder; None: that of the tree, if there is one.
    """
    site = scratch / "site"
    path = os.pathsep.join([f"{ROOT}", f"{site}"])
    made = {**environment, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", "TOKENIZERS_PARALLELISM": "false"}
    if not _is_there("prunebench", ""):
        _announce_tree(site)
    folder = wheels or next((one for one in WHEEL_FOLDERS if (one / CARRIED).exists()), None)
    if folder is None:
        return made, []
    carried = json.loads((folder / CARRIED).read_text())
    notes = [f"carried at revision {carried['revision']}"]
    wanted = {name: one["file"] for name, one in carried["packages"].items() if not _is_there(name, one["needs"])}
    if not wanted:
        return made, notes
    options = ["--no-index", "--no-deps", "--no-compile", "--upgrade", "--quiet", "--target", f"{site}"]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", *options]
    for group in ([*wanted], *([name] for name in wanted)):  # one by one, once all together have failed
        done = subprocess.run(
            [*pip, *(f"{folder / wanted[name]}" for name in group)], capture_output=True, text=True, check=False
        )
        if done.returncode == 0:
            notes += [f"unpacked {wanted[name]}" for name in group]
        elif len(group) == 1:
            notes.append(f"not unpacked: {wanted[group[0]]}: {_last_line(done.stderr)}")
        if done.returncode == 0 and len(group) == len(wanted):
            break
    return made, notes


def with_stand_in(scratch: Path, environment: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """The environment with a stand-in for NVML, as a rehearsal has; without one where there is no compiler."""
    compiler = shutil.which("gcc")
    if compiler is None:
        return dict(environment), ["no stand-in for NVML: there is no gcc"]
    folder = scratch / "nvml"
    folder.mkdir(parents=True, exist_ok=True)
    library, settings = folder / "libnvidia-ml.so.1", folder / "gpus.txt"
    subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-pthread", _STAND_IN, "-o", library, "-lm"], check=True)
    settings.write_text("-1 gpus 1\n" + "".join(f"0 {key} {value}\n" for key, value in _GPU.items()))
    paths = [f"{folder}", *filter(None, [environment.get("LD_LIBRARY_PATH")])]
    return {**environment, "LD_LIBRARY_PATH": os.pathsep.join(paths), "FAKE_NVML": f"{settings}"}, []


def probe(needs: Sequence[str], environment: Mapping[str, str]) -> dict[str, Any]:
    """What is there and what is missing, of a process of its own. `missing` has a reason or None for each of `needs`."""
    command = [sys.executable, "-P", "-m", "benchmarks.gpu_day.probe", *needs]
    try:
        done = subprocess.run(
            command, env=dict(environment), capture_output=True, text=True, timeout=_PROBE_S, check=False
        )
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except subprocess.TimeoutExpired:
        return {"missing": dict.fromkeys(needs, f"the probe took more than {_PROBE_S:.0f} s")}
    except (ValueError, IndexError):
        return {"missing": dict.fromkeys(needs, f"the probe failed: {_last_line(done.stderr)}")}
    return found


def _announce_tree(site: Path) -> None:
    """Give the tree the metadata of an installed package: prunebench states its version by it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    folder = site / f"prunebench-{project['version']}.dist-info"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: prunebench\nVersion: {project['version']}\n")


def _is_there(name: str, needs: str) -> bool:
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    try:
        from packaging.specifiers import SpecifierSet
    except ImportError:
        return True
    return SpecifierSet(needs).contains(version, prereleases=True)


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "no word"
