"""Sessions: users who talk with the server over several turns, each sent with all that was said before."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field

from base.quantities import PER_SECOND, SECONDS
from loadgen.workloads.base import EndpointName, Workload
from loadgen.workloads.fields.lengths import Tokens, draw_tokens, most_tokens

Carry = Literal["answers", "recorded"]
Thinking = Literal["constant", "exponential"]


class SessionsLoad(Workload):
    """`concurrency` users, each of whom begins a session when the last has ended, or sessions that begin at a `rate`.

    A turn is sent when the last has been answered and the user has thought. No session begins once `requests` turns have been
    shared out, or after `duration_s`; one that has begun is finished, unless a turn of it fails.
    """

    kind: Literal["sessions"] = "sessions"
    window_cut = "steady"
    holds_sessions = True
    endpoint: EndpointName = Field(default="chat", description="chat, which is where conversations go.")
    concurrency: int | None = Field(default=None, ge=1, description="Sessions at a time.")
    rate: Annotated[float | None, PER_SECOND] = Field(
        default=None,
        gt=0,
        description="Sessions that begin per second, with exponential gaps, instead of `concurrency`.",
    )
    turns: Tokens = Field(
        default=3, description="User turns of a synthetic session, written as `prompt_tokens`, which each turn has."
    )
    think_time_s: Annotated[float, SECONDS] = Field(
        default=0.0, ge=0, description="Mean time from the end of an answer to the next turn."
    )
    thinking: Thinking = Field(default="constant", description="How that time is distributed.")
    carry: Carry = Field(
        default="answers", description="Carry on the server's own answers, or those recorded in the file of `prompts`."
    )

    @property
    def in_flight(self) -> int | None:
        return self.concurrency

    def session_starts(self, seed: int) -> Iterator[float]:
        """Seconds after the start at which sessions of a rate begin, rising and without end."""
        draw = random.Random(f"{seed}/sessions")
        return itertools.accumulate(draw.expovariate(self.rate or 1.0) for _ in itertools.count())

    def arrivals(self, seed: int) -> Iterator[float]:
        """When sessions of a rate begin, as many as have the workload's turns on average."""
        ends = self.duration_s
        sessions = None if self.requests is None else -(-self.requests // self.session_turns(seed, 0))
        return itertools.takewhile(
            lambda at: ends is None or at < ends, itertools.islice(self.session_starts(seed), sessions)
        )

    def session_turns(self, seed: int, session: int) -> int:
        """Turns of a synthetic session."""
        return draw_tokens(self.turns, f"{seed}/turns/{session}")

    def think_s(self, seed: int, index: int) -> float:
        """Seconds before the request `index`, which is no first turn."""
        if self.thinking == "constant" or not self.think_time_s:
            return self.think_time_s
        return random.Random(f"{seed}/think/{index}").expovariate(1 / self.think_time_s)

    @property
    def shared_tokens(self) -> float:
        """A turn shares what was said before."""
        return math.inf

    @property
    def most_turns(self) -> int:
        """A synthetic session's; 1 where a file decides."""
        return 1 if self.prompts is not None else most_tokens(self.turns) or 1

    @property
    def level(self) -> float:
        return float(self.concurrency or self.rate or 0)

    @property
    def words(self) -> str:
        load = f"{self.concurrency} sessions at a time" if self.concurrency else f"{self.rate} sessions/s"
        turns = "as in the file" if self.prompts is not None else f"{self.turns} turns each"
        think = f", {self.think_time_s:g} s of thought ({self.thinking})" if self.think_time_s else ""
        whose = "recorded" if self.carry == "recorded" else "the server's"
        return f"{load}, {turns}{think}, {whose} answers carried on"

    @property
    def level_words(self) -> str:
        return f"{self.concurrency} sessions" if self.concurrency else f"{self.rate} sessions/s"

    @property
    def family(self) -> str:
        return "sessions at a time" if self.concurrency else "sessions/s"

    def guidellm_terms(self, seed: int) -> dict[str, Any]:
        return (
            {"type_": "concurrent", "streams": self.concurrency} if self.concurrency else super().guidellm_terms(seed)
        )

    def check(self) -> None:
        super().check()
        if (self.concurrency is None) == (self.rate is None):
            raise ValueError("a sessions workload needs exactly one of `concurrency` and `rate`")
        if self.endpoint == "completions":
            raise ValueError("a sessions workload needs `endpoint` chat: completions take no conversation")
        if self.carry == "recorded" and self.prompts is None:
            raise ValueError("`carry` recorded needs `prompts`, a file with answers")
        if self.shared_prefix:
            raise ValueError(
                "`shared_prefix` does not apply to a sessions workload: its turns share what was said before"
            )
