"""The synthetic engine's options: what it does, when, and at which power."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field, ValidationError

from base.records import Record
from server.engines.base import EngineError


class SyntheticOptions(Record):
    """`--engine-option KEY=VALUE` of this engine."""

    prefill_ms: float = Field(default=20.0, ge=0)  # arrival to first token, and
    prefill_token_ms: float = Field(default=0.0, ge=0)  # this much more for each token of the prompt
    token_ms: float = Field(default=5.0, ge=0)  # token to token
    jitter_ms: float = Field(default=0.0, ge=0)  # each token up to this much later than scheduled
    seed: int = 0  # of the jitter
    chunk_tokens: int = Field(default=1, ge=1)  # tokens in one delta, sent when the last of them is due
    natural_length: int | None = Field(default=None, ge=1)  # end of sequence after this many tokens, unless ignore_eos
    fail_after: int | None = Field(
        default=None, ge=1
    )  # the engine dies after this many tokens of all requests together
    hang_after: int | None = Field(default=None, ge=1)  # no token after this many, while health stays good
    memory_bytes: int | None = Field(default=None, ge=1)  # a checkpoint with larger weights does not start
    start_s: float = Field(default=0.0, ge=0)  # loading time
    max_model_len: int = Field(default=4096, ge=2)
    vocab: int | None = Field(default=None, ge=3)  # None: that of the checkpoint's tokenizer
    idle_watts: float = Field(default=50.0, ge=0)
    active_watts: float = Field(default=10.0, ge=0)

    @classmethod
    def parse(cls, options: Mapping[str, str]) -> SyntheticOptions:
        """Raises EngineError naming the first option that is unknown or out of range."""
        try:
            return cls.model_validate(dict(options))
        except ValidationError as error:
            first = error.errors()[0]
            raise EngineError(f"--engine-option {first['loc'][0]}: {first['msg']}") from None
