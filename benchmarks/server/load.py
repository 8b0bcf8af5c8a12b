"""The load of `benchmarks/server/throughput.py`: the same requests for an engine alone and for a server over HTTP."""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import random
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import cast

import httpx
import uvloop

from server.machine.cpu_affinity import yield_cores_to

PROMPT_TOKENS = 32
VOCABULARY = 4096
_ANSWER_S = 120
_END = b"\r\n0\r\n\r\n"  # of a chunked body


@dataclass(frozen=True)
class Load:
    """What one measurement asks of one system."""

    streams: int
    rounds: int  # requests of each stream, one after another
    new_tokens: int
    seed: int

    def prompts(self) -> list[list[list[int]]]:
        """Token ids: stream → round → prompt."""
        draw = random.Random(self.seed)
        return [
            [[draw.randrange(VOCABULARY) for _ in range(PROMPT_TOKENS)] for _ in range(self.rounds)]
            for _ in range(self.streams)
        ]


@dataclass(frozen=True)
class Figures:
    """What one measurement found."""

    tokens_per_second: float
    median_ttft_ms: float
    p99_ttft_ms: float


Ask = Callable[[list[int]], Awaitable[float]]  # a prompt → TTFT in ms; raises for a wrong number of tokens


async def offer(load: Load, ask: Ask) -> Figures:
    """Keep `load.streams` requests in flight until all are answered."""

    async def stream(prompts: list[list[int]]) -> list[float]:
        return [await ask(prompt) for prompt in prompts]

    begun = time.perf_counter()
    found = await asyncio.gather(*(stream(prompts) for prompts in load.prompts()))
    seconds = time.perf_counter() - begun
    ttfts = sorted(ttft for one in found for ttft in one)
    tokens = load.streams * load.rounds * load.new_tokens
    return Figures(tokens / seconds, statistics.median(ttfts), ttfts[int(0.99 * len(ttfts))])


def be_client(pipe: Connection, engines: Sequence[int]) -> None:
    """The client's process: answers each (URL, Load) with Figures until it gets None. `engines`: processes it gives way to."""

    async def run() -> None:
        yield_cores_to(engines)
        loop = asyncio.get_running_loop()
        while (given := await loop.run_in_executor(None, pipe.recv)) is not None:
            url, load = given
            pipe.send(await offer_to_server(url, load))

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


class Reader(asyncio.Protocol):
    """A connection that takes in what comes and looks for the end of an answer.

    Whatever else a client may do, as making sense of each event, would be paid for by the cores that are measured.
    """

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._tail = b""
        self._first: float | None = None
        self._whole: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:  # noqa: D102 - asyncio's, as those below
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:  # noqa: D102
        if self._first is None and b"data: " in data:  # headers may come before it
            self._first = time.perf_counter()
        self._parts.append(data)
        self._tail = (self._tail + data)[-len(_END) :]
        if self._tail == _END and self._whole is not None:
            self._whole.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: D102
        if self._whole is not None and not self._whole.done():
            self._whole.set_exception(exc or ConnectionError(f"closed after {b''.join(self._parts)[:1000]!r}"))

    async def ask(self, request: bytes) -> tuple[float, list[bytes]]:
        """TTFT in ms, and the answer in parts."""
        self._parts, self._tail, self._first = [], b"", None
        self._whole = asyncio.get_running_loop().create_future()
        sent = time.perf_counter()
        self._transport.write(request)
        await asyncio.wait_for(self._whole, _ANSWER_S)
        return math.nan if self._first is None else (self._first - sent) * 1e3, self._parts


async def offer_to_server(url: str, load: Load) -> Figures:
    """`offer` over HTTP. Requests are made before it, and what was read is looked at only once it is over."""
    address = httpx.URL(url)
    common = {"model": "nano", "max_tokens": load.new_tokens, "temperature": 0, "ignore_eos": True, "stream": True}
    common["stream_options"] = {"include_usage": True}
    head = f"POST /v1/completions HTTP/1.1\r\nhost: {address.netloc.decode()}\r\ncontent-type: application/json\r\n"
    requests: dict[tuple[int, ...], bytes] = {}
    for prompt in itertools.chain(*load.prompts()):
        body = json.dumps({**common, "prompt": prompt})
        requests[tuple(prompt)] = f"{head}content-length: {len(body)}\r\n\r\n{body}".encode()
    loop = asyncio.get_running_loop()
    connections = [await loop.create_connection(Reader, address.host, address.port or 80) for _ in range(load.streams)]
    free = [reader for _, reader in connections]
    answers: list[list[bytes]] = []

    async def ask(prompt: list[int]) -> float:
        reader = free.pop()
        ttft, parts = await reader.ask(requests[tuple(prompt)])
        answers.append(parts)
        free.append(reader)
        return ttft

    figures = await offer(load, ask)
    for transport, _ in connections:
        transport.close()
    for parts in answers:
        answer = b"".join(parts)
        assert answer.startswith(b"HTTP/1.1 200 "), answer[:1000]
        last, done = answer.split(b"data: ")[-2:]
        assert done.startswith(b"[DONE]"), done
        counted = json.loads(last.partition(b"\n\n")[0])["usage"]
        assert counted["completion_tokens"] == load.new_tokens, counted
    return figures
