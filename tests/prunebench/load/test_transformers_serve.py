"""Another project's server, run for real: `transformers serve` on a real small model, loaded by every kind."""

from __future__ import annotations

import subprocess
import sys

import pytest

from base.network import free_port
from loadgen.endpoint import Endpoint
from loadgen.energy.source import NoEnergy
from loadgen.prompts.files import workload_prompts
from loadgen.results.store import read_trial
from loadgen.trial import run_trial
from tests.loadgen.made import EVERY_KIND, one_of_every_kind
from tests.prunebench.command_line import run_command
from tests.prunebench.conftest import TINYGLU
from tests.support.health import wait_until_healthy

pytestmark = pytest.mark.peer


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory):
    """Started here; its `/v1/models` answers 500 without a hub's cache."""
    pytest.importorskip("transformers.cli.serve")
    port, log = free_port(), tmp_path_factory.mktemp("serve") / "log"
    command = [
        sys.executable,
        "-m",
        "transformers.cli.transformers",
        "serve",
        TINYGLU,
        "--device=cpu",
        "--dtype=float32",
    ]
    with log.open("w") as said:
        server = subprocess.Popen([*command, "--host=127.0.0.1", f"--port={port}"], stdout=said, stderr=said)
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until_healthy(url, server.poll, log, timeout_s=300)
        yield Endpoint(url, str(TINYGLU), timeout_s=60)
    finally:
        server.kill()
        server.wait()


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_every_kind_of_load_is_answered_and_counted(endpoint, tmp_path, kind):
    load = one_of_every_kind(kind, tmp_path, prompt_as="words", endpoint="chat", natural_stop=True)
    result = run_trial(endpoint, load, workload_prompts(load, 1, lambda: ()), seed=1, energy=NoEnergy("none here"))
    assert len(result.records) >= 4
    assert {(r.error, r.output_tokens, r.counted_by, r.finish_reason) for r in result.records} == {
        (None, 8, "server-usage", "length")  # one usage, at the end
    }
    assert all(
        r.prompt_tokens > load.prompt_length(1, r.index) for r in result.records
    )  # its words, and the template's


def test_a_server_that_lists_no_models_is_loaded_by_the_command_with_the_model_s_name(endpoint, tmp_path):
    words = ["--prompts", "chats.jsonl", "--requests", 3, "--output-tokens", 8, "--natural-stop", "--output", "out"]
    (tmp_path / "chats.jsonl").write_text('{"messages": [{"role": "user", "content": "One day a dog"}]}\n')
    done = run_command([*map(str, ["load", endpoint.url, "--model", TINYGLU, *words])], tmp_path, 120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [record.error for record in read_trial(tmp_path / "out").records] == [None] * 3
