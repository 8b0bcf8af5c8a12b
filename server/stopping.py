"""Stop strings in a stream: text that could be the beginning of one is held back until it is known."""

from __future__ import annotations

from collections.abc import Sequence


class StopStrings:
    """Finds the stop string that is complete first, however the text is cut into pieces."""

    def __init__(self, stops: Sequence[str], *, keep_in_text: bool) -> None:
        self._stops = tuple(stops)
        self._keep = keep_in_text
        self._held = ""
        self.found: str | None = None

    def push(self, text: str) -> str:
        """The text that may be told now. Once `found` is set there is no more to come."""
        if not self._stops:
            return text
        text = self._held + text
        if hit := self._first_complete(text):
            start, stop = hit
            self.found = stop
            self._held = ""
            return text[: start + len(stop)] if self._keep else text[:start]
        held = max(self._begun(text, stop) for stop in self._stops)
        told, self._held = text[: len(text) - held], text[len(text) - held :]
        return told

    def finish(self) -> str:
        """The held text, now that nothing follows."""
        held, self._held = self._held, ""
        return held

    def _first_complete(self, text: str) -> tuple[int, str] | None:
        """Start of the occurrence that ends first; of those that end together, the longest."""
        hits = [(start + len(stop), start, stop) for stop in self._stops if (start := text.find(stop)) >= 0]
        return min(hits)[1:] if hits else None

    @staticmethod
    def _begun(text: str, stop: str) -> int:
        """Length of the longest end of `text` that is a proper beginning of `stop`."""
        return next((n for n in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:n])), 0)
