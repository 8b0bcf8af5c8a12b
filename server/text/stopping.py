"""Stop strings in a stream: text that could be the beginning of one is held back until that is decided."""

from __future__ import annotations

from collections.abc import Sequence


class StopStrings:
    """Finds the first complete stop string, independent of how the text is cut into pieces."""

    def __init__(self, stops: Sequence[str], *, keep_in_text: bool) -> None:
        self._stops = tuple(stops)
        self._keep = keep_in_text
        self._held = ""
        self.found: str | None = None

    def push(self, text: str, *, may_end: bool = True) -> str:
        """The text that may be sent now. Once `found` is set there is no more to come.

        may_end: whether a stop string that this text completes counts. One that was complete before never counts; one that
        only begins there does.
        """
        if not self._stops:
            return text
        before, text = len(self._held), self._held + text
        if may_end and (hit := self._first_complete(text, before)):
            start, stop = hit
            self.found = stop
            self._held = ""
            return text[: start + len(stop)] if self._keep else text[:start]
        held = max(self._begun(text, stop) for stop in self._stops)
        ready, self._held = text[: len(text) - held], text[len(text) - held :]
        return ready

    def finish(self) -> str:
        """The held text, now that nothing follows."""
        held, self._held = self._held, ""
        return held

    def _first_complete(self, text: str, before: int) -> tuple[int, str] | None:
        """Start of the occurrence that ends first beyond `before`; of those that end together, vLLM takes the first listed."""
        starts = [(text.find(stop, max(0, before - len(stop) + 1)), stop) for stop in self._stops]
        return min((hit for hit in starts if hit[0] >= 0), key=lambda hit: hit[0] + len(hit[1]), default=None)

    @staticmethod
    def _begun(text: str, stop: str) -> int:
        """Length of the longest end of `text` that is a proper beginning of `stop`."""
        return next((n for n in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:n])), 0)
