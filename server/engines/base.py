"""The engine protocol: token ids in, token ids out.

Tokenizing, stop strings, OpenAI JSON, clipping, limits and metrics are the app's; an engine only computes. Every method is
called from one asyncio event loop.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

from base.errors import UserError

if TYPE_CHECKING:  # pydantic comes with it, and the command line reads the engines' names without
    from energy.meters.base import Meter

FinishReason = Literal["stop", "length", "abort"]


class EngineError(UserError):
    """A checkpoint, option or machine the engine cannot work with; the message names what to fix."""


class EngineDeadError(Exception):
    """The engine has died and will not recover: in-flight requests fail with 503 and the server exits."""


class BadRequestError(Exception):
    """The engine refused this one request; the message goes to the client with a 400."""


@dataclass(frozen=True, slots=True)
class SamplingOptions:
    """How to generate. Field names and neutral values are the OpenAI and vLLM ones."""

    max_tokens: int
    min_tokens: int = 0  # no end-of-sequence before this many tokens
    ignore_eos: bool = False
    temperature: float = 1.0  # 0 is greedy
    top_p: float = 1.0
    top_k: int = 0  # 0 is off
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    seed: int | None = None
    stop_token_ids: tuple[int, ...] = ()
    logprobs: int | None = None  # None: off; n: the chosen token's and the n most likely


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """Natural-log probability of one token, from the raw logits, and of the most likely ones (which include it)."""

    token_id: int
    logprob: float
    top: dict[int, float]


@dataclass(frozen=True, slots=True)
class RequestTimes:
    """The phases of one request by the engine's own clock, seconds."""

    queue_s: float  # waiting for a place in the batch
    prefill_s: float  # from there to the first token
    decode_s: float  # from the first to the last token


@dataclass(slots=True)  # not frozen: one is made for every token, and a frozen one takes three times as long
class Delta:
    """Tokens generated since the last delta. The last one of a request, and only that, has a finish reason.

    The end-of-sequence token that stopped a request is counted and included in `token_ids`.
    """

    token_ids: Sequence[int]
    logprobs: Sequence[TokenLogprob] | None = None
    finish_reason: FinishReason | None = None
    times: RequestTimes | None = None  # with the last delta, where the engine knows them
    cached_tokens: int | None = None  # of the prompt, from the prefix cache, where the engine knows it


@dataclass(frozen=True, slots=True)
class EngineLoad:
    """Current occupancy, for `/metrics` and for tests of leaks."""

    running: int
    waiting: int
    kv_usage: float  # 0 to 1
    prefix_hit_tokens: int | None = None  # prompt tokens ever taken from a prefix cache; None: not reported
    preemptions: int | None = None  # requests ever removed from the batch and computed again; None: not known
    drafts: tuple[int, int] | None = None  # tokens ever proposed by a draft, and accepted; None: no draft, or none yet


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """The engine's facts, for `/v1/models`, the run folder and error messages."""

    name: str
    version: str
    dtype: str
    vocabulary: int
    max_model_len: int  # prompt and output together, tokens
    reports_times: bool = True  # whether last deltas carry RequestTimes
    options: Mapping[str, str] = field(default_factory=dict)  # as resolved: given, default or detected


class StartedInfo:
    """The `info` of an engine that sets `_info` when it has started."""

    _info: EngineInfo | None = None

    @property
    def info(self) -> EngineInfo:
        """Valid after `start`."""
        if self._info is None:
            raise RuntimeError("the engine has not been started")
        return self._info


class Engine(Protocol):
    """One loaded model. Construction only stores; `start` loads, and must be awaited first."""

    @property
    def info(self) -> EngineInfo:
        """Valid after `start`."""
        ...

    async def start(self) -> None:
        """Load the checkpoint. Raises EngineError before anything is served."""
        ...

    def generate(self, request_id: str, prompt: Sequence[int], options: SamplingOptions) -> AsyncIterator[Delta]:
        """Stream one request. Closing or cancelling the iterator aborts it and frees its slot.

        Raises BadRequestError for a prompt or option this engine refuses, EngineDeadError once it has died. The app has
        already clipped `max_tokens` to the context.
        """
        ...

    async def prompt_logprobs(self, prompt: Sequence[int], top: int) -> list[TokenLogprob | None]:
        """One entry a prompt token, None for the first; `top` most likely ones each, plus the actual token."""
        ...

    async def abort(self, request_id: str) -> None:
        """End a request, if it still runs, with finish reason "abort"."""
        ...

    async def check_health(self) -> None:
        """Return if the engine can serve; raise EngineDeadError if it never will again."""
        ...

    def load(self) -> EngineLoad:
        """Occupancy now."""
        ...

    def process_ids(self) -> list[int]:
        """The processes that do this engine's work, for the CPU energy model: ours and any it started."""
        ...

    def meters(self) -> list[Meter]:
        """Energy meters that belong to this engine and cannot be found on the machine; usually none."""
        ...

    async def shutdown(self) -> None:
        """Abort what runs, free the model, stop child processes. Safe to call twice."""
        ...
