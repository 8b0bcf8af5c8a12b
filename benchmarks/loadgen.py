"""How far our client's figures are from the truth: a server of known timings on one core, the client on another.

    python -P benchmarks/loadgen.py --streams 100 --requests 1000 --output-tokens 128 --output loadgen.json

The server writes the first token `--first-ms` after it has read a request and one more every `--token-ms`, on an absolute
schedule, and notes when it really wrote. The truth is that note, for the requests of the client's window; what the client
says beyond it is its own error, and the time a request waits in the server's socket while that is busy. CPU seconds of the client are those of the whole trial, parsing included, start-up of the interpreter left out.
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

from loadgen.drive import run_trial
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

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection's requests until it closes."""
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                read = time.monotonic_ns()
                if head.startswith(b"get"):
                    writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
                    continue
                await reader.readexactly(int(head.split(b"content-length:")[1].split(b"\r\n")[0]))
                await self._answer(writer, read)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def _answer(self, writer: asyncio.StreamWriter, read: int) -> None:
        first = last = 0
        for n, event in enumerate(self.events):
            due = self.first_s + n * self.token_s
            await asyncio.sleep(max(0.0, due - (time.monotonic_ns() - read) / 1e9))
            last = time.monotonic_ns()
            first = first or last
            writer.write(HEAD + event if n == 0 else event)
        writer.write(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")
        self.notes.append((read, first, last))


def serve(pipe: Connection, server: KnownServer, core: int) -> None:
    """The server's process: tells its port, and at the end its notes."""
    os.sched_setaffinity(0, {core})

    async def run() -> None:
        listening = await asyncio.start_server(server.connected, "127.0.0.1", 0, backlog=4096)
        pipe.send(listening.sockets[0].getsockname()[1])
        await asyncio.get_running_loop().run_in_executor(None, pipe.recv)  # until we are told to stop
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
    trial = result.trial
    metrics = measure_records(trial, result.records)
    read, first, last = notes[(notes[:, 0] >= trial.window_start_ns) & (notes[:, 0] <= trial.window_end_ns)].T
    steps = arguments.output_tokens - 1
    figures = {
        "requests": float(metrics.completed.sum()),
        "client_cpu_s": cpu_s,
        "client_cpu_fraction": trial.client.cpu_fraction or float("nan"),
        "tokens_per_s": metrics.output_tokens_per_s,
    }
    for name, seen, real in (
        ("ttft", metrics.ttft_ms, (first - read) / 1e6),
        ("tpot", metrics.tpot_ms, (last - first) / 1e6 / steps),
    ):
        for p in (50, 99):
            figures[f"{name}_p{p}_ms"] = float(np.nanpercentile(seen, p))
            figures[f"{name}_p{p}_error_ms"] = float(np.nanpercentile(seen, p) - np.percentile(real, p))
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
        print(f"{name:24} {value:10.3f}")
    if arguments.output:
        arguments.output.write_text(json.dumps({**vars(arguments), "output": None, **figures}, indent=1) + "\n")


if __name__ == "__main__":
    main()
