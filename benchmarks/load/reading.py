"""What it costs to read a stream of small chunks, one way of reading beside the other: which the wire client uses was chosen by it.

    python -P -m benchmarks.load.reading --streams 400 --rate 100 --output reading.json

One process sends `--rate` chunks a second on each of `--streams` connections from one core; this one reads them on another:
`transport`, uvloop's own transport and `data_received`, which hides the kernel's stamps; `add_reader`, a callback a socket;
`nested`, one epoll of our own inside uvloop's; `paused`, that one looked at no more often than every millisecond
(`loadgen.client.polling`, which the client uses); `epoll`, one without uvloop around it. All but the first call `recvmsg` and take the
kernel's stamp. All feed httptools and keep the same arrays.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import select
import socket
import struct
import time
from array import array
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import httptools
import numpy as np
import uvloop

from loadgen.client.polling import ReadySockets

WAYS = ("transport", "add_reader", "nested", "paused", "epoll")
EVENT = b"data: " + b"x" * 230 + b"\n\n"
CHUNK = b"%x\r\n%b\r\n" % (len(EVENT), EVENT)
HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
SO_TIMESTAMPING, SOFTWARE_RECEIVE = 37, (1 << 3) | (1 << 4)
stamp_of = struct.Struct("qq").unpack_from


def send(port: int, core: int, pipe: Connection, *, streams: int, rate: float, seconds: float) -> None:
    """The sender's process: chunks on every connection in turn, on an absolute schedule."""
    os.sched_setaffinity(0, {core})
    connections = [socket.create_connection(("127.0.0.1", port)) for _ in range(streams)]
    for connection in connections:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.send(HEAD)
    pipe.recv()
    sent, gap, began = 0, 1 / (rate * streams), time.monotonic()
    while (now := time.monotonic()) < began + seconds:
        while began + sent * gap <= now:
            connections[sent % streams].send(CHUNK)
            sent += 1
        time.sleep(max(0.0, began + sent * gap - time.monotonic() - 1e-4))
    for connection in connections:
        connection.close()
    pipe.send(sent)


class Kept:
    """What one connection gave: read times, lags behind the kernel's stamp, bytes."""

    def __init__(self) -> None:
        self.at_ns, self.lag_ns, self.body = array("q"), array("q"), bytearray()
        self.now = self.lag = 0
        self.feed = httptools.HttpResponseParser(self).feed_data

    def on_body(self, body: bytes) -> None:
        """Called by the parser."""
        self.at_ns.append(self.now)
        self.lag_ns.append(self.lag)
        self.body += body


class Transported(asyncio.Protocol):
    """`transport`."""

    def __init__(self, kept: Kept, ended: Callable[[], None]) -> None:
        self._kept, self._ended = kept, ended

    def data_received(self, data: bytes) -> None:
        """Stamp, then parse."""
        self._kept.now = time.monotonic_ns()
        self._kept.feed(data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """One less."""
        self._ended()


async def read(way: str, sockets: list[socket.socket]) -> list[Kept]:
    """Read until every sender has closed."""
    loop = asyncio.get_running_loop()
    kept, left, done = [Kept() for _ in sockets], len(sockets), loop.create_future()
    offset, buffer = time.time_ns() - time.monotonic_ns(), bytearray(65536)
    view, buffers, poll = memoryview(buffer), [buffer], select.epoll()

    def ended() -> None:
        nonlocal left
        left -= 1
        if not left:
            done.set_result(None)

    def reader(connection: socket.socket, mine: Kept) -> Callable[[], None]:
        def readable() -> None:
            length, stamps, _, _ = connection.recvmsg_into(buffers, 64)
            now = time.monotonic_ns()
            if not length:
                remove = loop.remove_reader if way == "add_reader" else paused.remove if paused else poll.unregister
                remove(connection.fileno())
                ended()
                return
            mine.now = now
            if stamps:  # what had arrived before the option was set has none
                seconds, nanoseconds = stamp_of(stamps[0][2])
                mine.now = seconds * 1_000_000_000 + nanoseconds - offset
            mine.lag = now - mine.now
            mine.feed(view[:length])

        return readable

    readers: dict[int, Callable[[], None]] = {}
    paused = ReadySockets() if way == "paused" else None

    def ready() -> None:
        for number, _ in poll.poll(0):
            readers[number]()

    for connection, mine in zip(sockets, kept, strict=True):
        connection.setblocking(False)
        if way == "transport":
            await loop.connect_accepted_socket(lambda mine=mine: Transported(mine, ended), connection)  # type: ignore[misc]
            continue
        connection.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPING, SOFTWARE_RECEIVE)
        readers[connection.fileno()] = reader(connection, mine)
        if way == "add_reader":
            loop.add_reader(connection.fileno(), readers[connection.fileno()])
        elif paused:
            paused.add(connection.fileno(), readers[connection.fileno()])
        else:
            poll.register(connection.fileno(), select.EPOLLIN)
    if way == "nested":
        loop.add_reader(poll.fileno(), ready)
    while way == "epoll" and left:
        for number, _ in poll.poll():
            readers[number]()
    await done
    return kept


def measure(way: str, arguments: argparse.Namespace) -> dict[str, float | str]:
    cores = sorted(os.sched_getaffinity(0))
    listening = socket.create_server(("127.0.0.1", 0), backlog=4096)
    ours, theirs = multiprocessing.Pipe()
    what = (listening.getsockname()[1], cores[0], theirs)
    how = {name: getattr(arguments, name) for name in ("streams", "rate", "seconds")}
    process = multiprocessing.get_context("fork").Process(target=send, args=what, kwargs=how)
    process.start()
    os.sched_setaffinity(0, {cores[-1]})
    sockets = [listening.accept()[0] for _ in range(arguments.streams)]
    began = time.process_time()
    ours.send("go")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        kept = runner.run(read(way, sockets))
    cpu_s, sent = time.process_time() - began, ours.recv()
    process.join(5)
    os.sched_setaffinity(0, set(cores))
    for connection in [listening, *sockets]:
        connection.close()
    lags = np.concatenate([np.frombuffer(each.lag_ns, dtype=np.int64) for each in kept]) / 1e3
    figures: dict[str, float | str] = {
        "way": way, "chunks_per_s": sent / arguments.seconds, "cpu_us_per_chunk": cpu_s / sent * 1e6,
    }  # fmt: skip
    if way != "transport":
        figures |= {f"lag_p{p}_us": float(np.percentile(lags, p)) for p in (50, 99)}
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=400)
    parser.add_argument("--rate", type=float, default=100.0, help="chunks a second on each")
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, help="also write the figures as JSON")
    arguments = parser.parse_args()
    found = [measure(way, arguments) for _ in range(arguments.rounds) for way in WAYS]
    for figures in found:
        print("  ".join(f"{name} {v if isinstance(v, str) else f'{v:.2f}'}" for name, v in figures.items()))
    if arguments.output:
        arguments.output.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
