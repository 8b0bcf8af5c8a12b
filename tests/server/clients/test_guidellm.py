"""guidellm's own command measures our server: requests are answered as it expects and it counts what was written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.server.conftest import running_server

TINYGLU = Path(__file__).parents[3] / "examples" / "tinyglu"
REQUESTS, OUTPUT_TOKENS = 6, 8

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions"])
def test_guidellm_measures_the_server(tmp_path, path):
    pytest.importorskip("guidellm")
    with running_server(TINYGLU) as server:
        words = [
            f"--backend=kind=openai_http,target={server.url},model=tinyglu,request_format={path}",
            "--profile=kind=concurrent,streams=2",
            f"--constraint=kind=max_requests,count={REQUESTS}",
            f"--data=kind=synthetic_text,prompt_tokens=16,output_tokens={OUTPUT_TOKENS}",
            f"--tokenizer=kind=huggingface_auto,model={TINYGLU}",
            f"--output=kind=json,path={tmp_path / 'report.json'}",
        ]
        done = subprocess.run(
            [sys.executable, "-m", "guidellm", "run", *words, "--disable-console"],
            env={**os.environ, "HF_HUB_OFFLINE": "1"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]
    (found,) = json.loads((tmp_path / "report.json").read_text())["benchmarks"]
    done = found["requests"]["successful"]
    assert len(done) == REQUESTS
    assert not found["requests"]["errored"]
    assert {request["output_metrics"]["text_tokens"] for request in done} == {OUTPUT_TOKENS}
