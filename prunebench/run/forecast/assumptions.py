"""What a forecast takes as known of the servers, from `--assume` or from the engine, with the reason in words."""

from __future__ import annotations

import math
from dataclasses import dataclass

from base.quantities import SECONDS
from prunebench.experiment.file import ExperimentError
from prunebench.experiment.tables.configuration import Configuration
from server.engines.registry import find_engine

_AUTO_START_S = 30.0  # of an engine that the serving machine chooses


@dataclass(frozen=True)
class Assumptions:
    """What the forecast does not know, seconds. None: the engine's own default."""

    ttft_s: float = 0.2
    tpot_s: float = 0.02
    start_s: float | None = None

    @classmethod
    def parse(cls, text: str | None) -> Assumptions:
        """Such as "ttft=200ms,tpot=20ms,start=60s". Raises ExperimentError naming the part to fix."""
        given: dict[str, float] = {}
        for part in (text or "").split(",") if text else []:
            name, _, value = part.strip().partition("=")
            try:
                seconds = float(SECONDS.read(value))
            except ValueError:
                seconds = -1.0
            if name not in {"ttft", "tpot", "start"} or not 0 <= seconds < math.inf:
                raise ExperimentError(f"--assume {part}: must be like ttft=200ms, tpot=20ms or start=60s")
            given[f"{name}_s"] = seconds
        return cls(**given)


@dataclass(frozen=True)
class Times:
    """Of one request, seconds."""

    ttft_s: float
    tpot_s: float

    def of(self, tokens: float) -> float:
        """Seconds from send to the `tokens`-th token, clamped above 0."""
        return max(1e-6, self.ttft_s + (tokens - 1) * self.tpot_s)


@dataclass(frozen=True)
class ServerTimes:
    """What is taken as known of a configuration's server; `words` says why."""

    times: Times
    start_s: float
    words: tuple[str, ...]


def server_times(asked: Configuration, assumed: Assumptions) -> ServerTimes:
    """The engine's own times where it keeps some, else those assumed; the start as well."""
    engine = None if asked.engine is None else find_engine(asked.engine)
    start_s = assumed.start_s
    if asked.url is not None:
        start_s, started = 0.0, "a server at an address is there"
    else:
        if start_s is None:
            start_s = _AUTO_START_S if engine is None else engine.start_s
        started = f"a server starts in {start_s:g} s"
    if engine is not None and engine.known_times is not None:
        times = Times(*engine.known_times(asked.options))
        return ServerTimes(times, start_s, (started, f"the {engine.name} engine keeps its times"))
    times = Times(assumed.ttft_s, assumed.tpot_s)
    tokens = f"a first token after {times.ttft_s * 1e3:g} ms and another every {times.tpot_s * 1e3:g} ms"
    where = "for every configuration and load (change it with --assume ttft=…,tpot=…,start=…)"
    return ServerTimes(times, start_s, (started, tokens, where))
