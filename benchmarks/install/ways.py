"""The ways to install a wheel of ours: each takes it and an empty folder, and gives the environment's folder and the command.

Only the standard library is imported, so that it runs on a machine that has nothing else.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from requirements.uv import uv_variables

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "requirements" / "lock.txt"
_UV_DEFAULTS = {"UV_INDEX_STRATEGY": "unsafe-best-match"}
_NOT_OURS = {"PYTHONPATH", "VIRTUAL_ENV", "PYTHONDONTWRITEBYTECODE"}

Words = list[str | Path]


def run(*words: str | Path, cwd: Path, **variables: str | Path) -> str:
    """Run a command that must succeed, with these variables; returns its output."""
    done = attempt(words, cwd, **variables)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, words))}: status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def attempt(words: Sequence[str | Path], cwd: Path, **variables: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command that may fail."""
    environment = {name: value for name, value in os.environ.items() if name not in _NOT_OURS}
    environment |= _uv_settings() | {name: str(value) for name, value in variables.items()}
    return subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


@cache
def _uv_settings() -> dict[str, str]:
    words = [sys.executable, "-m", "pip", "config", "list"]
    return _UV_DEFAULTS | uv_variables(subprocess.run(words, capture_output=True, text=True, check=False).stdout)


def uv() -> str:
    """The uv on PATH, or the clone's."""
    return shutil.which("uv") or str(ROOT / ".uv" / "bin" / "uv")


def uv_tool(wheel: Path, folder: Path) -> tuple[Path, Words]:
    places = {"UV_TOOL_DIR": folder / "e", "UV_TOOL_BIN_DIR": folder / "bin"}
    run(uv(), "tool", "install", wheel, "--constraints", LOCK, cwd=folder, **places)
    return folder / "e", [folder / "bin" / "prunebench"]


def uvx(wheel: Path, folder: Path) -> tuple[Path, Words]:
    words: Words = [uv(), "tool", "run", "--from", wheel, "--constraints", LOCK, "prunebench"]
    run(*words, "--version", cwd=folder, UV_CACHE_DIR=folder / "e")
    return folder / "e" / "archive-v0", ["env", f"UV_CACHE_DIR={folder / 'e'}", *words]


def pipx(wheel: Path, folder: Path) -> tuple[Path, Words]:
    found = shutil.which("pipx")
    if found is None:
        run(sys.executable, "-m", "venv", folder / "pipx", cwd=folder)
        run(folder / "pipx" / "bin" / "pip", "install", "--quiet", "pipx", cwd=folder)
        found = str(folder / "pipx" / "bin" / "pipx")
    places = {"PIPX_HOME": folder / "home", "PIPX_BIN_DIR": folder / "bin"}
    run(found, "install", wheel, f"--pip-args=--constraint {LOCK}", cwd=folder, **places)
    return folder / "home" / "venvs", [folder / "bin" / "prunebench"]


def venv(wheel: Path, folder: Path) -> tuple[Path, Words]:
    run(sys.executable, "-m", "venv", folder / "e", cwd=folder)
    run(folder / "e" / "bin" / "pip", "install", "--quiet", wheel, "--constraint", LOCK, cwd=folder)
    return folder / "e", [folder / "e" / "bin" / "prunebench"]


def with_charts(wheel: Path, folder: Path) -> tuple[Path, Words]:
    return venv(Path(f"{wheel}[report]"), folder)


WAYS: dict[str, Callable[[Path, Path], tuple[Path, Words]]] = {
    "pip in a venv": venv,
    "pipx install": pipx,
    "uv tool install": uv_tool,
    "uvx": uvx,
    "pip in a venv, with [report]": with_charts,
}
