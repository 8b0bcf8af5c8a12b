"""One module and one call to `register` make an engine: the product's tree knows nothing of this one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from server.engines.entry import EngineEntry
from server.engines.registry import register
from tests.server.conftest import url_once_ready
from tests.support.captured import captured

SOURCE = Path(__file__).parents[3]


def prunebench_with_toy(*words: object) -> subprocess.Popen[str]:
    code = "import tests.server.engines.toy_engine; from prunebench.cli import main; main()"
    command = [sys.executable, "-c", code, *map(str, words)]
    return subprocess.Popen(command, cwd=SOURCE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def output_of(*words: object) -> str:
    out, errors = prunebench_with_toy(*words).communicate(timeout=60)
    assert errors == ""
    return out


def test_a_new_engine_serves_over_http(checkpoint):
    process = prunebench_with_toy("serve", checkpoint, "--engine", "toy", "--engine-option", "step=2", "--port", 0)
    try:
        with httpx.Client(base_url=url_once_ready(process), timeout=20) as client:
            (model,) = client.get("/v1/models").json()["data"]
            answer = client.post("/v1/completions", json={"prompt": [20], "max_tokens": 3})
            counted = client.post("/detokenize", json={"tokens": [20, 22, 24]}).json()["prompt"]
    finally:
        process.terminate()
        process.communicate(timeout=20)
    assert (model["engine"]["name"], model["engine"]["options"]) == ("toy", {"step": "2"})
    assert answer.json()["choices"][0]["text"] == counted
    assert process.returncode == 0


def test_a_new_engine_is_a_choice_of_the_command_line_the_experiment_file_and_the_doctor():
    choices = ["auto", "vllm", "transformers", "synthetic", "toy"]
    assert "|".join(choices) in output_of("serve", "--help")
    assert json.loads(output_of("schema"))["$defs"]["Serve"]["properties"]["engine"]["enum"] == choices
    assert "  toy (counts)\n" in output_of("doctor")


def test_a_host_allows_the_options_of_a_new_engine_and_no_others(tmp_path):
    code = f"""
import asyncio, sys
from fastapi import HTTPException
import tests.server.engines.toy_engine
from prunebench.servers.pool import HostedServer, HostedServers, HostSettings
from tests.prunebench.conftest import TINYGLU
hosted = HostedServers(HostSettings([TINYGLU.parent], {str(tmp_path)!r}))
def command(**options):
    return hosted._command(HostedServer(checkpoint=TINYGLU, model="m", engine="toy", options=options))
assert command(step="2").engine == "toy"
try:
    command(path="/")
except HTTPException as error:
    sys.exit(f"{{error.status_code}} {{error.detail}}")
"""
    done = captured([sys.executable, "-c", code], cwd=SOURCE)
    assert done.stderr.startswith("403 option path of the toy engine"), done.stderr


@pytest.mark.parametrize("name", ["auto", "vllm"])
def test_a_name_that_is_taken_is_refused(name):
    with pytest.raises(ValueError, match=f"there is an engine {name} already"):
        register(EngineEntry(name=name, summary="", factory="", options=""))
