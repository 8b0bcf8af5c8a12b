"""The SDK most clients are written with, unchanged, against a real server."""

from __future__ import annotations

import openai
import pytest


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


def test_errors_are_the_sdks_own(sdk):
    with pytest.raises(openai.BadRequestError, match="suffix"):
        sdk.completions.create(model="tiny", prompt="x", suffix="y")
    with pytest.raises(openai.NotFoundError, match="other"):
        sdk.completions.create(model="other", prompt="x")
