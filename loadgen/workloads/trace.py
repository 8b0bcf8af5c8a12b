"""The replay of recorded traffic: when requests come and how long they are stands in a file."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from loadgen.workloads.base import with_lengths
from loadgen.workloads.fields.trace_file import Trace, TraceRow, open_trace
from loadgen.workloads.open_loop import OpenLoop


class TraceLoad(OpenLoop):
    """Requests as recorded, `speed` times as fast; their lengths are the trace's, not those of the fields."""

    kind: Literal["trace"] = "trace"
    trace: Path = Field(description="The recorded traffic to replay: Azure's or BurstGPT's CSV, or Mooncake's JSONL.")
    speed: float = Field(default=1.0, gt=0, description="Replay the trace this many times as fast.")
    block_tokens: int | None = Field(
        default=None, ge=1, description="Tokens of a prompt that a hash id stands for; default 512, Mooncake's."
    )

    def moments(self, seed: int) -> Iterator[float]:
        return (row.at_s / self.speed for row in self.recorded().rows)

    @property
    def shared_tokens(self) -> float:
        """Of a layout with hash ids the file says it, which a report need not have."""
        return super().shared_tokens if self.trace.suffix.lower() == ".csv" else math.inf

    @property
    def files(self) -> dict[str, Path]:
        return {"trace": self.trace}

    def recorded(self) -> Trace:
        return open_trace(self.trace, self.block_tokens)

    def prompt_length(self, seed: int, index: int) -> int:
        return self._row(index).prompt_tokens

    def answer_length(self, seed: int, index: int) -> int:
        return self._row(index).output_tokens

    def _row(self, index: int) -> TraceRow:
        rows = self.recorded().rows
        return rows[index % len(rows)]

    @classmethod
    def completed(cls, given: Mapping[str, object]) -> dict[str, object]:
        """A trace ends where it ends."""
        return with_lengths(given)

    @property
    def words(self) -> str:
        return f"{self.trace.name} replayed at {self.speed:g} times its speed"

    @property
    def shape_words(self) -> str:
        return "prompts and outputs as long as recorded"

    def describe(self) -> str:
        return f"{self.words}; {self.shape_words}"

    def vllm_terms(self) -> dict[str, Any]:
        return super().vllm_terms() | {"request_rate": None}

    def guidellm_terms(self, seed: int) -> dict[str, Any]:
        return {"type_": "trace", "time_scale": 1 / self.speed, "schedule_turn": "timestamp"}

    def check(self) -> None:
        if self.prompts is not None:
            raise ValueError("`prompts` cannot be combined with `trace`, `shared_prefix` or `prompt_as`")
        if self.lengths is not None:
            raise ValueError("`lengths` cannot be combined with `trace`, which has its own")
        super().check()

    def check_end(self) -> None:
        if self.requests is not None and self.duration_s is not None:
            raise ValueError("a trace workload ends by `requests` or by `duration_s`, not by both")
