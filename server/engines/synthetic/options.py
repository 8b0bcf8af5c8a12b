"""The synthetic engine's options: what it does, when, and at which power."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, ValidationError

from base.quantities import BYTES, MILLISECONDS, SECONDS
from base.records import Record
from server.engines.base import EngineError
from server.engines.options import unknown_option


class SyntheticOptions(Record):
    """`--engine-option KEY=VALUE` of this engine."""

    prefill_ms: Annotated[float, MILLISECONDS] = Field(default=20.0, ge=0, description="arrival to first token")
    prefill_token_ms: Annotated[float, MILLISECONDS] = Field(
        default=0.0, ge=0, description="added to `prefill_ms` for each token of the prompt"
    )
    token_ms: Annotated[float, MILLISECONDS] = Field(default=5.0, ge=0, description="token to token")
    jitter_ms: Annotated[float, MILLISECONDS] = Field(
        default=0.0, ge=0, description="delays each token by up to this much"
    )
    seed: int = Field(default=0, description="of the jitter, which is the same for the same request")
    chunk_tokens: int = Field(default=1, ge=1, description="tokens sent together, when the last of them is due")
    natural_length: int | None = Field(
        default=None, ge=1, description="end of sequence after this many tokens, unless `ignore_eos`"
    )
    fail_after: int | None = Field(
        default=None, ge=1, description="the engine dies after this many tokens of all requests together"
    )
    hang_after: int | None = Field(
        default=None, ge=1, description="after this many tokens it sends no more, and health stays good"
    )
    memory_bytes: Annotated[int | None, BYTES] = Field(
        default=None, ge=1, description="a checkpoint with larger weights does not start"
    )
    start_s: Annotated[float, SECONDS] = Field(default=0.0, ge=0, description="how long loading takes")
    max_model_len: int = Field(default=4096, ge=2, description="longest prompt and output together, tokens")
    vocab: int | None = Field(default=None, ge=3, description="size of the vocabulary; none: the tokenizer's")
    idle_watts: float = Field(default=50.0, ge=0, description="power without requests")
    active_watts: float = Field(
        default=10.0, ge=0, description="added for each running request; `/energy` has the exact integral"
    )

    @classmethod
    def parse(cls, options: Mapping[str, str]) -> SyntheticOptions:
        """Raises EngineError naming the first option that is unknown or out of range."""
        try:
            return cls.model_validate(dict(options))
        except ValidationError as error:
            first = error.errors()[0]
            if first["type"] == "extra_forbidden":
                raise unknown_option(str(first["loc"][0]), cls.model_fields) from None
            raise EngineError(f"--engine-option {first['loc'][0]}: {first['msg']}") from None
