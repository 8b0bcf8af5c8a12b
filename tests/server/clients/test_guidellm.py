"""guidellm's own command measures our server: requests are answered as it expects and it counts what was written."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from tests.server.conftest import running_server
from tests.support.captured import captured

TINYGLU = Path(__file__).parents[3] / "examples" / "tinyglu"
REQUESTS, OUTPUT_TOKENS = 6, 8

PATHS = {"completions": "/v1/completions", "chat": "/v1/chat/completions"}
# Its command, once for each list of words: importing it is most of what a start takes.
_GUIDELLM = """
import json, sys
from guidellm.__main__ import cli
for words in json.loads(sys.argv[1]):
    cli(["run", *words, "--disable-console"], standalone_mode=False)
"""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """The folder with its reports, one for each path."""
    pytest.importorskip("guidellm")
    folder = tmp_path_factory.mktemp("reports")
    with running_server(TINYGLU) as server:
        runs = [words(server.url, path, folder / f"{name}.json") for name, path in PATHS.items()]
        done = captured(
            [sys.executable, "-c", _GUIDELLM, json.dumps(runs)], env={**os.environ, "HF_HUB_OFFLINE": "1"}, timeout=240
        )
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


def words(url, path, report):
    return [
        f"--backend=kind=openai_http,target={url},model=tinyglu,request_format={path}",
        "--profile=kind=concurrent,streams=2",
        f"--constraint=kind=max_requests,count={REQUESTS}",
        f"--data=kind=synthetic_text,prompt_tokens=16,output_tokens={OUTPUT_TOKENS}",
        f"--tokenizer=kind=huggingface_auto,model={TINYGLU}",
        f"--output=kind=json,path={report}",
    ]


@pytest.mark.parametrize("name", PATHS)
def test_guidellm_measures_the_server(measured, name):
    (found,) = json.loads((measured / f"{name}.json").read_text())["benchmarks"]
    done = found["requests"]["successful"]
    assert len(done) == REQUESTS
    assert not found["requests"]["errored"]
    assert {request["output_metrics"]["text_tokens"] for request in done} == {OUTPUT_TOKENS}
