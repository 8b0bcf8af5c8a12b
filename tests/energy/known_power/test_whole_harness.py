"""The whole harness on a GPU of known power: real server process, real nvidia-ml-py, real wire client, `prunebench load`.

The load itself drives the stand-in's watts, so the exact integral over the window is known, and J/token with it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from loadgen.endpoint import Endpoint
from loadgen.energy.source import measure_idle, pick_energy
from loadgen.results.store import read_trial
from tests.energy.conftest import settings_text
from tests.energy.known_power.driven_server import ACTIVE_WATTS, IDLE_WATTS
from tests.loadgen.scripted import ScriptedServer, stream
from tests.server.conftest import wait_until, write_checkpoint
from tests.support.captured import captured

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[3]
BOARDS = {
    "counter": {"refresh": 0.1, "phase": 0.037},
    "samples": {"error.energy": 3, "error.field83": 3},
    "instant": {"error.energy": 3, "error.field83": 3, "error.samples": 3},
}


@dataclass
class Driven:
    """A server, and what its GPU really drew."""

    url: str
    log: Path

    def joules(self, start_ns: int, end_ns: int) -> float:
        """The exact integral: idle until the first line, then constant between lines."""
        rows = [tuple(map(float, line.split())) for line in self.log.read_text().splitlines()]
        edges = np.array([0.0, *(t for t, _ in rows), 1e12])
        watts = np.array([IDLE_WATTS, *(w for _, w in rows)])
        inside = np.clip(edges, start_ns / 1e9, end_ns / 1e9)
        return float(watts @ np.diff(inside))


@pytest.fixture(scope="module", params=BOARDS)
def driven(request, fake_library, tmp_path_factory) -> Iterator[Driven]:
    folder = tmp_path_factory.mktemp("driven")
    gpu = {"name": request.param, "watts": IDLE_WATTS, **BOARDS[request.param]}
    (folder / "gpus.txt").write_text(settings_text(gpu))
    environment = {
        **os.environ, "LD_LIBRARY_PATH": str(fake_library.parent), "FAKE_NVML": str(folder / "gpus.txt"),
        "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    environment.pop("CUDA_VISIBLE_DEVICES", None)
    options = ["prefill_ms=15", "token_ms=4"]
    words = ["serve", write_checkpoint(folder / "tiny"), "--engine", "synthetic", "--port", "0"]
    words += [word for option in options for word in ("--engine-option", option)]
    script = Path(__file__).with_name("driven_server.py")
    said = folder / "stderr"
    with said.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, script, folder / "watts.txt", *words], cwd=folder, stderr=stderr, env=environment
        )
    try:
        wait_until(lambda: b"ready at" in said.read_bytes() or process.poll() is not None)
        yield Driven(said.read_text().partition("ready at ")[2].split()[0], folder / "watts.txt")
    finally:
        process.terminate()
        process.wait(20)


def test_idle_power_is_that_of_the_gpu_right_after_the_server_is_ready(driven: Driven):
    found = measure_idle(pick_energy("auto", Endpoint(driven.url, "tiny")), 1.0)
    assert found.mean_watts == pytest.approx(IDLE_WATTS, rel=0.15)
    truth = driven.joules(found.start_ns, found.end_ns)
    assert abs(found.gross_joules - truth) <= found.gross_joules_uncertainty


@pytest.mark.parametrize(
    "load", [("concurrency", "--concurrency", "4"), ("poisson", "--rate", "25")], ids=lambda v: v[0]
)
def test_joules_per_token_are_those_of_the_exact_integral(driven: Driven, load, tmp_path):
    words = [
        "load", driven.url, "--model", "tiny", "--output", tmp_path / "trial", "--workload", *load, "--requests", "60",
        "--prompt-tokens", "16", "--output-tokens", "24", "--warmup-requests", "4", "--json",
    ]  # fmt: skip
    done = captured([sys.executable, "-m", "prunebench", *words], cwd=ROOT, timeout=120)
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "trial" / "summary.json").read_text())
    result = read_trial(tmp_path / "trial")
    start, end = summary["window_start_ns"], summary["window_end_ns"]
    arrived = sum(
        int(tokens)
        for record in result.records
        for at, tokens in zip(record.arrival_ns, np.diff(record.arrival_tokens, prepend=0), strict=True)
        if start < at <= end
    )
    truth = driven.joules(start, end) / arrived
    half = summary["energy"]["gross_joules_uncertainty"] / arrived
    assert summary["energy"]["source"].startswith("nvml-")
    assert abs(summary["joules_per_output_token"] - truth) <= half
    assert half < 0.25 * truth  # a second of load and 50 ms of refresh: the interval says something
    # In joules, and in no other unit: the load draws between idle and idle plus all that may run at once.
    seconds = (end - start) / 1e9
    assert IDLE_WATTS < summary["energy"]["gross_joules"] / seconds < IDLE_WATTS + 60 * ACTIVE_WATTS


@pytest.mark.alone
def test_a_foreign_server_on_this_host_is_metered_by_this_hosts_gpu(fake_library, tmp_path):
    """As vLLM's own server: it has no /energy, and the client reads the GPU beside it."""
    (tmp_path / "gpus.txt").write_text(settings_text({"watts": 220, "refresh": 0.05}))
    (tmp_path / "prompts.txt").write_text("one\ntwo\nthree\n")
    models = {"/v1/models": lambda: json.dumps({"data": [{"id": "foreign"}]}).encode()}
    words = [
        "load", "URL", "--model", "foreign", "--output", tmp_path / "trial", "--requests", "12", "--prompts",
        tmp_path / "prompts.txt", "--output-tokens", "8", "--json",
    ]  # fmt: skip
    environment = {**os.environ, "LD_LIBRARY_PATH": str(fake_library.parent), "FAKE_NVML": str(tmp_path / "gpus.txt")}
    environment.pop("CUDA_VISIBLE_DEVICES", None)
    with ScriptedServer(lambda *_: stream(8, first_s=0.02, token_s=0.02), pages=models) as server:
        words[1] = server.url
        done = captured([sys.executable, "-m", "prunebench", *words], cwd=ROOT, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "trial" / "summary.json").read_text())
    energy = summary["energy"]
    truth = 220 * (summary["window_end_ns"] - summary["window_start_ns"]) / 1e9
    assert energy["source"] == "nvml-counter"
    assert energy["clock_error_s"] == 0
    assert abs(energy["gross_joules"] - truth) <= energy["gross_joules_uncertainty"] < 0.1 * truth
    assert summary["joules_per_output_token"] == pytest.approx(energy["gross_joules"] / (12 * 8))
