"""A Debian 12 with Python, pip, venv and pipx as Debian packages them, and nothing else: what a newcomer begins with."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.install.ways import ROOT

_PACKAGES = "python3,python3-venv,python3-pip,pipx,ca-certificates"
_NEEDED = ("benchmarks/install", "requirements/uv.py", "requirements/lock.txt", "examples/tinyglu")
_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
_HOME = "/bench"  # in the new system
_OF_PIP = ("index-url", "extra-index-url")  # settings that hold on another machine too
# Its own devices and processes, which go with the process that asked for them.
_ENTER = 'mount --rbind /dev "$0/dev" && mount -t proc proc "$0/proc" && exec chroot "$0" "$@"'


def measure(wheel: Path, ways: Sequence[str], output: Path) -> None:
    """Make the root, have the benchmark run in it, and take its figures."""
    if os.geteuid() or shutil.which("mmdebstrap") is None:
        sys.exit("--debian: needs root, and mmdebstrap (apt-get install mmdebstrap)")
    with tempfile.TemporaryDirectory(prefix="debian-") as place:
        root = make_root(Path(place) / "root")
        bench = root / "bench"
        for name in _NEEDED:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            (bench / name).parent.mkdir(parents=True, exist_ok=True)
            copy(ROOT / name, bench / name)
        shutil.copy(wheel, bench)
        enter(root, "pipx", "install", "uv")
        words = ["--wheel", f"/bench/{wheel.name}", "--output", "/bench/found.json", *ways]
        enter(root, "python3", "-P", "-m", "benchmarks.install", *words)
        shutil.copy(bench / "found.json", output)


def make_root(root: Path) -> Path:
    """A root folder, with this machine's name service, certificates and package indexes."""
    subprocess.run(
        ["mmdebstrap", "--quiet", "--variant=apt", f"--include={_PACKAGES}", "bookworm", root],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    for name in ("/etc/resolv.conf", "/etc/hosts", _CERTIFICATES):
        shutil.copy(name, root / name.lstrip("/"))
    (root / "etc" / "pip.conf").write_text(f"[global]\ncert = {_CERTIFICATES}\n" + "".join(_pip_settings()))
    return root


def _pip_settings() -> list[str]:
    listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True)
    settings = dict(line.split("=", 1) for line in listed.stdout.splitlines())
    return [
        f"{name} = {ast.literal_eval(value)}\n"
        for name in _OF_PIP
        if (value := settings.get(f"global.{name}")) is not None
    ]


def enter(root: Path, *words: str) -> None:
    """Run a command in the root, with none of our environment."""
    environment = {
        "PATH": f"{_HOME}/.local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
        "HOME": _HOME,
        "LANG": "C.UTF-8",
        "PYTHONPATH": "/bench",
        "SSL_CERT_FILE": _CERTIFICATES,
    }
    subprocess.run(["unshare", "--mount", "sh", "-c", _ENTER, root, *words], check=True, env=environment)
