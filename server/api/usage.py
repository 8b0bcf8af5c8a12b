"""The token counts of one answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from server.generation import Job, Piece


class Usage:
    """Tokens of all choices of a request so far; each of its prompts has as many of them as it asks for, side by side in `jobs`."""

    def __init__(self, jobs: Sequence[Job], choices: int) -> None:
        self._prompt_tokens = sum(
            len(job.prompt) for job in jobs[::choices]
        )  # a prompt with several choices counts once
        self._written = dict.fromkeys(range(len(jobs)), 0)
        self._choices = choices
        self._cached: dict[int, int] = {}  # prompt -> tokens of it from the prefix cache, of those that have ended

    def count(self, piece: Piece) -> None:
        """Take in the next piece of a choice."""
        self._written[piece.index] = piece.tokens
        if piece.cached_tokens is not None:
            self._cached.setdefault(piece.index // self._choices, piece.cached_tokens)

    def text(self) -> str:
        """As JSON for an event, without what the prefix cache had."""
        prompt, written = self._prompt_tokens, sum(self._written.values())
        return f'{{"prompt_tokens":{prompt},"total_tokens":{prompt + written},"completion_tokens":{written}}}'

    def record(self) -> dict[str, Any]:
        """As OpenAI has it; with what the prefix cache had, where the engine says it."""
        written = sum(self._written.values())
        usage: dict[str, Any] = {
            "prompt_tokens": self._prompt_tokens,
            "total_tokens": self._prompt_tokens + written,
            "completion_tokens": written,
        }
        if self._cached:
            usage["prompt_tokens_details"] = {"cached_tokens": sum(self._cached.values())}
        return usage
