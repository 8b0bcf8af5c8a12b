"""A server of known timings, to hold clients against: it spins on a core of its own and notes when it really wrote.

    python -P benchmarks/known_server.py --first-ms 50 --token-ms 10 --tokens 128

The first token is due so long after the request reached this machine, by the kernel's stamp, and one more every `token-ms`, on an
absolute schedule. Prints its port; at the end of its standard input it prints one line a request: arrival, first write, last
write, monotonic ns, and the most by which any of its writes was late.
"""

from __future__ import annotations

import argparse
import heapq
import json
import select
import socket
import sys
import time
from dataclasses import dataclass

from loadgen.stamps import ANCILLARY_BYTES, ArrivalClock, ask_for_stamps, unpack_stamp

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"
MODELS = json.dumps({"object": "list", "data": [{"id": "known", "object": "model", "max_model_len": 8192}]}).encode()


def event(tokens: int, last: int, *, chat: bool) -> bytes:
    """Chunk number `tokens` of an answer, framed."""
    body = {"delta": {"content": " word"}} if chat else {"text": " word", "logprobs": None}
    choice = {"index": 0, **body, "finish_reason": "length" if tokens == last else None}
    usage = {"prompt_tokens": 64, "total_tokens": 64 + tokens, "completion_tokens": tokens}
    kind = "chat.completion.chunk" if chat else "text_completion"
    chunk = {"id": "cmpl-0", "object": kind, "created": 0, "model": "known", "choices": [choice], "usage": usage}
    data = b"data: " + json.dumps(chunk).encode() + b"\n\n"
    return b"%x\r\n%b\r\n" % (len(data), data)


@dataclass(eq=False)
class Connection:
    """One client's, and the answer it is being given."""

    socket: socket.socket
    received: bytes = b""
    arrived_ns: int = 0
    events: list[bytes] | None = None
    sent: int = 0
    first_ns: int = 0
    open: bool = True


class KnownServer:
    """Serves until its standard input ends."""

    def __init__(self, first_ns: int, token_ns: int, tokens: int) -> None:
        self.first_ns, self.token_ns = first_ns, token_ns
        self.answers = {chat: [event(n, tokens, chat=chat) for n in range(1, tokens + 1)] for chat in (False, True)}
        self.notes: list[tuple[int, int, int]] = []
        self.late_ns = 0
        self._clock = ArrivalClock()
        self._due: list[tuple[int, int, Connection]] = []
        self._connections: dict[int, Connection] = {}
        self._poll = select.epoll()
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self._listening.setblocking(False)
        ask_for_stamps(self._listening)
        self.port = self._listening.getsockname()[1]

    def run(self) -> None:
        """Spin: whoever sleeps wakes late."""
        self._poll.register(self._listening, select.EPOLLIN)
        self._poll.register(sys.stdin, select.EPOLLIN)
        while True:
            for number, _ in self._poll.poll(0):
                if number == sys.stdin.fileno():
                    return
                if number == self._listening.fileno():
                    self._accept()
                else:
                    self._read(self._connections[number])
            now = time.monotonic_ns()
            while self._due and self._due[0][0] <= now:
                self._write(*heapq.heappop(self._due))

    def _accept(self) -> None:
        accepted, _ = self._listening.accept()
        accepted.setblocking(False)
        ask_for_stamps(accepted)
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connections[accepted.fileno()] = Connection(accepted)
        self._poll.register(accepted, select.EPOLLIN)

    def _read(self, connection: Connection) -> None:
        try:
            data, stamps, _, _ = connection.socket.recvmsg(1 << 20, ANCILLARY_BYTES)
        except ConnectionError:
            data, stamps = b"", []
        now = time.monotonic_ns()
        if not data:
            self._poll.unregister(connection.socket)
            del self._connections[connection.socket.fileno()]
            connection.open = False
            connection.socket.close()
            return
        connection.arrived_ns = self._clock.arrival(unpack_stamp(stamps[0][2]), now) if stamps else now
        connection.received += data
        head, ended, body = connection.received.partition(b"\r\n\r\n")
        if not ended:
            return
        if not head.startswith(b"POST"):
            connection.received = b""
            found = head.split()[1].startswith((b"/v1/models", b"/health"))
            status = b"200 OK" if found else b"404 Not Found"
            page = b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
            connection.socket.send(page % (status, len(MODELS), MODELS))
        elif _whole(head.lower(), body):
            connection.received, connection.sent = b"", 0
            connection.events = self.answers[b"/chat/" in head.split()[1]]
            heapq.heappush(self._due, (connection.arrived_ns + self.first_ns, id(connection), connection))

    def _write(self, due_ns: int, number: int, connection: Connection) -> None:
        if not connection.open or connection.events is None:
            return
        now, connection.sent = time.monotonic_ns(), connection.sent + 1
        self.late_ns = max(self.late_ns, now - due_ns)
        chunk = connection.events[connection.sent - 1]
        if connection.sent == 1:
            connection.first_ns, chunk = now, HEAD + chunk
        if last := connection.sent == len(connection.events):
            self.notes.append((connection.arrived_ns, connection.first_ns, now))
            chunk += END
        try:
            connection.socket.send(chunk)
        except OSError:
            return  # gone, or too slow to be measured: the client's own count tells
        if not last:
            heapq.heappush(self._due, (due_ns + self.token_ns, number, connection))


def _whole(head: bytes, body: bytes) -> bool:
    """Whether all of a request's body is there, of stated length or in chunks."""
    _, stated, length = head.partition(b"content-length:")
    return len(body) == int(length.split(b"\r\n")[0]) if stated else body.endswith(b"0\r\n\r\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first-ms", type=float, default=50.0)
    parser.add_argument("--token-ms", type=float, default=10.0)
    parser.add_argument("--tokens", type=int, default=128)
    arguments = parser.parse_args()
    server = KnownServer(round(arguments.first_ms * 1e6), round(arguments.token_ms * 1e6), arguments.tokens)
    print(server.port, flush=True)
    server.run()
    print(json.dumps({"notes": server.notes, "late_ns": server.late_ns}), flush=True)


if __name__ == "__main__":
    main()
