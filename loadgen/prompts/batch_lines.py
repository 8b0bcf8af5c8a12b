"""Lines of OpenAI's batch format: whole requests, which keep every key that a load can honour.

{"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": {"messages": […], "max_tokens": 50, "temperature": 0.7}}
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from loadgen.workloads.fields.body import NOT_FREE

LENGTHS = ("max_completion_tokens", "max_tokens")  # of a body; the first that is there counts
_CONTENT = ("messages", "prompt", "text", "conversations")  # what a line asks, which its reader takes
# What a load sends in its own way, and why; a value that says the same is no loss.
_OURS = {key: why for key, why in NOT_FREE.items() if key not in _CONTENT} | {
    "stream_options": "usage comes with every chunk"
}
_USAGE = {"include_usage": True}
_SAME: dict[str, Sequence[Any]] = {"stream": (True,), "n": (1,), "best_of": (1,), "stream_options": (_USAGE,)}
# Of a row that is no such line: what its user may have meant for the request.
_MEANT = frozenset({*LENGTHS, "temperature", "top_p", "top_k", "min_p", "seed", "stop", "response_format"})


@dataclass
class LineKeys:
    """The keys of a file's lines beside what they ask, and how many have one that is not sent."""

    ours: Counter[str] = field(default_factory=Counter)  # lines whose key the load sets in its own way
    outside: Counter[str] = field(default_factory=Counter)  # lines that are no whole request and have such a key

    def of(self, line: Mapping[str, Any]) -> dict[str, Any]:
        """The keys that go with the request of a line; none where it is no whole request. Raises ValueError for a length that is none."""
        if not is_request(line):
            self.outside.update(_MEANT & line.keys())
            return {}
        if not str(line.get("url", "/completions")).endswith("/completions"):
            raise ValueError(f"url {line['url']}: is neither /v1/completions nor /v1/chat/completions")
        own = {key: value for key, value in line["body"].items() if key not in _CONTENT}
        for key in LENGTHS:
            if own.get(key) is not None and not _is_length(own[key]):
                raise ValueError(f"{key} {own[key]!r}: must be a whole number of at least 1")
        lost = [key for key in own.keys() & _OURS.keys() if own[key] is not None and own[key] not in _SAME.get(key, ())]
        self.ours.update(lost)
        return {key: value for key, value in own.items() if key not in _OURS}

    @property
    def notes(self) -> list[str]:
        """A line for each way in which keys are not sent as given."""
        ours = "; ".join(f"{key} of {number} ({_OURS[key]})" for key, number in sorted(self.ours.items()))
        outside = ", ".join(f"{key} of {number}" for key, number in sorted(self.outside.items()))
        return [
            *([f"keys of lines that are not sent: {ours}"] if ours else []),
            *(
                [f'keys of lines that are not sent: {outside}; only a line with a "body" brings its own']
                if outside
                else []
            ),
        ]


def is_request(line: Mapping[str, Any]) -> bool:
    """Whether a line is a whole request, with a body."""
    return isinstance(line.get("body"), dict)


def length_of(keys: Mapping[str, Any]) -> int | None:
    """The output tokens that the keys of a body ask for; None if they do not say."""
    return next((keys[key] for key in LENGTHS if _is_length(keys.get(key))), None)


def other_keys(asked: Iterable[object]) -> frozenset[str]:
    """The keys that some of the requests of a file bring beside what they ask."""
    return frozenset(key for each in asked if isinstance(each, dict) for key in each if key not in _CONTENT)


def _is_length(value: object) -> bool:
    return type(value) is int and value >= 1
