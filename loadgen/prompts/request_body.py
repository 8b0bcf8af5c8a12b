"""A request's path and body: the same whichever driver sends it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from loadgen.prompts.base import Prompts
from loadgen.prompts.batch_lines import LENGTHS, length_of
from loadgen.prompts.messages import Chat, has_messages
from loadgen.prompts.mixed import MixPrompts
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
    return CHAT if has_messages(prompt) or workload.endpoint == "chat" else COMPLETIONS


def asked_tokens(workload: Workload, seed: int, index: int, own: int | None) -> int:
    """Output tokens that a request asks for, of which its own line of a file says `own`.

    The workload's `body` goes before all; the line before the workload's lengths, where `output_tokens` leaves it to that.
    """
    if (over_all := length_of(workload.body or {})) is not None:
        return over_all
    return own if own is not None and workload.leaves_length(seed, index) else workload.answer_length(seed, index)


def request_body(model: str, workload: Workload, prompt: Any, max_tokens: int) -> bytes:
    """Greedy, streamed, with usage; of fixed length unless the workload stops naturally; over that the keys that the prompt's line
    of a file brings, and over all the workload's own `body`.

    `prompt`: token ids, a text, a list of either, or keys of the body (`messages` or `prompt`, `tools`, `temperature`).
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
    asked = _asked(workload, prompt)
    lengths = [key for key in LENGTHS if asked.get(key) is not None] or ["max_tokens"]
    body = {
        "model": model,
        **asked,
        **dict.fromkeys(lengths, max_tokens),
        "temperature": asked.get("temperature", 0),
        "stream": True,
        "stream_options": {"include_usage": True, "continuous_usage_stats": True},
    }
    if not workload.natural_stop:
        body["ignore_eos"] = asked.get("ignore_eos", True)
    own = {key: max_tokens if value == LENGTH else value for key, value in (workload.body or {}).items()}
    return {key: value for key, value in {**body, **own}.items() if value is not None}


def way_out(error: str, own: Mapping[str, Any] | None) -> str:
    """What to add to an error if the server refused a key that not all servers know; empty if it is about something else.

    `own`: the workload's `body`, whose keys are in the advice too, which stands in its place.
    """
    if not error.startswith(("HTTP 400", "HTTP 422")):
        return ""
    body = next((body for named, body in _WITHOUT.items() if named in error), None)
    return "" if body is None else f"; this server may take --body '{json.dumps({**(own or {}), **json.loads(body)})}'"


def request_form(model: str, workload: Workload, prompts: Prompts, seed: int) -> RequestForm:
    """The form of the requests, by the first, with the keys that lines of a file bring to others."""
    prompt = prompt_of(workload, prompts, 0)
    body = request_body(model, workload, prompt, asked_tokens(workload, seed, 0, prompts.own_length(0)))
    keys = sorted(json.loads(body))
    return RequestForm(
        path=request_path(workload, prompt),
        keys=keys,
        other_keys=sorted(prompts.own_keys.difference(keys)),
        bytes=len(body),
        sha256=hashlib.sha256(body).hexdigest(),
    )


def part_forms(model: str, workload: Workload, prompts: Prompts, seed: int) -> list[RequestForm]:
    """Those of each part of a mix, by its first request alone; none of another load."""
    if not isinstance(prompts, MixPrompts):
        return []
    each = enumerate(zip(workload.alone, prompts.parts, strict=True))
    return [request_form(model, one, own, workload.seed_of(seed, part)) for part, (one, own) in each]


def _asked(workload: Workload, prompt: Any) -> dict[str, Any]:
    asked = prompt if isinstance(prompt, dict) else {"prompt": prompt}
    if "messages" in asked or workload.endpoint != "chat":
        return asked
    others = {key: value for key, value in asked.items() if key != "prompt"}
    return {"messages": [{"role": "user", "content": asked["prompt"]}], **others}
