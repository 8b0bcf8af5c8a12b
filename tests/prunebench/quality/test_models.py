from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from loadgen.endpoint import Endpoint

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # lm-eval's imports
MODEL = Path(__file__).parents[3] / "examples" / "tinyglu"


class _Refusing(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        body = json.dumps({"error": {"message": "logprobs: 1 is not offered here", "code": 400}}).encode()
        self.send_response(400)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def url():
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Refusing)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("concurrency", [1, 16], ids=["one at a time", "several at a time"])
def test_a_refusal_is_raised_with_the_servers_reason(url, concurrency, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    pytest.importorskip("lm_eval")
    from lm_eval.api.instance import Instance

    from prunebench.quality.models import RefusedError, ServedModel

    model = ServedModel(Endpoint(url, "m"), MODEL, 64, concurrency)
    with pytest.raises(RefusedError, match="HTTP 400: logprobs: 1 is not offered here"):
        model.loglikelihood([Instance("loglikelihood", {}, ("the", " fox"), 0)], disable_tqdm=True)
