"""The body of a request: the same whichever driver sends it."""

from __future__ import annotations

import json
from typing import Any

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
