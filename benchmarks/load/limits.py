"""How far one client process goes: what a chunk costs, rising rates until figures are wrong, and 10,000 open streams.

    python -P -m benchmarks.load.limits --output limits.json

Under four minutes, for two cores with nothing else on them: the server of known timings spins on one, the client and the process
that reads the answers share the other. Completions, then chat, `--streams` at 100 tokens/s each, for six seconds; `--lasting` of
them for half a minute, in chat; then 10,000 streams of a token a second. A rate holds if TPOT is within 0.1 % and p99 TTFT within
1 ms.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.load import chunks
from benchmarks.load.clients import compile_server, measure, options

ENDPOINTS = ("completions", "chat")
MANY = ["--streams", "10000", "--requests", "30000", "--output-tokens", "8", "--first-ms", "1000", "--token-ms", "1000"]
TPOT_PERCENT, TTFT_MS = 0.1, 1.0


def loaded(words: list[str], program: Path) -> dict[str, Any]:
    """The figures of our client under one load, and whether they hold."""
    found = measure("ours", options().parse_args(words), program)
    if "failed" not in found:
        right = abs(found["tpot_p50_error_percent"]) <= TPOT_PERCENT and abs(found["ttft_p99_error_ms"]) <= TTFT_MS
        found["holds"] = bool(right)
    return found


def _of(streams: int, each: int) -> list[str]:
    return ["--streams", f"{streams}", "--requests", f"{each * streams}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, nargs="+", default=[460, 700, 950, 1070, 1200])
    parser.add_argument("--lasting", type=int, default=800)
    parser.add_argument("--output", type=Path, help="also write the figures as JSON")
    arguments = parser.parse_args()
    found: dict[str, Any] = {"steps": {}, "rates": {}}
    for endpoint in ENDPOINTS:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            found["steps"][endpoint] = runner.run(chunks.measure(endpoint, streams=100, rounds=500))
    with tempfile.TemporaryDirectory() as folder:
        program = compile_server(Path(folder))
        for endpoint in ENDPOINTS:
            found["rates"][endpoint] = [
                loaded(["--endpoint", endpoint, *_of(n, 4)], program) for n in arguments.streams
            ]
        found["lasting"] = loaded(["--endpoint", "chat", *_of(arguments.lasting, 20)], program)
        found["ten_thousand_streams"] = loaded(MANY, program)
    print(json.dumps(found, indent=1))
    if arguments.output:
        arguments.output.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
