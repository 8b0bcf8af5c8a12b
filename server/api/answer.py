"""From jobs to an HTTP answer: one JSON object, or server-sent events, with the same things in both.

Events are built with plain string formatting, past FastAPI and pydantic: 0.2 µs an event, where a chunk's model takes 8 to 12 µs
and FastAPI's encoder 80 to 87 µs, more than all other work on a token (47 µs, benchmarks/README.md). There is one
event for each delta of the engine, also when its text is empty (half a character, or the possible beginning of a stop
string), so that clients see when tokens come. `data: [DONE]` ends whole answers only; an answer that fails once it has
begun ends with `data: {"error": ...}` instead. Nothing is sent before the first token, so that failures before it still
have their HTTP status.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from server.api.choice import Shape
from server.api.requests.sampling import SamplingRequest, StreamOptions
from server.api.usage import Usage
from server.errors import as_api_error
from server.generation import Job, Piece, PieceCollector
from server.in_flight import ClientDisconnected
from server.model import Model
from server.offloading.json_writer import JsonResponse, body_slices, json_parts
from server.offloading.off_loop import LOGPROB_SIZE, off_loop

Write = Callable[[bytes], bool]  # False: not written, `send` it
logger = logging.getLogger(__name__)
_EVENT_HEADERS = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]


class Answer(Response):
    """Runs one request's jobs, and writes them in its endpoint's shape. Exceptions before the first byte is sent go to the application's handlers."""

    def __init__(
        self, model: Model, request: SamplingRequest, jobs: Sequence[Job], shape: Shape, request_id: str
    ) -> None:
        super().__init__()
        self._model = model
        self._sequences = len(jobs)
        self._jobs = [job for job in jobs if job.options.max_tokens > 0]
        self._empty_indices = [job.index for job in jobs if job.options.max_tokens == 0]
        self._shape = shape
        self._id = request_id
        self._created = int(time.time())
        self._stream = (request.stream_options or StreamOptions()) if request.stream else None
        self._usage = Usage(jobs, request.n)
        self._begun = False  # whether anything has been sent

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI side; a client that disconnects ends the jobs."""
        with self._model.in_flight.admitted(self._sequences):
            try:
                if self._stream is None:
                    body = await self._model.in_flight.run(receive, self._whole())
                    await JsonResponse(body)(scope, receive, send)
                else:
                    await self._streamed(receive, send, scope["state"]["write"])
            except ClientDisconnected:
                await Response(status_code=499)(scope, receive, send)  # nginx's number, for the access log
            finally:
                scope["state"]["usage"].update(self._usage.record())  # for the access log

    async def _whole(self) -> list[bytes]:
        await self._shape.prepare()
        collector = PieceCollector()
        for piece in self._empty_pieces():
            collector.add(piece)
        if self._jobs:
            async with aclosing(self._model.generator.pieces(self._jobs)) as pieces:
                async for piece in pieces:
                    self._usage.count(piece)
                    collector.add(piece)
        shape, collected = self._shape, collector.whole()
        size = shape.echo_size + sum(
            len(piece.text) + LOGPROB_SIZE * shape.logprobs_per_token * piece.tokens for piece in collected
        )
        return await off_loop(lambda: body_slices(self._body(collected)), size)

    def _body(self, pieces: list[Piece]) -> Iterator[str]:
        head = {"id": self._id, "object": self._shape.kind, "created": self._created, "model": self._model.name}
        before = f'{json.dumps(head)[:-1]}, "choices": ['
        for piece in pieces:
            yield before
            yield from json_parts(self._shape.whole(piece))
            before = ", "
        yield f'], "usage": {json.dumps(self._usage.record())}}}'

    async def _streamed(self, receive: Receive, send: Send, write: Write) -> None:
        try:
            await self._model.in_flight.run(receive, self._events(send, write))
        except ClientDisconnected:
            if not self._begun:
                raise
            return
        except Exception as error:
            if not self._begun:
                raise
            api_error = as_api_error(error)
            if api_error.status == 500:
                logger.exception("a stream failed")
            await send(
                {"type": "http.response.body", "body": b"data: " + api_error.body() + b"\n\n", "more_body": True}
            )
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _events(self, send: Send, write: Write) -> None:
        """Send one event a piece, by the connection's `write` once `send` has begun the answer.

        With few layers, since each of them costs time at every token.
        """
        options = self._stream or StreamOptions()
        shape, usage = self._shape, ""
        head = (
            f'data: {{"id":"{self._id}","object":"{shape.chunk_kind}","created":{self._created},'
            f'"model":{json.dumps(self._model.name)},"choices":['
        )
        opened: set[int] = set()

        async def send_event(piece: Piece) -> None:
            nonlocal usage
            opening = ""
            if piece.index not in opened:
                opened.add(piece.index)
                if choice := await shape.opening(piece.index):
                    opening = f"{head}{choice}]}}\n\n"
                if not self._begun:
                    self._begun = True
                    await send({"type": "http.response.start", "status": 200, "headers": _EVENT_HEADERS})
            self._usage.count(piece)
            if options.continuous_usage_stats:
                usage = f',"usage":{self._usage.text()}'
            event = f"{opening}{head}{shape.piece(piece)}]{usage}}}\n\n".encode()
            if not write(event):
                await send({"type": "http.response.body", "body": event, "more_body": True})

        await shape.prepare()
        for piece in self._empty_pieces():
            await send_event(piece)
        if self._jobs:
            async with aclosing(self._model.generator.pieces(self._jobs)) as pieces:
                async for piece in pieces:
                    await send_event(piece)
        last = f'{head}],"usage":{json.dumps(self._usage.record())}}}\n\n' if options.include_usage else ""
        await send({"type": "http.response.body", "body": f"{last}data: [DONE]\n\n".encode(), "more_body": True})

    def _empty_pieces(self) -> list[Piece]:
        """Choices with max_tokens 0, which need no engine."""
        return [Piece(index, "", 0, finish_reason="length") for index in self._empty_indices]
