"""The same questions through our transformers engine and lm-eval's own HF backend; tests/vllm asks vLLM on the CPU too.

Tolerances, all in single precision: every answer the same; log-likelihoods of a text of some 300 tokens within 0.02 of each
other; of a single token within 0.001.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tokenizers import processors

from loadgen.endpoint import Endpoint
from prunebench.quality.suites import SHIPPED
from prunebench.servers.commands import ServerCommand
from prunebench.servers.process import start_server
from reports.runs.records.quality import TaskResult
from tests.prunebench.conftest import TINYGLU
from tests.server.engines.tiny_model import reference_logprobs, reference_model

TASKS = ("tinyglu_form", "tinyglu_signature", "tinyglu_text")
TEXT, TOKEN = 0.02, 0.001
LIMIT = 12

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # lm-eval's imports
]


@pytest.fixture(scope="module")
def with_bos(tmp_path_factory) -> Path:
    """TinyGLU with a tokenizer that begins every text by itself, as Llama's does."""
    from tokenizers import Tokenizer

    folder = tmp_path_factory.mktemp("bos") / "tinyglu"
    shutil.copytree(TINYGLU, folder)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|begin|> $A", special_tokens=[("<|begin|>", tokenizer.token_to_id("<|begin|>"))]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A server of TinyGLU as it is."""
    command = ServerCommand(TINYGLU, "tinyglu", "transformers", {"dtype": "float32"}, None)
    log = tmp_path_factory.mktemp("server") / "log"
    server = start_server(command, log, start_timeout_s=120, request_timeout_s=60)
    yield server.endpoint.url
    server.stop()


def evaluated(prunebench: Any, folder: Path, target: object, *words: object) -> dict[str, TaskResult]:
    done = prunebench(
        "evaluate", target, "--tasks", ",".join(TASKS), "--limit", LIMIT, "--output", folder, *words, timeout=300,
        asks_tasks="--in-process" not in words,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return {task: TaskResult.model_validate_json((folder / f"{task}.json").read_bytes()) for task in TASKS}


def assert_agree(one: dict[str, TaskResult], other: dict[str, TaskResult]) -> None:
    for task in ("tinyglu_form", "tinyglu_signature"):
        assert one[task].values == other[task].values
        assert one[task].scores == other[task].scores
    assert one["tinyglu_text"].values == pytest.approx(other["tinyglu_text"].values, abs=TEXT)
    assert len(one["tinyglu_text"].values) == LIMIT


def test_our_engine_and_lm_evals_own_backend_agree(prunebench, tmp_path, with_bos, plain):
    """With a tokenizer that adds a token of its own, which lm-eval's OpenAI client leaves out and its HF backend does not."""
    pytest.importorskip("accelerate")
    single = ("--engine-option", "dtype=float32")
    served = evaluated(prunebench, tmp_path / "served", with_bos, "--engine", "transformers", *single)
    assert_agree(served, evaluated(prunebench, tmp_path / "in-process", with_bos, "--in-process", *single))
    without = evaluated(prunebench, tmp_path / "without", plain, "--tokenizer", TINYGLU)
    assert served["tinyglu_text"].values != pytest.approx(without["tinyglu_text"].values, abs=TEXT)


def test_log_likelihoods_are_those_of_transformers_token_by_token(plain):
    from lm_eval.api.instance import Instance

    from prunebench.quality.models import ServedModel

    client = ServedModel(Endpoint(plain, "tinyglu"), TINYGLU, 1024, 8)
    reference = reference_model(TINYGLU)
    lines = (SHIPPED / "tinyglu_text.jsonl").read_text().splitlines()[:4]
    for text in (json.loads(line)["text"] for line in lines):
        ids = [client.prefix_token_id, *client.tok_encode(text)]
        answer = client.model_call(messages=[ids], generate=False)
        found = answer["choices"][0]["logprobs"]["token_logprobs"][1 : len(ids)]
        rows = reference_logprobs(reference, ids)
        expected = [rows[at, token].item() for at, token in enumerate(ids[1:])]
        assert found == pytest.approx(expected, abs=TOKEN)
        (whole,) = client.loglikelihood_rolling([Instance("loglikelihood_rolling", {}, (text,), 0)], disable_tqdm=True)
        assert whole == pytest.approx(sum(found), abs=1e-6)
