"""Every kind of load through `run`, on servers of which no more than a URL is known, with files named relative to the experiment."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from reports.runs.reading import read_run
from tests.loadgen.made import EVERY_KIND, one_of_every_kind
from tests.prunebench.command_line import run_command
from tests.prunebench.conftest import TINYGLU
from tests.server.conftest import running_server

pytestmark = pytest.mark.slow

HEAD = """
name = "loads"
[protocol]
blocks = 2
warmup_limit_s = 0
[energy]
idle_s = 0
[[configurations]]
label = "a"
url = "{url}"
[[configurations]]
label = "b"
url = "{url}/v1"
headers = ["X-Team: search"]
"""
FILES = {"body.json": {"top_k": 3}, "parts.json": EVERY_KIND["mix"]["parts"]}
SECTIONS = ("Sessions by turn", "Mixes by part")
OTHERS = {
    "batch": {"batch_size": 2, "body": "body.json"},
    "concurrency": {"concurrency": 2, "endpoint": "chat"},
    "mix": {"parts": "parts.json"},
    "trace": {"trace": "trace.jsonl"},
}


def workload_table(kind: str) -> str:
    keys = {"name": kind, "kind": kind, "warmup_requests": 1, "requests": 4, "prompt_tokens": 12, "output_tokens": 8}
    keys |= {key: value for key, value in EVERY_KIND[kind].items() if key != "prompt_as"} | OTHERS.get(kind, {})
    if "duration_s" in keys:
        keys["requests"] = None
    lines = [f"{key} = {json.dumps(value)}" for key, value in keys.items() if value is not None]
    return "\n".join(["[[workloads]]", *lines, ""])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    folder = tmp_path_factory.mktemp("loads")
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    one_of_every_kind("trace", folder)
    for name, content in FILES.items():
        (folder / name).write_text(json.dumps(content))
    with running_server(TINYGLU, engine="synthetic", engine_options={"token_ms": "1"}) as server:
        (folder / "loads.toml").write_text(HEAD.format(url=server.url) + "".join(map(workload_table, EVERY_KIND)))
        words = ["run", str(folder / "loads.toml"), "--output", str(folder / "out")]
        return folder / "out", run_command(words, elsewhere, 240)


def test_each_is_measured_in_every_block(finished):
    folder, done = finished
    assert done.returncode == 0, done.stdout + done.stderr
    measured = {(one.cell.workload, one.cell.label, one.cell.block) for one in read_run(folder).trials}
    assert measured == {(kind, label, block) for kind in EVERY_KIND for label in "ab" for block in range(2)}


def test_headers_are_sent_to_the_server_that_has_them(finished):
    folder, _ = finished
    assert {(one.cell.label, *one.trial.headers) for one in read_run(folder).trials} == {("a",), ("b", "X-Team")}


def test_turns_and_parts_have_their_sections(finished):
    folder, _ = finished
    report = (folder / "report.md").read_text()
    sessions, mixes = (report.partition(f"## {title}")[2].partition("\n## ")[0] for title in SECTIONS)
    assert [line.split("|")[2].strip() for line in sessions.splitlines() if line.startswith("| a |")] == ["1", "2"]
    assert [line.split("|")[2].strip() for line in mixes.splitlines() if line.startswith("| a |")] == ["short", "long"]
