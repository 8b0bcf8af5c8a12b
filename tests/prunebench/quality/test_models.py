from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from loadgen.endpoint import Endpoint
from prunebench.quality.harness import Harness
from prunebench.quality.suites import choose_suite

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # lm-eval's imports
MODEL = Path(__file__).parents[3] / "examples" / "tinyglu"


class _Refusing(BaseHTTPRequestHandler):
    status = 400

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        body = json.dumps(self.answer(asked)).encode()
        self.send_response(self.status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def answer(self, _asked):
        return {"error": {"message": "logprobs: 1 is not offered here", "code": 400}}

    def log_message(self, *_):
        pass


class _Guessing(_Refusing):
    """It finds every token as likely as any other."""

    status = 200

    def answer(self, asked):
        many = [len(prompt) + asked["max_tokens"] for prompt in asked["prompt"]]
        guesses = [{"token_logprobs": [-5.0] * n, "top_logprobs": [{"the": -5.0}] * n} for n in many]
        return {"choices": [{"index": i, "logprobs": guess} for i, guess in enumerate(guesses)]}


class _Slow(_Guessing):
    """It answers in its own time."""

    def answer(self, asked):
        time.sleep(1.5)
        return super().answer(asked)


@pytest.fixture
def url(request):
    server = ThreadingHTTPServer(("127.0.0.1", 0), getattr(request, "param", _Refusing))
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


@pytest.mark.parametrize("url", [_Guessing], indirect=True)
@pytest.mark.parametrize("concurrency", [1, 16], ids=["one at a time", "several at a time"])
def test_the_answers_of_a_task_are_counted_as_they_arrive(url, concurrency, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    pytest.importorskip("lm_eval")
    from prunebench.quality.models import ServedModel

    seen: list[tuple[int, int, str]] = []
    suite = choose_suite(["tinyglu_signature"])
    with (tmp_path / "log").open("w") as log:
        asked = Harness(suite, [], limit=3).ask(
            suite.tasks[0],
            ServedModel(Endpoint(url, "m"), MODEL, 64, concurrency),
            log,
            lambda *at: seen.append(at),
        )
    requests = 3 * 4  # four choices an item
    assert asked.items.count == 3
    assert seen == [(done, requests, "tinyglu_signature, requests answered") for done in range(1, requests + 1)]


@pytest.mark.parametrize("url", [_Slow], indirect=True)
@pytest.mark.parametrize("concurrency", [1, 16], ids=["one at a time", "several at a time"])
def test_a_task_may_take_longer_to_answer_than_a_measured_request(url, concurrency, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    pytest.importorskip("lm_eval")
    from lm_eval.api.instance import Instance

    from prunebench.quality.models import ServedModel

    model = ServedModel(Endpoint(url, "m", timeout_s=1), MODEL, 64, concurrency)
    ((likelihood, _),) = model.loglikelihood([Instance("loglikelihood", {}, ("the", " fox"), 0)], disable_tqdm=True)
    assert likelihood < 0
