"""The answers of every path, for /openapi.json and its readers.

Short answers are made from these models. Completions, streams, token lists and energy are written by hand, for speed
(`server.api.answer` has the figures), and tests hold them to the models.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from server.engines.base import EngineInfo, FinishReason, RequestTimes


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ErrorBody(_Answer):
    """What went wrong: `param` is the field to fix, `code` is for programs."""

    message: str
    type: str
    param: str | None
    code: str | int


class Error(_Answer):
    """Every error, and the last event of a stream that fails after it has begun."""

    error: ErrorBody


class PromptTokensDetails(_Answer):
    """What is known of the prompts' tokens."""

    cached_tokens: int  # from the engine's prefix cache


class Usage(_Answer):
    """Tokens of all choices together; a prompt with many choices is counted once."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails | None = None  # left out where the engine does not say


class _Choice(_Answer):
    index: int
    finish_reason: FinishReason
    stop_reason: str | int | None  # the stop string, or the id from stop_token_ids
    engine_times: RequestTimes | None = None  # only with include_engine_times


class _Whole(_Answer):
    id: str
    created: int  # seconds since 1970
    model: str
    usage: Usage


class CompletionLogprobs(_Answer):
    """One entry a token, prompt tokens first with `echo`; the first prompt token has none."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


class CompletionChoice(_Choice):
    """One text."""

    text: str
    logprobs: CompletionLogprobs | None


class Completion(_Whole):
    """Answer of /v1/completions."""

    object: Literal["text_completion"]
    choices: list[CompletionChoice]


class Likely(_Answer):
    """One of the most likely tokens."""

    token: str
    logprob: float
    bytes: list[int]


class Chosen(Likely):
    """The generated token."""

    top_logprobs: list[Likely]


class ChatLogprobs(_Answer):
    """One entry a token."""

    content: list[Chosen]


class Message(_Answer):
    """The model's message."""

    role: Literal["assistant"]
    content: str


class ChatChoice(_Choice):
    """One message."""

    message: Message
    logprobs: ChatLogprobs | None


class ChatCompletion(_Whole):
    """Answer of /v1/chat/completions."""

    object: Literal["chat.completion"]
    choices: list[ChatChoice]


class Tokens(_Answer):
    """Answer of /tokenize."""

    count: int
    max_model_len: int
    tokens: list[int]


class Text(_Answer):
    """Answer of /detokenize."""

    prompt: str


class ModelCard(_Answer):
    """The model served here."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: Literal["prunebench"]
    max_model_len: int
    engine: EngineInfo


class Models(_Answer):
    """Answer of /v1/models."""

    object: Literal["list"]
    data: list[ModelCard]


class Health(_Answer):
    """Answer of /health while the engine can serve."""

    status: Literal["ok"]
