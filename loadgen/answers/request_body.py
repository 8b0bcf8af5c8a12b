"""The body of a request, and what went wrong with it: the same whichever driver sends it."""

from __future__ import annotations

import http
import json
from typing import Any

from loadgen.answers.stream_end import error_of
from loadgen.client.wire import Exchange
from loadgen.workloads.base import Workload


def request_body(model: str, workload: Workload, prompt: Any, max_tokens: int) -> bytes:
    """Greedy, streamed, with usage; of fixed length unless the workload stops naturally."""
    body = {
        "model": model,
        "prompt": prompt,
        "max_tokens": max_tokens,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True, "continuous_usage_stats": True},
    }
    if not workload.natural_stop:
        body["ignore_eos"] = True
    return json.dumps(body).encode()


def wire_error(exchange: Exchange) -> str | None:
    """What went wrong, as far as it can be told without reading the stream."""
    if exchange.error is not None or exchange.status in {None, http.HTTPStatus.OK}:
        return exchange.error
    return error_of(exchange.status or 0, bytes(exchange.body), exchange.retry_after)
