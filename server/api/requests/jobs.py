"""The engine's jobs that a request becomes."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from server.api.requests.sampling import SamplingRequest
from server.errors import ApiError
from server.generation import Job
from server.model import Model


def new_request_id(prefix: str) -> str:
    """A unique id: "cmpl-..." or "chatcmpl-..."."""
    return f"{prefix}-{uuid.uuid4().hex}"


def make_jobs(
    model: Model,
    request: SamplingRequest,
    prompts: Sequence[tuple[Sequence[int], int]],
    logprobs: int | None,
    request_id: str,
) -> list[Job]:
    """`n` jobs for each (prompt, most tokens to write), in OpenAI's order: all choices of the first prompt, then the next.

    Raises ApiError 400 for stop tokens the model does not have, or times the engine does not report.
    """
    model.check_tokens(request.stop_token_ids, "stop_token_ids")
    if request.include_engine_times and not model.engine.info.reports_times:
        raise ApiError(
            400,
            "include_engine_times: the engine reports no times; serve with --engine-option disable_log_stats=false",
            param="include_engine_times",
        )
    return [
        Job(
            request_id=f"{request_id}-{at * request.n + choice}",
            index=at * request.n + choice,
            prompt=prompt,
            options=request.sampling(most_tokens, logprobs, choice),
            stop=request.stop_strings,
            keep_stop=request.include_stop_str_in_output,
            skip_special_tokens=request.skip_special_tokens,
        )
        for at, (prompt, most_tokens) in enumerate(prompts)
        for choice in range(request.n)
    ]
