"""A request's path and body: the same whichever driver sends it."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from loadgen.prompts.synthetic import Prompts
from loadgen.records.schema import RequestForm
from loadgen.workloads.base import Workload

COMPLETIONS, CHAT = "/v1/completions", "/v1/chat/completions"


def prompt_of(workload: Workload, prompts: Prompts, number: int) -> Any:
    """What a request asks: a prompt, or a batch's list of them. Warm-up requests count down, and the last list may be short."""
    if not workload.sends_lists:
        return prompts[number]
    size, most = workload.group_size or 1, workload.requests or 10**18
    return [prompts[index] for index in range(number * size, min(number * size + size, most))]


def request_path(workload: Workload, prompt: Any) -> str:
    """Where a prompt goes: messages, and whatever the workload sends as chat, to the chat endpoint."""
    return CHAT if isinstance(prompt, dict) or workload.endpoint == "chat" else COMPLETIONS


def request_body(model: str, workload: Workload, prompt: Any, max_tokens: int) -> bytes:
    """Greedy, streamed, with usage; of fixed length unless the workload stops naturally; the workload's own `body` over all.

    `prompt`: token ids, a text, a list of either, or the keys of a chat (`messages`, `tools`).
    """
    body = {
        "model": model,
        **_asked(workload, prompt),
        "max_tokens": max_tokens,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True, "continuous_usage_stats": True},
    }
    if not workload.natural_stop:
        body["ignore_eos"] = True
    if workload.body:
        body = {key: value for key, value in {**body, **workload.body}.items() if value is not None}
    return json.dumps(body).encode()


def request_form(model: str, workload: Workload, prompts: Prompts, seed: int) -> RequestForm:
    """The form of the requests, by the first."""
    prompt = prompt_of(workload, prompts, 0)
    body = request_body(model, workload, prompt, workload.answer_length(seed, 0))
    return RequestForm(
        path=request_path(workload, prompt),
        keys=sorted(json.loads(body)),
        bytes=len(body),
        sha256=hashlib.sha256(body).hexdigest(),
    )


def _asked(workload: Workload, prompt: Any) -> dict[str, Any]:
    if isinstance(prompt, dict):
        return prompt
    if workload.endpoint == "chat":
        return {"messages": [{"role": "user", "content": prompt}]}
    return {"prompt": prompt}
