"""The JSON of a choice, whole and streamed: what an endpoint writes, and the members with which every choice ends."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any, Protocol

from server.generation import Piece
from server.offloading.json_writer import json_text


class Shape(Protocol):
    """The JSON of one endpoint's choices."""

    kind: str  # "object" of the whole answer
    chunk_kind: str  # "object" of a streamed chunk
    logprobs_per_token: int  # in the answer
    echo_size: int  # of all prompts that the answer repeats, in characters as `off_loop` counts them

    async def prepare(self) -> None:
        """Compute what is needed before the first token; cancelled if the client disconnects."""
        ...

    async def opening(self, index: int) -> str | None:
        """A streamed choice to send before the first piece of choice `index`."""
        ...

    def piece(self, piece: Piece) -> str:
        """A streamed choice with what one piece adds."""
        ...

    def whole(self, piece: Piece) -> dict[str, Any]:
        """A choice of the whole answer, for `json_parts`; `piece` holds all of it."""
        ...


# What `streamed_end` returns for nearly every piece: without log-probabilities, not the last.
UNFINISHED = '"logprobs":null,"finish_reason":null'


def streamed_end(piece: Piece, logprobs: dict[str, Any] | None, *, with_times: bool) -> str:
    """The members every streamed choice ends with."""
    written = "null" if logprobs is None else json_text(logprobs)
    if piece.finish_reason is None:
        return f'"logprobs":{written},"finish_reason":null'
    times = f',"engine_times":{json.dumps(_times(piece))}' if with_times else ""
    return f'"logprobs":{written},"finish_reason":"{piece.finish_reason}","stop_reason":{json.dumps(piece.stop_reason)}{times}'


def whole_end(piece: Piece, logprobs: dict[str, Any] | None, *, with_times: bool) -> dict[str, Any]:
    """The same members of a choice that was not streamed."""
    end = {"logprobs": logprobs, "finish_reason": piece.finish_reason, "stop_reason": piece.stop_reason}
    return {**end, "engine_times": _times(piece)} if with_times else end


def _times(piece: Piece) -> dict[str, float] | None:
    """None where a stop string ended the choice before the engine knew."""
    return None if piece.times is None else asdict(piece.times)
