"""A server that sends, byte for byte and when, what a test scripts; it runs in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Self

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"
CLOSE, RESET = object(), object()  # instead of bytes to send: end the connection, or have it break
Step = bytes | float | object  # send these, wait this number of seconds, or CLOSE or RESET


def event(**data: object) -> bytes:
    return b"data: " + json.dumps(data).encode() + b"\n\n"


def token(text: str = "a", *, finish: str | None = None, usage: int | None = None) -> bytes:
    """One completion chunk; `usage`: the running count of tokens it carries."""
    data: dict[str, object] = {"choices": [{"index": 0, "text": text, "finish_reason": finish}]}
    if usage is not None:
        data["usage"] = {"prompt_tokens": 3, "completion_tokens": usage, "total_tokens": 3 + usage}
    return event(**data)


def chunked(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def sized(body: bytes, status: str = "200 OK", headers: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode() + body


def stream(tokens: int, *, first_s: float = 0.0, token_s: float = 0.0) -> list[Step]:
    """A whole answer of `tokens` tokens with continuous usage, on the given timing."""
    steps: list[Step] = [first_s]
    for n in range(1, tokens + 1):
        chunk = chunked(token(usage=n, finish="length" if n == tokens else None))
        steps += [HEAD + chunk] if n == 1 else [token_s, chunk]
    return [*steps, chunked(b"data: [DONE]\n\n") + END]


@dataclass
class Asked:
    """One request as it came in."""

    head: str
    body: dict
    connection: int


@dataclass
class ScriptedServer:
    """`script(n, asked)` gives the steps of the answer to request number n. GETs are answered from
    `pages` (a body, or a whole answer with its status line), else 404.
    """

    script: Callable[[int, Asked], Iterable[Step]]
    pages: dict[str, Callable[[], bytes]] = field(default_factory=dict)
    tls: ssl.SSLContext | None = None
    host: str = "127.0.0.1"
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0
    open: int = 0
    port: int = 0

    def __enter__(self) -> Self:
        listening = socket.create_server(
            (self.host, 0), family=socket.AF_INET6 if ":" in self.host else socket.AF_INET, backlog=512
        )
        self.port = listening.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(listening),))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._loop.close()

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"

    async def _run(self, listening: socket.socket) -> None:
        tasks = set()

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            tasks.add(asyncio.create_task(self._connection(reader, writer)))

        server = await asyncio.start_server(connected, sock=listening, ssl=self.tls)
        await self._stop.wait()
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # asyncio sets it on sockets that name their protocol alone; without it chunks wait for acknowledgements, and share a read.
        if self.tls is None:
            writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        number = self.connections
        self.connections += 1
        self.open += 1
        try:
            while await self._answer(reader, writer, number):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.open -= 1
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        if head.startswith("GET "):
            page = self.pages.get(head.split()[1].split("?")[0])
            body = page() if page else None
            whole = body is not None and body.startswith(b"HTTP/1.1 ")
            writer.write(sized(b"", "404 Not Found") if body is None else body if whole else sized(body))
            return True
        length = int(head.lower().split("content-length:")[1].split("\r\n")[0])
        asked = Asked(head, json.loads(await reader.readexactly(length)), number)
        self.asked.append(asked)
        for step in self.script(len(self.asked) - 1, asked):
            if isinstance(step, bytes):
                writer.write(step)
                await writer.drain()
            elif isinstance(step, float):
                await asyncio.sleep(step)
            else:
                if step is RESET:  # closing with a linger time of 0 sends RST
                    option = struct.pack("ii", 1, 0)
                    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, option)
                    writer.transport.abort()
                return False
        return True
