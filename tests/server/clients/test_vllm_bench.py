"""The request functions of `vllm bench serve`, unchanged: what they measure of a server whose times are known."""

from __future__ import annotations

import aiohttp
import pytest

from tests.server.conftest import running_server

PREFILL_S, TOKEN_S, TOKENS = 0.06, 0.01, 20

pytestmark = [
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
