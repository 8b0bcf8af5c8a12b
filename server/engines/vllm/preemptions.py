"""How many requests vLLM has preempted, without the statistics that slow it down."""

from __future__ import annotations

import math
from typing import Any

from server.engines.vllm.interface import preemptions


class Preemptions:
    """vLLM's own count if it keeps statistics; else 0 as long as the cache could hold all requests at their longest.

    vLLM preempts a request only when the cache has no block for the next token of one that runs. So there is none as long as
    all requests in flight, at their longest, need fewer blocks than the cache has; beyond that the count is unknown.
    """

    def __init__(self, *, counted: bool, blocks: int | None, block_size: int) -> None:
        """`counted`: vLLM keeps statistics. `blocks`: of the cache, None where layers need different numbers."""
        self._counted = counted
        self._blocks = blocks
        self._block_size = block_size
        self._reserved = 0
        self.count: int | None = 0 if counted or blocks is not None else None

    def begun(self, tokens: int) -> None:
        """A request of up to `tokens`, prompt and output, has been sent to vLLM."""
        self._reserved += self._most(tokens)
        if not self._counted and (self._blocks is None or self._reserved > self._blocks):
            self.count = None

    def ended(self, tokens: int, metrics: Any) -> None:
        """The same request has ended; `metrics` are vLLM's of it, if it keeps them and there was an output."""
        self._reserved -= self._most(tokens)
        if self._counted and metrics is not None:
            found = preemptions(metrics)
            self.count = None if found is None or self.count is None else self.count + found

    def _most(self, tokens: int) -> int:
        """Blocks; one more for tokens scheduled ahead."""
        return math.ceil(tokens / self._block_size) + 1
