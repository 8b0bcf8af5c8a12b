"""The SDK most clients are written with, unchanged, against a real server."""

from __future__ import annotations

import asyncio
import math
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.server.conftest import running_server, wait_until
from tests.support.lazy import Lazy

openai = Lazy("openai")


@pytest.fixture(scope="module")
def sdk(server):
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=20) as client:
        yield client


def test_models_are_listed(sdk):
    assert [model.id for model in sdk.models.list()] == ["tiny"]


def test_completions_with_logprobs_and_choices(sdk):
    answer = sdk.completions.create(
        model="tiny", prompt="the quick", max_tokens=4, n=2, logprobs=2, stop=["zzz"], seed=1
    )
    assert len(answer.choices) == 2
    assert len(answer.choices[0].logprobs.token_logprobs) == 4
    assert answer.usage.completion_tokens == 8


def test_streamed_completions_add_up(sdk):
    whole = sdk.completions.create(model="tiny", prompt="the", max_tokens=8)
    chunks = list(
        sdk.completions.create(
            model="tiny", prompt="the", max_tokens=8, stream=True, stream_options={"include_usage": True}
        )
    )
    assert "".join(choice.text for chunk in chunks for choice in chunk.choices) == whole.choices[0].text
    assert chunks[-1].usage.completion_tokens == 8


def test_chat_streamed_and_whole(sdk):
    messages = [{"role": "user", "content": "the fox"}]
    whole = sdk.chat.completions.create(
        model="tiny", messages=messages, max_completion_tokens=6, logprobs=True, top_logprobs=2
    )
    chunks = list(sdk.chat.completions.create(model="tiny", messages=messages, max_tokens=6, stream=True))
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole.choices[0].message.content
    assert len(whole.choices[0].logprobs.content) == 6


def test_vllms_extensions_go_through_extra_body(sdk):
    answer = sdk.completions.create(
        model="tiny", prompt=[5, 6], max_tokens=6, extra_body={"ignore_eos": True, "min_tokens": 2, "top_k": -1}
    )
    assert answer.usage.completion_tokens == 6


@pytest.mark.parametrize("prompt", [["the", "fox"], [[5, 6], [7]]])
def test_a_list_of_prompts_is_a_batch_in_one_request(sdk, prompt):
    answer = sdk.completions.create(model="tiny", prompt=prompt, n=2, max_tokens=3)
    alone = [sdk.completions.create(model="tiny", prompt=one, max_tokens=3).choices[0].text for one in prompt]
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    assert [choice.text for choice in answer.choices] == [alone[0], alone[0], alone[1], alone[1]]


def test_a_prompt_is_scored_by_echo_and_logprobs(sdk):
    """The synthetic engine's language: half of the probability is on the next number."""
    answer = sdk.completions.create(model="tiny", prompt=[5, 6, 9], echo=True, logprobs=1, max_tokens=1)
    found = answer.choices[0].logprobs
    assert len(found.tokens) == len(found.text_offset) == 4
    assert found.token_logprobs[0] is None
    assert found.token_logprobs[1] == found.token_logprobs[3] == pytest.approx(math.log(0.5))
    assert found.token_logprobs[2] < math.log(0.5)
    assert all(own in top.values() for own, top in zip(found.token_logprobs[1:], found.top_logprobs[1:], strict=True))


def test_a_stop_string_ends_the_text_and_is_named(sdk):
    whole = sdk.completions.create(model="tiny", prompt=[20], max_tokens=30).choices[0].text
    (choice,) = sdk.completions.create(model="tiny", prompt=[20], max_tokens=30, stop=[whole[5:7]]).choices
    assert choice.text == whole[: whole.index(whole[5:7])]
    assert choice.finish_reason == "stop"
    assert choice.stop_reason == whole[5:7]


def test_usage_in_every_chunk_of_a_chat_when_asked(sdk):
    chunks = list(
        sdk.chat.completions.create(
            model="tiny",
            messages=[{"role": "user", "content": [{"type": "text", "text": "the fox"}]}],
            max_tokens=5,
            seed=7,
            stream=True,
            stream_options={"include_usage": True},
            extra_body={"stream_options": {"include_usage": True, "continuous_usage_stats": True}},
        )
    )
    assert chunks[-1].choices == []
    assert [chunk.usage.completion_tokens for chunk in chunks if chunk.choices and chunk.usage] == [1, 2, 3, 4, 5]
    assert chunks[-1].usage.completion_tokens == 5
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]][-1] == "length"


async def test_the_async_client_streams_many_at_once_and_may_leave_early(server):
    async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:

        async def first_chunks(count):
            stream = await client.completions.create(model="tiny", prompt="the", max_tokens=3000, stream=True)
            async with stream:
                return [await anext(stream) for _ in range(count)]

        found = await asyncio.gather(*(first_chunks(count) for count in (1, 5, 9)))
        assert [len(chunks) for chunks in found] == [1, 5, 9]
        await asyncio.to_thread(wait_until, lambda: server.running == 0)


def test_errors_are_the_sdks_own(sdk):
    with pytest.raises(openai.BadRequestError, match="suffix"):
        sdk.completions.create(model="tiny", prompt="x", suffix="y")
    with pytest.raises(openai.NotFoundError, match="other"):
        sdk.completions.create(model="other", prompt="x")
    with pytest.raises(openai.BadRequestError) as too_long:
        sdk.completions.create(model="tiny", prompt=[5] * 5000)
    assert too_long.value.code == "context_length_exceeded"
    assert too_long.value.param == "prompt"


def test_refusals_for_lack_of_a_key_or_of_places_are_classes_of_their_own(checkpoint):
    with running_server(
        checkpoint, api_key="s3cret", max_concurrent_requests=2, engine_options={"prefill_ms": "60000"}
    ) as s:
        url = f"{s.url}/v1"
        with (
            openai.OpenAI(base_url=url, api_key="wrong", max_retries=0) as stranger,
            pytest.raises(openai.AuthenticationError, match="API key"),
        ):
            stranger.models.list()
        with (
            openai.OpenAI(base_url=url, api_key="s3cret", max_retries=0, timeout=20) as sdk,
            ThreadPoolExecutor(1) as pool,
        ):
            waiting = pool.submit(sdk.with_options(timeout=5).completions.create, model="tiny", prompt="x", n=2)
            wait_until(lambda: s.running == 2)
            with pytest.raises(openai.RateLimitError, match="in flight"):
                sdk.completions.create(model="tiny", prompt="x")
            with pytest.raises(openai.APITimeoutError):
                waiting.result()
        wait_until(lambda: s.running == 0)


def test_a_dead_engine_is_an_internal_server_error_of_the_sdk_and_a_failed_stream_raises(checkpoint):
    with (
        running_server(checkpoint, engine_options={"fail_after": "5"}) as server,
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as sdk,
    ):
        with pytest.raises(openai.APIError, match="engine has died"):
            list(sdk.completions.create(model="tiny", prompt="x", max_tokens=50, stream=True))
        with pytest.raises(openai.InternalServerError) as dead:
            sdk.completions.create(model="tiny", prompt="x")
        assert (dead.value.status_code, dead.value.code) == (503, "engine_dead")
        assert dead.value.request_id
