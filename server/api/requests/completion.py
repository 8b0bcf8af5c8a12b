"""The request for completions."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from server.api.requests.body import IN_SLICES
from server.api.requests.sampling import MOST_LOGPROBS, SamplingRequest

_MOST_PROMPTS = 4096  # in one request
_TokenIds = Annotated[list[int], Field(min_length=1, fail_fast=True), IN_SLICES]
_Texts = Annotated[list[str], Field(min_length=1, max_length=_MOST_PROMPTS, fail_fast=True)]
_Prompts = Annotated[list[_TokenIds], Field(min_length=1, max_length=_MOST_PROMPTS, fail_fast=True)]


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
