"""How far our client's figures are from the truth: a server of known timings on one core, the client on another.

    python -P benchmarks/loadgen.py --streams 100 --requests 1000 --output-tokens 128 --output loadgen.json

The server writes the first token `--first-ms` after it has read a request and one more every `--token-ms`, on an absolute
schedule, and notes when it really wrote. The truth is that note, for the requests of the client's window; what the client
says beyond it is its own error, and the time a request waits in the server's socket while that is busy. How late the server
was against its schedule is given too. CPU seconds of the client are those of the whole trial, parsing included, start-up of
the interpreter left out.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import time
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import uvloop

from loadgen.drive import TrialResult, run_trial
from loadgen.endpoint import Endpoint
from loadgen.metering import NoEnergy
from loadgen.metrics import measure_records
from loadgen.prompts import SyntheticPrompts
from loadgen.records import Workload

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNK = '{{"id":"cmpl-0","object":"text_completion","created":0,"model":"known","choices":[{{"index":0,"text":" word","logprobs":null,"finish_reason":{finish}}}],"usage":{{"prompt_tokens":64,"total_tokens":{total},"completion_tokens":{tokens}}}}}'


class KnownServer:
    """Keeps to a schedule, and notes (read, first write, last write), monotonic ns, of every answer."""

    def __init__(self, first_s: float, token_s: float, tokens: int) -> None:
        self.first_s, self.token_s = first_s, token_s
        self.notes: list[tuple[int, int, int]] = []
        self.events = [self._event(n, tokens) for n in range(1, tokens + 1)]

    @staticmethod
    def _event(tokens: int, last: int) -> bytes:
        finish = '"length"' if tokens == last else "null"
        data = f"data: {CHUNK.format(finish=finish, total=64 + tokens, tokens=tokens)}\n\n".encode()
        return b"%x\r\n%b\r\n" % (len(data), data)


class KnownConnection(asyncio.Protocol):
    """Answers one request after another; each is stamped as soon as its bytes are read."""

    def __init__(self, server: KnownServer) -> None:
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._received = b""
        self._read = self._first = self._sent = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what is written to."""
        self._transport = transport  # type: ignore[assignment]  # stream connections get a Transport

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Write no more: the client is gone."""
        self._transport = None

    def data_received(self, data: bytes) -> None:
        """Stamp it, and start answering once the request is whole."""
        read = time.monotonic_ns()
        self._received += data
        head, ended, body = self._received.partition(b"\r\n\r\n")
        if not ended or self._transport is None:
            return
        if head.startswith(b"GET"):
            self._received = b""
            self._transport.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        elif len(body) == int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0]):
            self._received = b""
            self._read, self._sent = read, 0
            self._wait()

    def _wait(self) -> None:
        due = self._server.first_s + self._sent * self._server.token_s
        self._loop.call_later(max(0.0, due - (time.monotonic_ns() - self._read) / 1e9), self._write)

    def _write(self) -> None:
        if self._transport is None:
            return
        now = time.monotonic_ns()
        event = self._server.events[self._sent]
        self._first = now if self._sent == 0 else self._first
        self._sent += 1
        self._transport.write(HEAD + event if self._sent == 1 else event)
        if self._sent < len(self._server.events):
            self._wait()
        else:
            self._transport.write(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")
            self._server.notes.append((self._read, self._first, now))


def serve(pipe: Connection, server: KnownServer, core: int) -> None:
    """The server's process: tells its port, and at the end its notes."""
    os.sched_setaffinity(0, {core})

    async def run() -> None:
        loop = asyncio.get_running_loop()
        listening = await loop.create_server(lambda: KnownConnection(server), "127.0.0.1", 0, backlog=4096)
        pipe.send(listening.sockets[0].getsockname()[1])
        await loop.run_in_executor(None, pipe.recv)  # until we are told to stop
        pipe.send(server.notes)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


def measure(arguments: argparse.Namespace) -> dict[str, float]:
    cores = sorted(os.sched_getaffinity(0))
    known = KnownServer(arguments.first_ms / 1e3, arguments.token_ms / 1e3, arguments.output_tokens)
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=serve, args=(theirs, known, cores[0]))
    process.start()
    os.sched_setaffinity(0, {cores[-1]})
    workload = Workload(
        name="known",
        kind="concurrency",
        concurrency=arguments.streams,
        requests=arguments.requests,
        output_tokens=arguments.output_tokens,
        warmup_requests=0,
    )
    try:
        endpoint = Endpoint(f"http://127.0.0.1:{ours.recv()}", "known")
        began = time.process_time()
        prompts = SyntheticPrompts(range(1000), workload.prompt_tokens, seed=0)
        result = run_trial(endpoint, workload, prompts, seed=0, energy=NoEnergy("only the client is measured"))
        cpu_s = time.process_time() - began
        ours.send("stop")
        notes = np.array(ours.recv())
    finally:
        process.join(5)
        process.kill()
    return compare(result, notes, arguments) | {"client_cpu_s": cpu_s}


def compare(result: TrialResult, notes: np.ndarray, arguments: argparse.Namespace) -> dict[str, float]:
    """What the client says beside what the server noted, [answers, (read, first write, last write)], ns."""
    trial = result.trial
    metrics = measure_records(trial, result.records)
    inside = (notes[:, 0] >= trial.window_start_ns) & (notes[:, 0] <= trial.window_end_ns)
    read, first, last = notes[inside].T / 1e6
    ttft, tpot = first - read, (last - first) / (arguments.output_tokens - 1)
    figures = {
        "completed": float(metrics.completed.sum()),
        "client_cpu_fraction": trial.client.cpu_fraction or float("nan"),
        "tokens_per_s": metrics.output_tokens_per_s,
    }
    # The one way and the other, the nth to leave taken for the nth to arrive: where the error of a TTFT comes from.
    sent, stamped = (np.sort([getattr(r, name) for r in result.records]) for name in ("sent_ns", "first_token_ns"))
    ways = {"sent_to_read": np.sort(notes[:, 0]) - sent, "written_to_stamped": stamped - np.sort(notes[:, 1])}
    for p in (50, 99):
        figures |= {f"{way}_p{p}_ms": float(np.percentile(took, p)) / 1e6 for way, took in ways.items()}
        seen = [float(np.nanpercentile(values, p)) for values in (metrics.ttft_ms, metrics.tpot_ms)]
        real = [float(np.percentile(values, p)) for values in (ttft, tpot)]
        figures |= {
            f"ttft_p{p}_ms": seen[0],
            f"ttft_p{p}_error_ms": seen[0] - real[0],
            f"ttft_p{p}_server_late_ms": real[0] - arguments.first_ms,
            f"tpot_p{p}_ms": seen[1],
            f"tpot_p{p}_error_percent": 100 * (seen[1] / real[1] - 1),
            f"tpot_p{p}_server_late_percent": 100 * (real[1] / arguments.token_ms - 1),
        }
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=100)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--output-tokens", type=int, default=128)
    parser.add_argument("--first-ms", type=float, default=50.0)
    parser.add_argument("--token-ms", type=float, default=10.0)
    parser.add_argument("--output", type=Path, help="also write the figures as JSON")
    arguments = parser.parse_args()
    figures = measure(arguments)
    for name, value in figures.items():
        print(f"{name:28} {value:10.3f}")
    if arguments.output:
        asked = {name: value for name, value in vars(arguments).items() if name != "output"}
        arguments.output.write_text(json.dumps({**asked, **figures}, indent=1) + "\n")


if __name__ == "__main__":
    main()
