"""The same load by each client, in turn, on our server and on vLLM's own: their figures side by side, and what the server noted.

    python -P -m benchmarks.load.servers --clients ours,vllm,guidellm --output servers.json

Ours has its synthetic engine, whose times are known (50 ms to the first token, one more every 10 ms); vLLM's has TinyGLU on the
CPU. What the server noted are the means of its own /metrics over the requests of one client, warm-up included: without HTTP, so
a little less than any client can see. Servers and clients share the machine's cores.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.load.clients import options
from benchmarks.load.peers import TOKENIZER, install_aiperf, run_client
from benchmarks.server.process import server, wait_until_healthy

SYNTHETIC = ["--engine", "synthetic", "--engine-option", "prefill_ms=50", "--engine-option", "token_ms=10"]
VLLM = ["--dtype=float32", "--enforce-eager", "--max-num-seqs=32", "--kv-cache-memory-bytes=268435456"]
SERVERS = {
    "ours": ["-P", "-m", "prunebench", "serve", str(TOKENIZER), *SYNTHETIC],
    "vllm": ["-m", "vllm.entrypoints.openai.api_server", f"--model={TOKENIZER}", "--served-model-name=tinyglu", *VLLM],
}
NOTED = {
    "ttft": "vllm:time_to_first_token_seconds",
    "tpot": "vllm:request_time_per_output_token_seconds",
}


def noted(url: str) -> dict[str, tuple[float, float]]:
    """(sum, count) of the server's own times, seconds."""
    found: dict[str, tuple[float, float]] = {}
    for family in text_string_to_metric_families(httpx.get(f"{url}/metrics").text):
        for name, metric in NOTED.items():
            if family.name == metric:
                total, count = (
                    sum(s.value for s in family.samples if s.name == f"{metric}_{end}") for end in ("sum", "count")
                )
                found[name] = total, count
    return found


def measure(name: str, arguments: argparse.Namespace, url: str) -> dict[str, Any]:
    """One client's figures and the server's own. A failure is reported, and the others still run."""
    before = noted(url)
    with tempfile.TemporaryDirectory() as folder:
        try:
            seen, _ = run_client(name, arguments, url, Path(folder), sorted(os.sched_getaffinity(0)))
        except RuntimeError as error:
            return {"client": name, "failed": str(error)}
    own = {}
    for key, (total, count) in noted(url).items():
        sum_before, count_before = before.get(key, (0.0, 0.0))
        own[f"server_{key}_mean_ms"] = 1e3 * (total - sum_before) / (count - count_before)
    return {"client": name, **seen, **own}


def main() -> None:
    parser = options()
    parser.add_argument("--servers", default="ours,vllm", help="of ours, vllm")
    parser.add_argument("--output", type=Path, help="also write the figures as JSON")
    parser.set_defaults(clients="ours,vllm,guidellm", model="tinyglu", streams=8, requests=64, output_tokens=32)
    arguments = parser.parse_args()
    if "aiperf" in arguments.clients:
        install_aiperf(arguments.aiperf)
    found: dict[str, list[dict[str, Any]]] = {}
    for name in arguments.servers.split(","):
        with tempfile.TemporaryDirectory() as folder:
            log = Path(folder) / "log"
            with server(SERVERS[name], log) as (url, process_id):
                wait_until_healthy(url, log, process_id)
                found[name] = [measure(client, arguments, url) for client in arguments.clients.split(",")]
        for figures in found[name]:
            print(
                f"{name}:", {key: round(v, 3) if isinstance(v, float) else v for key, v in figures.items()}, flush=True
            )
        if arguments.output:
            names = ("clients", "streams", "requests", "output_tokens")
            asked = {key: getattr(arguments, key) for key in names}
            arguments.output.write_text(json.dumps({"asked": asked, "servers": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
