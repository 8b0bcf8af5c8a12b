"""The requests to tokenize a text, and back."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from server.api.requests.body import IN_SLICES, Body


class TokenizeRequest(Body):
    """`POST /tokenize`."""

    prompt: str
    model: str | None = None
    add_special_tokens: bool = True


class DetokenizeRequest(Body):
    """`POST /detokenize`."""

    tokens: Annotated[list[int], Field(fail_fast=True), IN_SLICES]
    model: str | None = None
