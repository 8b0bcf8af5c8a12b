"""What requests for completions and chat have in common.

Sampling defaults are OpenAI's (temperature 1, no top-k): a checkpoint's `generation_config.json` is never read, so that two
checkpoints get the same request. Fields below `# vLLM` are vLLM's extensions with vLLM's meaning.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from server.api.requests.body import Body
from server.engines.base import SamplingOptions

MOST_LOGPROBS = 20  # vLLM's own limit
_MOST_CHOICES = 128
_StopString = Annotated[str, Field(min_length=1, max_length=1024)]
_StopList = Annotated[list[_StopString], Field(max_length=64, fail_fast=True)]


class StreamOptions(Body):
    """When a stream reports token counts."""

    include_usage: bool = False  # a last chunk with usage and no choices
    continuous_usage_stats: bool = False  # usage in every chunk


class SamplingRequest(Body):
    """What completions and chat have in common."""

    model: str | None = None
    max_tokens: int | None = Field(default=None, ge=0)
    n: int = Field(default=1, ge=1, le=_MOST_CHOICES)
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
