"""`prunebench doctor`: what this machine can serve and measure, what is missing, and how to get it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from energy.machine import MachineEnergy, describe_machine
from prunebench.commands.options import Json
from prunebench.run.environment import describe_environment
from prunebench.terminal.command_help import examples
from prunebench.terminal.console import out, print_line
from server.engines.entry import EngineEntry
from server.engines.registry import engines


@examples(
    ("For people", "prunebench doctor"),
    ("For scripts", "prunebench doctor --json"),
)
def doctor(as_json: Json = False) -> None:
    """Print the findings. The exit status is 0 whatever they are."""
    environment, metering = describe_environment(), describe_machine()
    found = {entry.name: _engine(entry) for entry in engines() if entry.packages}
    free = shutil.disk_usage(Path.cwd()).free
    if as_json:
        findings = {
            "environment": environment,
            "engines": found,
            "energy": metering.model_dump(mode="json"),
            "disk_free_bytes": free,
        }
        out.print_json(json.dumps(findings))
        return
    for line in [*_machine(environment, free), *_serving(found), *_energy(metering)]:
        print_line(line)


def _engine(entry: EngineEntry) -> dict[str, str | None]:
    """Version, or None; and how to get what is missing."""
    if not entry.installed():
        return {"version": None, "remedy": entry.remedy}
    return {"version": entry.version(), "remedy": entry.missing_library()}


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


def _serving(found: dict[str, dict[str, str | None]]) -> list[str]:
    lines = ["", "engines"]
    for entry in engines():
        state = found.get(entry.name, {"version": "", "remedy": None})  # without packages: part of prunebench
        what = f"{entry.name} {state['version']}".rstrip() if state["version"] is not None else f"{entry.name}: missing"
        lines.append(f"  {what}; {state['remedy']}" if state["remedy"] else f"  {what} ({entry.summary})")
    return lines


def _energy(metering: MachineEnergy) -> list[str]:
    return ["", "energy", *(f"  {line}" for line in metering.lines())]
