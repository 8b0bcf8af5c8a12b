"""What /openapi.json says: every body, answer, status and error of every path, for readers and for generators of clients.

The models of answers are only described here: answers are written by hand, for speed, and tests hold them to this.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict
from pydantic.json_schema import models_json_schema

from energy.records import EnergyCounters, EnergyTrace
from server.api.protocol import ChatRequest, CompletionRequest, DetokenizeRequest, TokenizeRequest
from server.engines.base import EngineInfo, FinishReason, RequestTimes

_REFERENCE = "#/components/schemas/{model}"


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ErrorBody(_Answer):
    """What went wrong: `param` is the field to mend, `code` is for programs."""

    message: str
    type: str
    param: str | None
    code: str | int


class Error(_Answer):
    """Every error, and the last event of a stream that fails after it has begun."""

    error: ErrorBody


class Usage(_Answer):
    """Tokens of all choices together; a prompt with many choices is counted once."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


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
    """A token that could have come."""

    token: str
    logprob: float
    bytes: list[int]


class Chosen(Likely):
    """The token that came."""

    top_logprobs: list[Likely]


class ChatLogprobs(_Answer):
    """One entry a token."""

    content: list[Chosen]


class Message(_Answer):
    """What the model says."""

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


_ERRORS = {
    400: "something in the request is wrong or not supported; the message names it",
    401: "the server has an API key, and the request has not",
    404: "another model is served here",
    408: "the request came too slowly",
    413: "the body is too long",
    429: "too many sequences are in flight; try again later",
    500: "the server failed",
    503: "the model is being loaded, the server is stopping, or the engine has died",
}


@dataclass(frozen=True)
class _Operation:
    summary: str
    answer: type[BaseModel] | None  # None: plain text
    errors: tuple[int, ...] = (401, 500, 503)
    body: type[BaseModel] | None = None
    streams: bool = False
    parameters: list[dict[str, Any]] = field(default_factory=list)

    def described(self) -> dict[str, Any]:
        """The operation's object in OpenAPI."""
        whole = {"application/json": _schema(self.answer)} if self.answer else {"text/plain": _TEXT}
        content = {**whole, **({"text/event-stream": _EVENT} if self.streams else {})}
        responses: dict[str, Any] = {"200": {"description": "the answer", "content": content}}
        for status in self.errors:
            responses[str(status)] = {
                "description": _ERRORS[status],
                "content": {"application/json": _schema(Error)},
            }
        told: dict[str, Any] = {"summary": self.summary, "responses": responses}
        if self.body is not None:
            told["requestBody"] = {"required": True, "content": {"application/json": _schema(self.body)}}
        return {**told, "parameters": self.parameters} if self.parameters else told


_TEXT = {"schema": {"type": "string"}}
_EVENT = {  # one event of the stream
    "schema": {
        "type": "object",
        "properties": {"data": {"type": "string", "description": "JSON of a chunk or of an Error; at last [DONE]"}},
        "required": ["data"],
    }
}
_OF_BODY = (400, 401, 404, 408, 413, 500, 503)
_OF_GENERATION = (*_OF_BODY, 429)
_SINCE = {"name": "since_ns", "in": "query", "schema": {"type": "integer", "minimum": 0, "maximum": 2**63 - 1}}

_OPERATIONS = {
    "/health": _Operation("Whether the server can serve", Health, (500, 503)),
    "/metrics": _Operation("Figures for Prometheus", None),
    "/energy": _Operation("Joules of every meter since the server began", EnergyCounters),
    "/energy/trace": _Operation(
        "Samples of every meter since a moment", EnergyTrace, (400, 401, 500, 503), parameters=[_SINCE]
    ),
    "/v1/models": _Operation("The model, its context and its engine", Models),
    "/v1/completions": _Operation("Continue prompts", Completion, _OF_GENERATION, body=CompletionRequest, streams=True),
    "/v1/chat/completions": _Operation(
        "Answer messages", ChatCompletion, _OF_GENERATION, body=ChatRequest, streams=True
    ),
    "/tokenize": _Operation("Token ids of a text", Tokens, _OF_BODY, body=TokenizeRequest),
    "/detokenize": _Operation("The text of token ids", Text, _OF_BODY, body=DetokenizeRequest),
}


def _schema(model: type[BaseModel]) -> dict[str, Any]:
    return {"schema": {"$ref": _REFERENCE.format(model=model.__name__)}}


def operation(path: str) -> dict[str, Any]:
    """What the document says of `path`, for FastAPI's `openapi_extra`."""
    return _OPERATIONS[path].described()


def components() -> dict[str, Any]:
    """The schemas the operations refer to, and those they refer to in turn; and how a key is given."""
    described: list[tuple[type[BaseModel], Literal["validation", "serialization"]]] = [(Error, "serialization")]
    for one in _OPERATIONS.values():
        if one.body is not None:
            described.append((one.body, "validation"))
        if one.answer is not None:
            described.append((one.answer, "serialization"))
    _, schemas = models_json_schema(described, ref_template=_REFERENCE)
    return {"schemas": schemas["$defs"], "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}}
