import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import psutil
import pytest

from tests.prunebench.command_line import run_command

ROOT = Path(__file__).parents[2]
TINYGLU = ROOT / "examples" / "tinyglu"
RUN_DRAWING_ONE_PICTURE = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from prunebench import __main__
from prunebench.cli import main
from tests.prunebench.command_line import draw_one_picture
draw_one_picture()
sys.argv[0] = __main__.__file__
main()
"""


# Of a run that waits for nothing: no idle power, no warm-up until times are steady.
TWO_BLOCKS = """
[protocol]
blocks = 2
warmup_limit_s = 0
[energy]
idle_s = 0
"""


def on_tinyglu(name: str, *, serve: str = "", **options: object) -> str:
    """The head of an experiment on the synthetic engine, up to its options; `serve` are other lines of `[serve]`."""
    given = "\n".join(f'{key} = "{value}"' for key, value in options.items())
    return f"""
name = "{name}"
[model]
source = "{TINYGLU}"
[serve]
engine = "synthetic"
{serve}
[serve.options]
{given}
"""


def one_width(name: str, **options: object) -> str:
    """The same with one narrower width, whose server is kept beside the baseline's."""
    return on_tinyglu(name, serve="keep_servers = true", **options) + "[prune]\nexpansion_ratios = [2.0]\n"


def one_at_a_time(requests: int, *, prompt_tokens: int, output_tokens: int, name: str = "single") -> str:
    """A workload of an experiment."""
    return f"""
[[workloads]]
name = "{name}"
kind = "single"
requests = {requests}
prompt_tokens = {prompt_tokens}
output_tokens = {output_tokens}
"""


SYNTHETIC = f"""
seed = 7
{on_tinyglu("tiny", serve="keep_servers = true", prefill_ms=2, token_ms=1)}
[prune]
expansion_ratios = [4.0, 2.0]
[protocol]
blocks = 2
[energy]
idle_s = 0.2
{one_at_a_time(4, prompt_tokens=8, output_tokens=8, name="single-request")}
[[workloads]]
name = "batch-4"
kind = "batch"
batch_size = 4
requests = 8
prompt_tokens = 8
output_tokens = 8
"""


Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def prunebench(tmp_path: Path) -> Command:
    """Runs the command line as a user would, in an empty folder."""

    def run(*words: object, timeout: float = 120, asks_tasks: bool = False) -> "subprocess.CompletedProcess[str]":
        return run_command([*map(str, words)], tmp_path, timeout, asks_tasks=asks_tasks)

    return run


@pytest.fixture
def started(tmp_path: Path):
    """Starts a command and hands it over while it runs; whatever it started is gone afterwards."""
    processes = []

    def start(*words: object) -> "subprocess.Popen[str]":
        code = ["-P", "-c", RUN_DRAWING_ONE_PICTURE] if words[0] == "run" else ["-m", "prunebench"]
        process = subprocess.Popen(
            [sys.executable, *code, *map(str, words)],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        if process.poll() is None:
            for child in psutil.Process(process.pid).children(recursive=True):
                os.kill(child.pid, signal.SIGKILL)
            process.kill()
        process.communicate()


@pytest.fixture
def experiment(tmp_path: Path) -> Callable[..., Path]:
    """Writes the small synthetic experiment, with some of its text replaced, and more options of its engine."""

    def write(options: Mapping[str, str] | None = None, **replaced: str) -> Path:
        more = "".join(f'{key} = "{value}"\n' for key, value in (options or {}).items())
        text = SYNTHETIC.replace("[serve.options]\n", f"[serve.options]\n{more}")
        for before, after in replaced.items():
            assert f"{before} = " in text
            lines = [f"{before} = {after}" if line.startswith(f"{before} = ") else line for line in text.splitlines()]
            text = "\n".join(lines)
        file = tmp_path / "tiny.toml"
        file.write_text(text)
        return file

    return write


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 40 MB of its own, where the test may make one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=40m", "none", str(folder)], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("making a small file system needs root")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path, leave: int) -> Path:
    """Fill a disk up to this many free bytes."""
    free = os.statvfs(folder)
    filler = folder / "filler"
    filler.write_bytes(bytes(max(0, free.f_bavail * free.f_bsize - leave)))
    return filler
