"""The bodies of requests. A field of OpenAI or vLLM that this server does not support is refused by name, never ignored.

`null` means "the default" for every field, as it does at OpenAI. Sampling defaults are OpenAI's (temperature 1, no top-k):
a checkpoint's `generation_config.json` is never read, so that two checkpoints get the same request. Fields below
`# vLLM` are vLLM's extensions with vLLM's meaning.
"""

from __future__ import annotations

import json
from itertools import chain, islice
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)
from pydantic_core import ErrorDetails

from server.engines.base import SamplingOptions
from server.errors import ApiError
from server.offloading.json_reader import read_json
from server.offloading.off_loop import SLICE, slices

MOST_LOGPROBS = 20  # vLLM's own limit
MOST_CHOICES = 128
MOST_PROMPTS = 4096  # in one request
MOST_MESSAGES = 4096  # in one request, and parts in one message
_EXPECTED = {  # where pydantic would name the members of a union
    "prompt": "must be a text, a list of token ids, or a list of at most 4096 of either, and not empty",
    "stop": "must be a text or a list of at most 64 texts, none of them empty",
}
_StopString = Annotated[str, Field(min_length=1, max_length=1024)]


def _in_slices(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    """A long list is validated as several: pydantic holds Python's lock until it ends."""
    if not isinstance(value, list) or len(value) <= SLICE:
        return validate(value)
    return list(chain.from_iterable(map(validate, slices(value))))


# Lists fail at their first wrong member: one error for each of a million would be the larger problem.
_StopList = Annotated[list[_StopString], Field(max_length=64, fail_fast=True)]
_TokenIds = Annotated[list[int], Field(min_length=1, fail_fast=True), WrapValidator(_in_slices)]
_Texts = Annotated[list[str], Field(min_length=1, max_length=MOST_PROMPTS, fail_fast=True)]
_Prompts = Annotated[list[_TokenIds], Field(min_length=1, max_length=MOST_PROMPTS, fail_fast=True)]
_MOST_ERRORS = 10  # reported of one request


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)  # strict: a "5" is no 5

    @model_validator(mode="before")
    @classmethod
    def _null_is_the_default(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        given = {key: value for key, value in data.items() if value is not None}
        if len(given) > len(cls.model_fields) + _MOST_ERRORS:  # pydantic makes an error of every one
            unknown = islice((key for key in given if key not in cls.model_fields), _MOST_ERRORS)
            return {key: given[key] for key in (*unknown, *(key for key in given if key in cls.model_fields))}
        return given


class StreamOptions(_Request):
    """When a stream reports token counts."""

    include_usage: bool = False  # a last chunk with usage and no choices
    continuous_usage_stats: bool = False  # usage in every chunk


class SamplingRequest(_Request):
    """What completions and chat have in common."""

    model: str | None = None
    max_tokens: int | None = Field(default=None, ge=0)
    n: int = Field(default=1, ge=1, le=MOST_CHOICES)
    temperature: float = Field(default=1.0, ge=0, le=100)
    top_p: float = Field(default=1.0, gt=0, le=1)
    presence_penalty: float = Field(default=0.0, ge=-2, le=2)
    frequency_penalty: float = Field(default=0.0, ge=-2, le=2)
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)
    stop: _StopString | _StopList = []
    stream: bool = False
    stream_options: StreamOptions | None = None
    user: str | None = None  # the caller's own label; accepted and not used, as at OpenAI
    # vLLM
    top_k: int = Field(default=0, ge=-1, lt=2**31)
    min_p: float = Field(default=0.0, ge=0, le=1)
    repetition_penalty: float = Field(default=1.0, gt=0, le=100)
    min_tokens: int = Field(default=0, ge=0)
    ignore_eos: bool = False
    stop_token_ids: Annotated[list[int], Field(max_length=64, fail_fast=True)] = []
    include_stop_str_in_output: bool = False
    skip_special_tokens: bool = True
    # ours
    include_engine_times: bool = False  # with each choice's end: its phases' times by the engine's own clock

    @model_validator(mode="after")
    def _options_fit_together(self) -> SamplingRequest:
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options is only for stream: true")
        if self.max_tokens is not None and self.min_tokens > self.max_tokens:
            raise ValueError(f"min_tokens {self.min_tokens} is more than max_tokens {self.max_tokens}")
        return self

    @property
    def stop_strings(self) -> list[str]:
        """`stop` as a list."""
        return [self.stop] if isinstance(self.stop, str) else self.stop

    def sampling(self, max_tokens: int, logprobs: int | None, choice: int) -> SamplingOptions:
        """The engine's options for choice number `choice`; each of `n` choices has its own seed."""
        return SamplingOptions(
            max_tokens=max_tokens,
            min_tokens=min(self.min_tokens, max_tokens),
            ignore_eos=self.ignore_eos,
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=max(self.top_k, 0),
            min_p=self.min_p,
            repetition_penalty=self.repetition_penalty,
            presence_penalty=self.presence_penalty,
            frequency_penalty=self.frequency_penalty,
            seed=None if self.seed is None else self.seed ^ choice,  # stays within 64 bits
            stop_token_ids=tuple(self.stop_token_ids),
            logprobs=logprobs,
        )


