"""`vllm bench serve`: what its request functions measure of a server whose times are known, and its result as a load of ours."""

from __future__ import annotations

import json
from pathlib import Path

import aiohttp
import pytest

from reports.exports.trials import export
from reports.runs.loads import read_loads
from tests.server.conftest import running_server
from tests.vllm.forks import bench

PREFILL_S, TOKEN_S, TOKENS = 0.06, 0.01, 20

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.slow,  # importing vLLM
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning"),
]


@pytest.fixture(scope="module")
def known(checkpoint):
    options = {"prefill_ms": f"{PREFILL_S * 1e3}", "token_ms": f"{TOKEN_S * 1e3}"}
    with running_server(checkpoint, engine_options=options) as server:
        yield server


async def measured(function, server, path, **fields):
    from vllm.benchmarks.lib.endpoint_request_func import RequestFuncInput

    asked = RequestFuncInput(
        **{"prompt": "the quick", "prompt_len": 99, "output_len": TOKENS, "ignore_eos": True, **fields},
        api_url=f"{server.url}{path}",
        model="tiny",
    )
    async with aiohttp.ClientSession() as session:
        return await function(request_func_input=asked, session=session)


def assert_sane(output, gaps):
    """Nothing is early; how late things are is the machine's business, within reason."""
    assert output.success, output.error
    assert output.output_tokens == TOKENS
    assert len(output.itl) == gaps
    assert PREFILL_S * 0.98 < output.ttft < output.latency
    decode_s = (TOKENS - 1) * TOKEN_S
    assert PREFILL_S + decode_s * 0.98 < output.latency < 10 * (PREFILL_S + decode_s)
    assert output.ttft + sum(output.itl) == pytest.approx(output.latency)


async def test_completions_are_measured_token_by_token(known, tokenizer):
    from vllm.benchmarks.lib.endpoint_request_func import async_request_openai_completions

    output = await measured(async_request_openai_completions, known, "/v1/completions", request_id="bench-1")
    assert_sane(output, gaps=TOKENS - 1)
    prompt = tokenizer.encode("the quick", add_special_tokens=True)
    assert output.prompt_len == len(prompt)
    counted = [token_id % (tokenizer.vocabulary - 1) for token_id in range(prompt[-1] + 1, prompt[-1] + 1 + TOKENS)]
    text = tokenizer.decode([*prompt, *counted], skip_special_tokens=True)
    assert "the quick" + output.generated_text == text


async def test_token_ids_and_sampling_options_go_through(known):
    from vllm.benchmarks.lib.endpoint_request_func import async_request_openai_completions

    extra = {"temperature": 0.0, "top_p": 0.9, "min_p": 0.1, "seed": 3}
    output = await measured(
        async_request_openai_completions, known, "/v1/completions", prompt=[7, 8, 9], extra_body=extra, logprobs=1
    )
    assert_sane(output, gaps=TOKENS - 1)
    assert output.prompt_len == 3


async def test_chat_completions_are_measured_too(known):
    """The role comes with the first token, not before it; the function counts it as one more gap of no length."""
    from vllm.benchmarks.lib.endpoint_request_func import async_request_openai_chat_completions

    output = await measured(async_request_openai_chat_completions, known, "/v1/chat/completions")
    assert_sane(output, gaps=TOKENS)
    assert output.itl[0] < TOKEN_S
    assert output.generated_text


async def test_a_refusal_is_a_failure_with_a_reason(known):
    from vllm.benchmarks.lib.endpoint_request_func import async_request_openai_completions

    output = await measured(async_request_openai_completions, known, "/v1/completions", extra_body={"suffix": "x"})
    assert not output.success
    assert output.error == "Bad Request"


def test_what_the_installed_vllm_writes_is_read_and_has_no_key_that_we_lack(known, forks, tmp_path):
    tinyglu = Path(__file__).parents[2] / "examples" / "tinyglu"
    words = ["--backend", "openai", "--base-url", known.url, "--model", "tiny", "--tokenizer", tinyglu]
    words += ["--dataset-name", "random", "--random-input-len", 16, "--random-output-len", 8, "--num-prompts", 6]
    words += ["--request-rate", 20, "--ignore-eos", "--save-result", "--save-detailed", "--disable-tqdm"]
    words += ["--result-dir", tmp_path, "--result-filename", "real.json"]
    log = tmp_path / "log"
    process = forks.start(log, bench, *map(str, words))
    try:
        assert process.wait(240) == 0, log.read_text()[-2000:]
    finally:
        process.end()
    written = json.loads((tmp_path / "real.json").read_text())
    load = read_loads(tmp_path / "real.json").trials[0]
    assert load.metrics.completed.all()
    assert load.metrics.ttft_ms.mean() == pytest.approx(written["mean_ttft_ms"])
    assert load.metrics.tpot_ms.mean() == pytest.approx(written["mean_tpot_ms"])
    ours = json.loads(export([tmp_path / "real.json"], "vllm-json", tmp_path / "ours.json").read_text())
    assert set(written) - set(ours) <= {"rtfx"}  # of speech
