"""A request's path and body: the same whichever driver sends it."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from loadgen.prompts.messages import Chat
from loadgen.prompts.synthetic import Prompts
from loadgen.records.schema import RequestForm
from loadgen.workloads.base import Workload

LENGTH = "$output_tokens"  # in a workload's own body: the length that the request asks for
# What a server that does not know a key names in its refusal, and the body that does without.
_WITHOUT = {
    "max_completion_tokens": '{"max_tokens": null, "max_completion_tokens": "$output_tokens"}',
    "ignore_eos": '{"ignore_eos": null}',
    "continuous_usage_stats": '{"stream_options": {"include_usage": true}}',
    "stream_options": '{"stream_options": null}',
}
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
    return json.dumps(_fields(model, workload, prompt, max_tokens)).encode()


def around_messages(model: str, workload: Workload, others: Chat, max_tokens: int) -> tuple[bytes, bytes]:
    """A chat's body up to the first of its messages, and from behind the last; `others` are the keys of the chat beside them.

    A workload's own body cannot do without `model`, which stands before them, nor `stream`, which stands behind.
    """
    fields = list(_fields(model, workload, {**others, "messages": []}, max_tokens).items())
    place = fields.index(("messages", []))
    before, after = (json.dumps(dict(part)).encode() for part in (fields[:place], fields[place + 1 :]))
    return before[:-1] + b', "messages": [', b"], " + after[1:]


def _fields(model: str, workload: Workload, prompt: Any, max_tokens: int) -> dict[str, Any]:
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
        own = {key: max_tokens if value == LENGTH else value for key, value in workload.body.items()}
        body = {key: value for key, value in {**body, **own}.items() if value is not None}
    return body


def way_out(error: str) -> str:
    """What to add to an error if the server refused a key that not all servers know; empty if it is about something else."""
    if not error.startswith(("HTTP 400", "HTTP 422")):
        return ""
    body = next((body for named, body in _WITHOUT.items() if named in error), None)
    return "" if body is None else f"; this server may take --body '{body}'"


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
