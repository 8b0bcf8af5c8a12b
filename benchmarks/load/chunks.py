"""What a chunk costs the client, step by step: CPU microseconds in the kernel and in Python, completions beside chat.

    python -P -m benchmarks.load.chunks --output chunks.json

One process writes a chunk on each of `--streams` connections, then reads them, step by step more of what the client does:

    poll      ask which sockets can be read
    recv      and read each with the kernel's stamp
    client    and all that the client process does: stamp on the monotonic clock, HTTP, bytes and times kept
    hand on   pickle them for the reading process, and unpickle
    read      find the events, parse JSON, count tokens: the reading process's part

Only the reading is timed, by user and system time; each step contains those above it up to `client`. Medians over `--rounds`
rounds of all streams; a machine that is busy with other work makes them dearer, and the shares stay.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import pickle
import resource
import select
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import uvloop

from loadgen.client.connection import Connection
from loadgen.client.exchange import Exchange
from loadgen.client.kernel_stamps import ANCILLARY_BYTES, ArrivalClock, ask_for_stamps
from loadgen.client.polling import ReadySockets
from loadgen.link.frames import frame
from loadgen.link.messages import Part
from loadgen.results.recorder import Recorder
from loadgen.workloads.closed_loop import ConcurrencyLoad

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
SAID = {"completions": '"text": " word", "logprobs": null', "chat": '"delta": {"content": " word"}'}
OBJECTS = {"completions": "text_completion", "chat": "chat.completion.chunk"}
LENGTH_BYTES = 4  # before a frame
A_PART = 50  # chunks that are handed on together: half a second of a stream of 100 tokens/s


def chunk(endpoint: str, tokens: int) -> bytes:
    """One event as vLLM writes it, in an HTTP chunk."""
    event = (
        f'data: {{"id": "cmpl-0", "object": "{OBJECTS[endpoint]}", "created": 0, "model": "known", "choices": [{{"index": 0, '
        f'{SAID[endpoint]}, "finish_reason": null}}], "usage": {{"prompt_tokens": 64, "total_tokens": {64 + tokens}, '
        f'"completion_tokens": {tokens}}}}}\n\n'
    ).encode()
    return b"%x\r\n%b\r\n" % (len(event), event)


class Streams:
    """Connections of the client, each with an answer under way, and their other ends. Stands in for `ReadySockets`."""

    def __init__(self, number: int) -> None:
        self.callbacks: dict[int, Callable[[], None]] = {}
        self.receive: dict[int, Callable[..., Any]] = {}
        self.servers: list[socket.socket] = []
        self.exchanges: list[Exchange] = []
        self._epoll, buffer, clock = select.epoll(), bytearray(65536), ArrivalClock()
        self._buffers = [buffer]
        with socket.create_server(("127.0.0.1", 0), backlog=4096) as listening:
            for _ in range(number):
                opened = socket.create_connection(listening.getsockname())
                opened.setblocking(False)
                ask_for_stamps(opened)
                server, _ = listening.accept()
                server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.receive[opened.fileno()] = opened.recvmsg_into
                connection = Connection(opened, None, clock, buffer, cast("ReadySockets", self), stamped=True)
                self.exchanges.append(connection.send(b"x")[0])
                server.recv(1)
                server.send(HEAD)
                self.servers.append(server)
        self.client()

    def add(self, descriptor: int, callback: Callable[[], None], *, can_wait: bool) -> None:  # noqa: ARG002 - as its
        """A connection of the client's."""
        self.callbacks[descriptor] = callback
        self._epoll.register(descriptor, select.EPOLLIN)

    def poll(self) -> list[tuple[int, int]]:
        """Which can be read."""
        return self._epoll.poll(0, len(self.callbacks))

    def recv(self) -> None:
        """Read each, and keep nothing."""
        for number, _ in self.poll():
            self.receive[number](self._buffers, ANCILLARY_BYTES)

    def client(self) -> None:
        """Read each as the client does."""
        for number, _ in self.poll():
            self.callbacks[number]()

    def send(self, data: bytes) -> None:
        """Write to every connection's other end."""
        for server in self.servers:
            server.send(data)

    def hand_on(self) -> list[Part]:
        """What the reading process has of all answers."""
        frames = [frame(Part((n,), *exchange.take())) for n, exchange in enumerate(self.exchanges)]
        return [pickle.loads(each[LENGTH_BYTES:]) for each in frames]  # noqa: S301 - our own


class Clock:
    """User and system seconds of what it times, in all; the shares are sampled by the kernel, the sum is exact."""

    def __init__(self) -> None:
        self.whole: list[float] = []
        self._user = self._system = 0.0

    def time(self, work: Callable[[], Any]) -> Any:
        """What `work` returns."""
        before, began = resource.getrusage(resource.RUSAGE_SELF), time.process_time()
        found = work()
        self.whole.append(time.process_time() - began)
        after = resource.getrusage(resource.RUSAGE_SELF)
        self._user += after.ru_utime - before.ru_utime
        self._system += after.ru_stime - before.ru_stime
        return found

    def figures(self, chunks: int) -> dict[str, float]:
        """Microseconds a chunk of the median round, and of the quickest tenth; the share in the kernel over all."""
        each = np.array(self.whole) * 1e6 / chunks
        total = self._user + self._system
        return {
            "us_per_chunk": float(np.median(each)),
            "us_per_chunk_p10": float(np.percentile(each, 10)),
            "system_share": self._system / total if total else 0.0,
        }


async def measure(endpoint: str, streams: int, rounds: int) -> dict[str, dict[str, float]]:
    """Every step's figures."""
    all_of, clocks = Streams(streams), {name: Clock() for name in ("poll", "recv", "client", "hand on", "read")}
    load = ConcurrencyLoad(name="w", concurrency=streams, requests=streams, output_tokens=rounds)
    with Recorder(load, 0) as recorder:
        for n in range(1, rounds + 1):
            data = chunk(endpoint, n)
            all_of.send(data)
            clocks["poll"].time(all_of.poll)
            clocks["recv"].time(all_of.recv)
            all_of.send(data)
            clocks["client"].time(all_of.client)
            if n % A_PART == 0:
                parts = clocks["hand on"].time(all_of.hand_on)
                clocks["read"].time(lambda parts=parts: [recorder.part(part) for part in parts])
    alone = ("poll", "recv", "client")
    return {name: clock.figures(streams * (1 if name in alone else A_PART)) for name, clock in clocks.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--output", type=Path, help="also write the figures as JSON")
    arguments = parser.parse_args()
    found: dict[str, dict[str, dict[str, float]]] = {}
    for endpoint in SAID:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            found[endpoint] = runner.run(measure(endpoint, arguments.streams, arguments.rounds))
        for step, figures in found[endpoint].items():
            print(
                f"{endpoint:12} {step:8}",
                "  ".join(f"{name} {value:.2f}" for name, value in figures.items()),
                flush=True,
            )
    if arguments.output:
        asked = {"streams": arguments.streams, "rounds": arguments.rounds}
        arguments.output.write_text(json.dumps({"asked": asked, "steps": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
