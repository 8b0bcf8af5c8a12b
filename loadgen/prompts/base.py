"""What a load asks: a prompt for every request."""

from __future__ import annotations

from abc import abstractmethod
from typing import Protocol

from loadgen.prompts.messages import Request

Prompt = list[int] | str | Request


class Prompts(Protocol):
    """An endless row of prompts; the same seed gives the same row."""

    @abstractmethod
    def __getitem__(self, index: int) -> Prompt:
        """The prompt of request `index`."""

    def own_length(self, index: int) -> int | None:  # noqa: ARG002 - files depend on it
        """Output tokens that the request itself asks for; of sessions `index` is the session. None: it leaves that to the workload."""
        return None

    @property
    def own_keys(self) -> frozenset[str]:
        """The keys that some requests bring beside what they ask."""
        return frozenset()
