"""A new engine as a stranger would add it: one module, and one call to register it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from energy.meters.base import Meter
from server.engines.base import Delta, EngineInfo, EngineLoad, SamplingOptions, TokenLogprob
from server.engines.entry import EngineEntry
from server.engines.options import parse_options
from server.engines.registry import register


@dataclass(frozen=True)
class ToyOptions:
    step: int = 1


class ToyEngine:
    """Says the prompt's last token, and each next one `step` higher."""

    def __init__(self, _: Path, options: Mapping[str, str]) -> None:
        self._options = ToyOptions(**parse_options(ToyOptions, options))
        self.info = EngineInfo("toy", "1", "none", vocabulary=400, max_model_len=64, options=dict(options))

    async def start(self) -> None:
        pass

    async def generate(self, _: str, prompt: Sequence[int], options: SamplingOptions) -> AsyncIterator[Delta]:
        for n in range(options.max_tokens):
            last = n == options.max_tokens - 1
            yield Delta([prompt[-1] + n * self._options.step], finish_reason="length" if last else None)

    async def prompt_logprobs(self, prompt: Sequence[int], top: int) -> list[TokenLogprob | None]:
        raise NotImplementedError

    async def abort(self, request_id: str) -> None:
        pass

    async def check_health(self) -> None:
        pass

    def load(self) -> EngineLoad:
        return EngineLoad(running=0, waiting=0, kv_usage=0.0)

    def process_ids(self) -> list[int]:
        return [os.getpid()]

    def meters(self) -> list[Meter]:
        return []

    async def shutdown(self) -> None:
        pass


register(
    EngineEntry(
        name="toy",
        summary="counts",
        factory="tests.server.engines.toy_engine:ToyEngine",
        options="tests.server.engines.toy_engine:ToyOptions",
        needs_config=False,
    )
)
