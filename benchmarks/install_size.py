"""Install a wheel in five ways, each into an empty folder away from the clone; check that it works there, and measure its size.

    python benchmarks/install_size.py [WAY…]

Needs uv and pip, with their usual indexes. Works: prunes a checkpoint, serves a simulated model, loads it, and reports the load. Sizes are
the bytes of all files of the environment, in millions; the interpreter that it links to is not in them. Writes
benchmarks/results/install_size.json.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "requirements"))
from uv import uv_variables  # noqa: E402 - a script beside the lock

LOCK, RESULTS = ROOT / "requirements" / "lock.txt", ROOT / "benchmarks" / "results" / "install_size.json"
UV = shutil.which("uv") or str(ROOT / ".uv" / "bin" / "uv")
_UV_DEFAULTS = {"UV_INDEX_STRATEGY": "unsafe-best-match"}
_NOT_OURS = {"PYTHONPATH", "VIRTUAL_ENV", "PYTHONDONTWRITEBYTECODE"}


def run(*words: str | Path, cwd: Path, **variables: str | Path) -> str:
    """Run a command that must succeed, with these variables; returns its output."""
    environment = {name: value for name, value in os.environ.items() if name not in _NOT_OURS}
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    )
    environment |= _UV_DEFAULTS | uv_variables(listed.stdout) | {name: str(value) for name, value in variables.items()}
    done = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, words))}: status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def uv_tool(wheel: Path, folder: Path) -> tuple[Path, list[str | Path]]:
    run(
        UV,
        "tool",
        "install",
        wheel,
        "--constraints",
        LOCK,
        cwd=folder,
        UV_TOOL_DIR=folder / "e",
        UV_TOOL_BIN_DIR=folder / "bin",
    )
    return folder / "e", [folder / "bin" / "prunebench"]


def uvx(wheel: Path, folder: Path) -> tuple[Path, list[str | Path]]:
    words: list[str | Path] = [UV, "tool", "run", "--from", wheel, "--constraints", LOCK, "prunebench"]
    cache = {"UV_CACHE_DIR": folder / "e"}
    run(*words, "--version", cwd=folder, **cache)
    return folder / "e" / "archive-v0", ["env", f"UV_CACHE_DIR={folder / 'e'}", *words]


def pipx(wheel: Path, folder: Path) -> tuple[Path, list[str | Path]]:
    run(sys.executable, "-m", "venv", folder / "pipx", cwd=folder)
    run(folder / "pipx" / "bin" / "pip", "install", "--quiet", "pipx", cwd=folder)
    places = {"PIPX_HOME": folder / "home", "PIPX_BIN_DIR": folder / "bin"}
    run(folder / "pipx" / "bin" / "pipx", "install", wheel, f"--pip-args=--constraint {LOCK}", cwd=folder, **places)
    return folder / "home" / "venvs", [folder / "bin" / "prunebench"]


def venv(wheel: Path, folder: Path) -> tuple[Path, list[str | Path]]:
    run(sys.executable, "-m", "venv", folder / "e", cwd=folder)
    run(folder / "e" / "bin" / "pip", "install", "--quiet", wheel, "--constraint", LOCK, cwd=folder)
    return folder / "e", [folder / "e" / "bin" / "prunebench"]


def with_charts(wheel: Path, folder: Path) -> tuple[Path, list[str | Path]]:
    return venv(Path(f"{wheel}[report]"), folder)


WAYS: dict[str, Callable[[Path, Path], tuple[Path, list[str | Path]]]] = {
    "uv tool install": uv_tool,
    "uvx": uvx,
    "pipx install": pipx,
    "pip in a venv": venv,
    "pip in a venv, with [report]": with_charts,
}


def megabytes(folder: Path) -> float:
    """Millions of bytes in a folder's files; a file of two names counts once, and links are not followed."""
    stats = [file.lstat() for file in folder.rglob("*") if file.is_file() and not file.is_symlink()]
    return round(sum({(stat.st_dev, stat.st_ino): stat.st_size for stat in stats}.values()) / 1e6, 1)


def largest(folder: Path) -> dict[str, float]:
    """The five largest packages."""
    sizes: dict[str, float] = {}
    for packages in folder.rglob("site-packages"):
        for place in packages.iterdir():
            if place.is_dir():
                name = place.name.removesuffix(".libs")
                sizes[name] = round(sizes.get(name, 0.0) + megabytes(place), 1)
    return dict(sorted(sizes.items(), key=lambda item: -item[1])[:5])


def check(prunebench: list[str | Path], folder: Path) -> str:
    """Prune, load and report in a folder that holds nothing else; returns the name of the report."""
    bare = folder / "work"
    bare.mkdir()
    checkpoint = shutil.copytree(ROOT / "examples" / "tinyglu", bare / "tinyglu")
    run(*prunebench, "prune", checkpoint, "--output", "narrow", "--pruning-percentage", "50", cwd=bare)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    url = f"http://127.0.0.1:{port}"
    server = subprocess.Popen(
        [*prunebench, "serve", checkpoint, "--engine", "synthetic", "--port", port],
        cwd=bare,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(server, url)
        words = [
            "--workload",
            "batch",
            "--batch-size",
            "2",
            "--requests",
            "4",
            "--output-tokens",
            "8",
            "--output",
            "load",
        ]
        run(*prunebench, "load", url, "--model", "tinyglu", *words, cwd=bare)
    finally:
        server.terminate()
        server.wait()
    return Path(run(*prunebench, "report", "load", cwd=bare).split()[-1]).name


def _wait_for(server: subprocess.Popen[bytes], url: str) -> None:
    for _ in range(3000):
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5):  # noqa: S310 - loopback
                return
        except OSError:
            if server.poll() is not None:
                break
            time.sleep(0.1)
    sys.exit("the server did not start")


def save(name: str, found: dict[str, object]) -> None:
    """Put one result beside those of other ways."""
    results = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    RESULTS.write_text(json.dumps(results | {name: found}, indent=1) + "\n")


def main() -> None:
    with tempfile.TemporaryDirectory() as made:
        run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", made, ROOT, cwd=Path(made))
        (wheel,) = Path(made).glob("*.whl")
        save("wheel", {"megabytes": round(wheel.stat().st_size / 1e6, 2)})
        for name in sys.argv[1:] or WAYS:
            with tempfile.TemporaryDirectory() as place:
                environment, prunebench = WAYS[name](wheel, Path(place))
                size = {"megabytes": megabytes(environment), "largest": largest(environment)}
                report = check(prunebench, Path(place))
                save(name, size | {"report": report})
                print(f"{name:30} {size['megabytes']:7} MB  {report}", flush=True)


if __name__ == "__main__":
    main()
