"""How long a request's prompt and answer are: pure functions of (workload, seed, index). Warm-up requests count down from -1."""

from __future__ import annotations

from loadgen.records.schema import Workload
from loadgen.workloads.lengths import draw_tokens
from loadgen.workloads.trace_file import TraceRow, read_trace


def prompt_length(workload: Workload, seed: int, index: int) -> int:
    """Tokens of the prompt."""
    row = trace_row(workload, index)
    return row.prompt_tokens if row else draw_tokens(workload.prompt_tokens, f"{seed}/prompt/{index}")


def answer_length(workload: Workload, seed: int, index: int) -> int:
    """Output tokens to ask for."""
    row = trace_row(workload, index)
    return row.output_tokens if row else draw_tokens(workload.output_tokens, f"{seed}/output/{index}")


def trace_row(workload: Workload, index: int) -> TraceRow | None:
    """What a trace says of a request; None for other workloads."""
    if workload.trace is None:
        return None
    rows = read_trace(workload.trace)
    return rows[index % len(rows)]
