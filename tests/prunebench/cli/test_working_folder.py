"""Nothing is imported from the working folder: files there with the names of our packages and of libraries stay unread."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from base.network import free_port
from tests.prunebench.conftest import SYNTHETIC
from tests.server.conftest import serve_process, url_once_ready, write_checkpoint

ROOT = Path(__file__).parents[3]
ROOMS = ("prunebench", "reports", "pruner", "server", "loadgen", "energy", "base")
TRAPS = (*ROOMS, "numpy", "torch", "json", "socket", "ray", "locust", "users", "trial")
TRAP = "open(__file__ + '.read', 'w').close()\nraise SystemExit('imported from the working folder')\n"
SHORT = SYNTHETIC[: SYNTHETIC.rindex("[[workloads]]")].replace("blocks = 2", "blocks = 1")
TASKS = '[quality]\nperplexity_files = ["stdlib:this.py"]\ntasks = ["tinyglu_form"]\nlimit = 2\n'
LOAD = ["load", "URL", "--model", "tiny", "--output", "out", "--requests", "3", "--output-tokens", "4"]

# What is started: the command itself, and below it a load's client process.
KINDS = {
    "the command": ["--version"],
    "an import of every part": ["run", "tiny.toml", "--dry-run"],
    "a load's client": [*LOAD],
}
# Servers, what looks quality tasks up, Locust's master and worker, and Ray's workers are started alike however the command was.
STARTED_ALIKE = {
    "a run's servers and quality tasks": ("-m", ["run", "quality.toml", "--output", "out"]),
    "Locust's processes": ("-m", [*LOAD, "--driver", "locust"]),
    "Ray's workers": ("the script", ["run", "tiny.toml", "--output", "out", "--executor", "ray"]),
}
STARTS = {"the script": [str(Path(sys.executable).with_name("prunebench"))], "-m": [sys.executable, "-m", "prunebench"]}


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    folder = write_checkpoint(tmp_path_factory.mktemp("checkpoints") / "tiny")
    process = serve_process(checkpoint=folder, engine_options={"prefill_ms": "2", "token_ms": "1"})
    yield url_once_ready(process)
    process.terminate()
    process.communicate(timeout=30)


@pytest.fixture
def trapped(tmp_path: Path) -> Callable[..., "subprocess.Popen[str]"]:
    """Starts a command in a folder of traps."""
    (tmp_path / "tiny.toml").write_text(SHORT)
    (tmp_path / "quality.toml").write_text(SHORT + TASKS)

    def start(start: list[str], *words: str) -> "subprocess.Popen[str]":
        for name in TRAPS:
            if not (name == "prunebench" and "-m" in start):  # Python itself runs that one, before any line of ours
                (tmp_path / f"{name}.py").write_text(TRAP)
        return subprocess.Popen(
            [*start, *words],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return start


def unread(folder: Path) -> bool:
    return not list(folder.rglob("*.read"))


@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS)
@pytest.mark.parametrize("words", KINDS.values(), ids=KINDS)
def test_files_with_the_names_of_packages_in_the_working_folder_stay_unread(trapped, url, tmp_path, start, words):
    process = trapped(start, *[url if word == "URL" else word for word in words])
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert unread(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("start", "words"), STARTED_ALIKE.values(), ids=STARTED_ALIKE)
def test_processes_that_a_command_starts_read_none_of_them_either(trapped, url, tmp_path, start, words):
    test_files_with_the_names_of_packages_in_the_working_folder_stay_unread(
        trapped, url, tmp_path, STARTS[start], words
    )


@pytest.mark.slow
def test_a_worker_of_a_load_elsewhere_reads_none_of_them_either(trapped, url, tmp_path):
    script, port = STARTS["the script"], f"{free_port()}"
    remote = ["--driver", "locust", "--workers", "1", "--remote-workers", "1", "--master-port", port]
    load = trapped(script, *[url if word == "URL" else word for word in LOAD], *remote)
    worker = trapped(script, "load-worker", f"127.0.0.1:{port}")
    said, _ = load.communicate(timeout=120)
    assert load.returncode == 0, said
    worker.communicate(timeout=60)
    assert unread(tmp_path)


def test_a_python_process_is_started_in_one_way():
    starts = [f for room in ROOMS for f in (ROOT / room).rglob("*.py") if re.search(r"sys\.executable", f.read_text())]
    assert starts == [ROOT / "base" / "python_process.py"]
