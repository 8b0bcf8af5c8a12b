"""What costly requests do to others: the latency of /health, and the gaps of a stream, while one costly request is answered.

    python -P -m benchmarks.server.health --repeats 3 --output server-health.json

The server is a process of its own with the synthetic engine (a token every 10 ms) and the tokenizer of examples/tinyglu, with a
context into which 8 MB of text fit. A second process asks for /health every 20 ms and reads one stream; a third sends the
costly requests. `idle` is a second of nothing beside them. The goals are 250 ms for /health and twice the idle gap for the p99
of the gaps; client, server and prober share the machine, so that few cores make all of them larger.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import shutil
import tempfile
import threading
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from pathlib import Path

import httpx

from benchmarks.server.process import ROOT, server, wait_until_healthy

HEALTH_EVERY_S = 0.02
TOKEN_MS = 10
CONTEXT = 4_000_000


@dataclass(frozen=True)
class Costly:
    """A request that takes long."""

    name: str
    path: str
    body: bytes


def costly_requests() -> list[Costly]:
    """Those of which one could stop the server, and the largest that are answered."""

    def made(name: str, path: str, body: object) -> Costly:
        return Costly(name, path, json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode())

    text = "the quick brown fox " * 390_000  # 7.8 MB
    scored = {"prompt": [[5, 6] * 500] * 64, "max_tokens": 1, "echo": True, "logprobs": 20}
    unknown = {"prompt": "a", **{f"field{i}": 1 for i in range(200_000)}}
    chat = [{"role": "user", "content": "the quick brown fox " * 90}] * 4096
    return [
        made("64 x 1000 scored tokens", "/v1/completions", scored),
        made("64 x 1000 scored tokens, streamed", "/v1/completions", {**scored, "stream": True}),
        made("8 MB to tokenize", "/tokenize", {"prompt": text}),
        made("8 MB of token ids", "/detokenize", {"tokens": [5] * 3_900_000}),
        made("8 MB of prompt", "/v1/completions", {"prompt": text, "max_tokens": 1}),
        made("200,000 unknown fields", "/v1/completions", unknown),
        made("300,000 messages", "/v1/chat/completions", {"messages": [{"role": "u"}] * 300_000}),
        made("4096 messages of 1.8 kB", "/v1/chat/completions", {"messages": chat, "max_tokens": 1}),
    ]


def probe(url: str, ended: Event, answer: Connection) -> None:
    """Send back the seconds of each /health, and the seconds between events of a stream, from now until `ended`."""
    health: list[float] = []
    gaps: list[float] = []

    def read_stream() -> None:
        asked = {"prompt": [5], "max_tokens": 1_000_000, "stream": True, "ignore_eos": True}
        with httpx.stream("POST", f"{url}/v1/completions", json=asked, timeout=120) as response:
            last = None
            for _ in response.iter_raw():
                now = time.perf_counter()
                if last is not None:
                    gaps.append(now - last)
                last = now
                if ended.is_set():
                    return

    streaming = threading.Thread(target=read_stream)
    streaming.start()
    with httpx.Client(base_url=url, timeout=120) as client:
        while not ended.is_set():
            began = time.perf_counter()
            client.get("/health").raise_for_status()
            health.append(time.perf_counter() - began)
            time.sleep(HEALTH_EVERY_S)
    streaming.join()
    answer.send((health, gaps))


def measure(url: str, costly: Costly | None) -> dict[str, float]:
    """Milliseconds: of /health, of gaps, and of the costly request itself; None is a second of nothing."""
    ended = multiprocessing.Event()
    mine, theirs = multiprocessing.Pipe()
    prober = multiprocessing.Process(target=probe, args=(url, ended, theirs))
    prober.start()
    time.sleep(1)  # until both of its connections are there
    began, status, size = time.perf_counter(), 0, 0
    if costly is None:
        time.sleep(1)
    else:
        response = httpx.post(f"{url}{costly.path}", content=costly.body, timeout=300)
        status, size = response.status_code, len(response.content)
    seconds = time.perf_counter() - began
    ended.set()
    health, gaps = mine.recv()
    prober.join()
    gaps.sort()
    return {
        "status": status,
        "answer_bytes": size,
        "request_ms": seconds * 1e3,
        "health_count": len(health),
        "health_max_ms": max(health) * 1e3,
        "gap_p99_ms": gaps[int(0.99 * (len(gaps) - 1))] * 1e3,
        "gap_max_ms": gaps[-1] * 1e3,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path, help="also write the figures as JSON")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "tiny"
        shutil.copytree(ROOT / "examples" / "tinyglu", checkpoint)
        options = (f"max_model_len={CONTEXT}", f"token_ms={TOKEN_MS}", "prefill_ms=2")
        words = ["-m", "prunebench", "serve", str(checkpoint), "--engine", "synthetic"]
        words += [f"--engine-option={option}" for option in options]
        log, rows = Path(folder) / "server.log", []
        with server(words, log) as (url, process_id):
            wait_until_healthy(url, log, process_id)
            for repeat in range(arguments.repeats):
                for costly in (None, *costly_requests()):
                    row = {"request": costly.name if costly else "idle", "repeat": repeat, **measure(url, costly)}
                    rows.append(row)
                    print("  ".join(f"{key} {v:.0f}" if isinstance(v, float) else f"{v}" for key, v in row.items()))
    if arguments.output:
        arguments.output.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
