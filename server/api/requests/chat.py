"""The request for chat, and its messages as the chat template expects them."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from server.api.requests.body import Body
from server.api.requests.sampling import MOST_LOGPROBS, SamplingRequest
from server.errors import ApiError

_MOST_MESSAGES = 4096  # in one request, and parts in one message
_Objects = Annotated[list[dict[str, Any]], Field(max_length=_MOST_MESSAGES, fail_fast=True)]


class TextPart(Body):
    """One part of a message given as parts. Only text is supported."""

    type: Literal["text"]
    text: str


class ResponseFormat(Body):
    """Free text is the only format."""

    type: Literal["text"]


class ChatMessage(Body):
    """One message. The chat template decides which roles and fields it allows."""

    role: str
    content: str | Annotated[list[TextPart], Field(fail_fast=True, max_length=_MOST_MESSAGES)] = ""
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

    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=_MOST_MESSAGES, fail_fast=True)]
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
