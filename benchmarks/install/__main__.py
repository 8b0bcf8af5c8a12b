"""Install a wheel in several ways, each into an empty folder away from the clone; check that it works there, and measure its size.

    python -P -m benchmarks.install [WAY…]                  on this machine, with uv and pip
    python -P -m benchmarks.install --debian [WAY…]         in a new Debian 12 (mmdebstrap, as root), which has neither

Works: says its version, prunes a checkpoint, serves a simulated model, loads it, and reports the load. Sizes are the bytes of all
files of the environment, in millions; the interpreter that it links to is not in them. Writes benchmarks/results/install.json or
install-debian-12.json.
"""

from __future__ import annotations

import argparse
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from benchmarks.install import debian
from benchmarks.install.ways import ROOT, WAYS, Words, attempt, run

RESULTS = ROOT / "benchmarks" / "results"
_LARGEST = 6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ways", nargs="*", metavar="WAY", help=", ".join(WAYS))
    parser.add_argument("--debian", action="store_true", help="in a new Debian 12")
    parser.add_argument("--wheel", type=Path, help="default: built here")
    parser.add_argument("--output", type=Path, help="add the sizes to this JSON file")
    options = parser.parse_args()
    if unknown := set(options.ways) - WAYS.keys():
        parser.error(f"no such way: {', '.join(unknown)}")
    ways = options.ways or list(WAYS)
    output = options.output or RESULTS / ("install-debian-12.json" if options.debian else "install.json")
    with tempfile.TemporaryDirectory() as made:
        wheel = options.wheel or build(Path(made))
        if options.debian:
            debian.measure(wheel, ways, output)
        else:
            measure(wheel, ways, output)


def build(folder: Path) -> Path:
    """The wheel of this clone."""
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ROOT, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    return wheel


def measure(wheel: Path, ways: Sequence[str], output: Path) -> None:
    save(output, "wheel", {"megabytes": round(wheel.stat().st_size / 1e6, 2)})
    save(output, "pip outside a venv", outside(wheel))
    for name in ways:
        with tempfile.TemporaryDirectory() as place:
            environment, prunebench = WAYS[name](wheel, Path(place))
            size = {"megabytes": megabytes(environment), "largest": largest(environment)}
            found = size | check(prunebench, Path(place))
            save(output, name, found)
            print(f"{name:30} {size['megabytes']:7} MB  {found['version']}, {found['report']}", flush=True)


def outside(wheel: Path) -> dict[str, object]:
    """What `pip install` says without a venv, on a Python that its distribution manages; tried without installing anything."""
    with tempfile.TemporaryDirectory() as place:
        words = ["/usr/bin/python3", "-m", "pip", "install", "--dry-run", "--no-deps", str(wheel)]
        done = attempt(words, Path(place))
    return {"status": done.returncode, "says": done.stderr.partition("\n")[0]}


def megabytes(folder: Path) -> float:
    """Millions of bytes in a folder's files, or a file's; a file of two names counts once, and links are not followed."""
    files = [folder] if folder.is_file() else folder.rglob("*")
    stats = [file.lstat() for file in files if file.is_file() and not file.is_symlink()]
    return round(sum({(stat.st_dev, stat.st_ino): stat.st_size for stat in stats}.values()) / 1e6, 1)


def largest(folder: Path) -> dict[str, float]:
    """The largest packages, in megabytes; a module of one file, as DuckDB's is, with the package of its name."""
    sizes: dict[str, float] = {}
    for packages in folder.rglob("site-packages"):
        for place in packages.iterdir():
            name = place.name.removesuffix(".libs") if place.is_dir() else place.name.partition(".")[0].lstrip("_")
            sizes[name] = round(sizes.get(name, 0.0) + megabytes(place), 1)
    return dict(sorted(sizes.items(), key=lambda item: -item[1])[:_LARGEST])


def check(prunebench: Words, folder: Path) -> dict[str, str]:
    """Its version and the name of its report, once it has pruned, loaded and reported in a folder that holds nothing else."""
    bare = folder / "work"
    bare.mkdir()
    version = run(*prunebench, "--version", cwd=bare).strip()
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
        run(*prunebench, "load", url, *words, cwd=bare)
    finally:
        server.terminate()
        server.wait()
    return {"version": version, "report": Path(run(*prunebench, "report", "load", cwd=bare).split()[-1]).name}


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


def save(output: Path, name: str, found: dict[str, object]) -> None:
    """Put one result beside those of other ways."""
    results = json.loads(output.read_text()) if output.is_file() else {}
    output.write_text(json.dumps(results | {name: found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