class CompletionRequest(SamplingRequest):
    """`POST /v1/completions`."""

    prompt: str | _TokenIds | _Texts | _Prompts
    max_tokens: int = Field(default=16, ge=0)
    echo: bool = False
    logprobs: int | None = Field(default=None, ge=0, le=MOST_LOGPROBS)
    best_of: Literal[1] = 1
    # vLLM
    add_special_tokens: bool = (
        True  # to text prompts, as the tokenizer's post-processor does; ids are taken as they are
    )

    @model_validator(mode="after")
    def _zero_tokens_only_with_echo(self) -> CompletionRequest:
        if self.max_tokens == 0 and not self.echo:
            raise ValueError("max_tokens 0 generates nothing; it is only for echo: true")
        return self

    @property
    def prompts(self) -> list[str] | list[list[int]]:
        """`prompt` as a list of prompts, each text or token ids."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        if isinstance(self.prompt[0], int):
            return [self.prompt]
        return self.prompt


class TextPart(_Request):
    """One part of a message given as parts. Only text is supported."""

    type: Literal["text"]
    text: str


class ResponseFormat(_Request):
    """Free text is the only format."""

    type: Literal["text"]


_Objects = Annotated[list[dict[str, Any]], Field(max_length=MOST_MESSAGES, fail_fast=True)]


class ChatMessage(_Request):
    """One message. The chat template decides which roles and fields it allows."""

    role: str
    content: str | Annotated[list[TextPart], Field(fail_fast=True, max_length=MOST_MESSAGES)] = ""
    name: str | None = None
    reasoning_content: str | None = None
    tool_calls: _Objects | None = None
    tool_call_id: str | None = None

    @property
    def text(self) -> str:
        """The content as one string."""
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)

    def for_template(self) -> dict[str, Any]:
        """As templates expect it: content as one string, arguments of calls as objects, absent fields left out.

        Raises ApiError 400 for arguments that are no JSON.
        """
        message: dict[str, Any] = {"role": self.role, "content": self.text}
        for key in ("name", "reasoning_content", "tool_call_id"):
            if (value := getattr(self, key)) is not None:
                message[key] = value
        if self.tool_calls is None:
            return message
        return {**message, "tool_calls": [_with_arguments(call) for call in self.tool_calls]}


def _with_arguments(call: dict[str, Any]) -> dict[str, Any]:
    """A tool call with its arguments, JSON in a string at OpenAI, as the object that templates write; vLLM does the same."""
    function = call.get("function")
    if not isinstance(function, dict) or not isinstance(function.get("arguments"), str):
        return call
    try:
        arguments = json.loads(function["arguments"] or "{}")
    except (ValueError, RecursionError) as error:
        raise ApiError(400, f"messages: the arguments of a tool call are not JSON: {error}", param="messages") from None
    return {**call, "function": {**function, "arguments": arguments}}


class ChatRequest(SamplingRequest):
    """`POST /v1/chat/completions`. Without a limit it may fill the context."""

    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=MOST_MESSAGES, fail_fast=True)]
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    logprobs: bool = False
    top_logprobs: int | None = Field(default=None, ge=0, le=MOST_LOGPROBS)
    response_format: ResponseFormat | None = None
    # vLLM
    add_generation_prompt: bool = True
    chat_template_kwargs: dict[str, Any] = {}
    # For the template. Calls that the model writes stay in the text, in its own notation.
    tools: _Objects | None = None
    documents: _Objects | None = None

    @property
    def template_variables(self) -> dict[str, Any]:
        """Variables of the template beside the messages."""
        lists = {"tools": self.tools, "documents": self.documents}
        return {**self.chat_template_kwargs, **{key: value for key, value in lists.items() if value is not None}}

    @model_validator(mode="after")
    def _lists_are_given_once(self) -> ChatRequest:
        for key in ("tools", "documents"):
            if getattr(self, key) is not None and key in self.chat_template_kwargs:
                raise ValueError(f"{key} is given twice, also in chat_template_kwargs")
        return self

    @model_validator(mode="after")
    def _logprobs_fit_together(self) -> ChatRequest:
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError("top_logprobs is only for logprobs: true")
        return self

    @property
    def most_tokens(self) -> int | None:
        """The newer name goes first, as at OpenAI."""
        return self.max_completion_tokens or self.max_tokens


class TokenizeRequest(_Request):
    """`POST /tokenize`."""

    prompt: str
    model: str | None = None
    add_special_tokens: bool = True


class DetokenizeRequest(_Request):
    """`POST /detokenize`."""

    tokens: Annotated[list[int], Field(fail_fast=True), WrapValidator(_in_slices)]
    model: str | None = None


R = TypeVar("R", bound=_Request)


def parse(kind: type[R], body: bytes) -> R:
    """The request in `body`. Raises ApiError 400 naming each field that is wrong or not supported."""
    try:
        return kind.model_validate(read_json(body))
    except ValidationError as error:
        raise _bad_request(error) from None
    except ValueError as error:
        raise ApiError(400, f"the body is not JSON: {error}") from None


def _bad_request(error: ValidationError) -> ApiError:
    messages: dict[str, str] = {}
    for detail in error.errors(include_url=False, include_input=False):
        path = _path(detail["loc"])
        if path not in messages or detail["type"] == "too_long":  # a union has one error for each member
            messages[path] = _message(path, detail)
    return ApiError(400, "; ".join(islice(messages.values(), _MOST_ERRORS)), param=next(iter(messages)) or None)


def _path(loc: tuple[int | str, ...]) -> str:
    """The field's name as the client wrote it, without pydantic's names for union members."""
    depth = {"messages": 3, "stream_options": 2, "response_format": 2}.get(str(loc[0]), 1) if loc else 0
    return ".".join(str(part) for part in loc[:depth])


def _message(path: str, detail: ErrorDetails) -> str:
    if detail["type"] == "extra_forbidden":
        return f"{path}: this server does not support this field"
    message = _EXPECTED.get(path) or detail["msg"].removeprefix("Value error, ")
    return f"{path}: {message}" if path else message
