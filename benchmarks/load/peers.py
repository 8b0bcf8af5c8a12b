"""The load clients that are compared: how each is called, and what its file says."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TOKENIZER = Path(__file__).parents[2] / "examples" / "tinyglu"
VLLM_BENCH = """
import argparse
from vllm.benchmarks.serve import add_cli_args, main
from vllm.utils.argparse_utils import FlexibleArgumentParser
parser = FlexibleArgumentParser()
add_cli_args(parser)
main(parser.parse_args())
"""
Figures = dict[str, float | None]


@dataclass(frozen=True)
class Client:
    """How to call a client, and what its file says: (TTFT p50, p99, TPOT p50 ms, tokens/s, completed, window ns)."""

    command: Callable[[argparse.Namespace, str, Path], list[str]]
    read: Callable[[Path], tuple[Figures, tuple[int, int] | None]]


def ours(arguments: argparse.Namespace, url: str, folder: Path) -> list[str]:
    words = [
        sys.executable,
        "-m",
        "prunebench",
        "load",
        url,
        "--model",
        arguments.model,
        "--output",
        str(folder / "out"),
    ]
    words += [
        "--workload",
        "concurrency",
        "--concurrency",
        f"{arguments.streams}",
        "--requests",
        f"{arguments.requests}",
    ]
    words += ["--prompt-tokens", "64", "--output-tokens", f"{arguments.output_tokens}", "--tokenizer", str(TOKENIZER)]
    if arguments.endpoint == "chat":
        words += ["--endpoint", "chat", "--prompt-as", "words"]
    return [*words, "--energy", "none", "--json", "--processes", f"{arguments.processes}"]


def locust(arguments: argparse.Namespace, url: str, folder: Path) -> list[str]:
    words = ours(arguments, url, folder)
    return [*words[: words.index("--processes")], "--driver", "locust", "--workers", f"{arguments.processes}"]


def read_ours(folder: Path) -> tuple[Figures, tuple[int, int] | None]:
    found = json.loads((folder / "out" / "summary.json").read_text())
    client = json.loads((folder / "out" / "trial.json").read_text())["client"]
    own = {f"own_{name}": client[name] for name in ("cpu_fraction", "read_lag_p50_ms", "read_lag_p99_ms")}
    own["own_cpu_us_per_chunk"] = 1e6 * client["cpu_fraction"] / found["output_throughput"]  # a chunk a token
    return _vllm_keys(found) | own, (found["window_start_ns"], found["window_end_ns"])


def vllm(arguments: argparse.Namespace, url: str, folder: Path) -> list[str]:
    # What `vllm bench serve` calls; the command itself requires a distribution of that name, and the one for CPUs has another.
    words = [sys.executable, "-P", "-c", VLLM_BENCH, "--backend", "openai", "--base-url", url]
    words += ["--endpoint", "/v1/completions", "--model", arguments.model, "--tokenizer", str(TOKENIZER)]
    words += ["--dataset-name", "random", "--random-input-len", "64"]
    words += ["--random-output-len", f"{arguments.output_tokens}", "--ignore-eos"]
    words += ["--num-prompts", f"{arguments.requests}", "--max-concurrency", f"{arguments.streams}"]
    return [*words, "--save-result", "--result-dir", str(folder), "--result-filename", "out.json"]


def read_vllm(folder: Path) -> tuple[Figures, None]:
    return _vllm_keys(json.loads((folder / "out.json").read_text())), None


def _vllm_keys(found: dict[str, Any]) -> Figures:
    names = ["median_ttft_ms", "p99_ttft_ms", "mean_ttft_ms", "median_tpot_ms", "mean_tpot_ms"]
    keys = ["ttft_p50_ms", "ttft_p99_ms", "ttft_mean_ms", "tpot_p50_ms", "tpot_mean_ms", "tokens_per_s", "completed"]
    names += ["output_throughput", "completed"]
    return {key: found[name] for key, name in zip(keys, names, strict=True)}


def guidellm(arguments: argparse.Namespace, url: str, folder: Path) -> list[str]:
    words = [str(Path(sys.executable).parent / "guidellm"), "run", "--disable-console"]
    words += ["--backend", f"kind=openai_http,target={url},model={arguments.model},request_format=/v1/completions"]
    words += ["--profile", f"kind=concurrent,streams={arguments.streams}"]
    words += ["--constraint", f"kind=max_requests,count={arguments.requests}"]
    words += ["--tokenizer", f"kind=huggingface_auto,model={TOKENIZER}"]
    words += ["--data", f"kind=synthetic_text,prompt_tokens=64,output_tokens={arguments.output_tokens}"]
    return [*words, "--output", f"kind=json,path={folder / 'out.json'}"]


def read_guidellm(folder: Path) -> tuple[Figures, None]:
    metrics = json.loads((folder / "out.json").read_text())["benchmarks"][0]["metrics"]
    ttft, itl = (metrics[name]["successful"] for name in ("time_to_first_token_ms", "inter_token_latency_ms"))
    return {
        "ttft_p50_ms": ttft["median"],
        "ttft_p99_ms": ttft["percentiles"]["p99"],
        "ttft_mean_ms": ttft["mean"],
        "tpot_p50_ms": itl["median"],  # its mean gap of each request is what others call TPOT
        "tpot_mean_ms": itl["mean"],
        "tokens_per_s": metrics["output_tokens_per_second"]["successful"]["mean"],
        "completed": ttft["count"],
    }, None


def aiperf(arguments: argparse.Namespace, url: str, folder: Path) -> list[str]:
    words = [
        str(arguments.aiperf / "bin" / "aiperf"),
        "profile",
        "--model",
        arguments.model,
        "--url",
        url,
        "--streaming",
    ]
    words += ["--endpoint-type", "completions", "--tokenizer", str(TOKENIZER), "--isl", "64"]
    words += ["--osl", f"{arguments.output_tokens}", "--concurrency", f"{arguments.streams}"]
    words += ["--request-count", f"{arguments.requests}", "--extra-inputs", "ignore_eos:true", "--no-gpu-telemetry"]
    return [*words, "--use-server-token-count", "--ui", "none", "--artifact-dir", str(folder / "out")]


def read_aiperf(folder: Path) -> tuple[Figures, None]:
    found = json.loads((folder / "out" / "profile_export_aiperf.json").read_text())
    return {
        "ttft_p50_ms": found["time_to_first_token"]["p50"],
        "ttft_p99_ms": found["time_to_first_token"]["p99"],
        "ttft_mean_ms": found["time_to_first_token"]["avg"],
        "tpot_p50_ms": found["inter_token_latency"]["p50"],
        "tpot_mean_ms": found["inter_token_latency"]["avg"],
        "tokens_per_s": found["output_token_throughput"]["avg"],
        "completed": found["request_count"]["avg"],
    }, None


CLIENTS = {
    "ours": Client(ours, read_ours),
    "vllm": Client(vllm, read_vllm),
    "guidellm": Client(guidellm, read_guidellm),
    "locust": Client(locust, read_ours),
    "aiperf": Client(aiperf, read_aiperf),
}


def run_client(
    name: str, arguments: argparse.Namespace, url: str, folder: Path, cores: Sequence[int]
) -> tuple[Figures, tuple[int, int] | None]:
    """Load a server with one client, confined to `cores`. Its figures, CPU and wall time, and its window if it has one.

    CPU seconds are those of its whole process tree, start-up included. Raises RuntimeError with the end of its logs.
    """
    local = {"PYTHONPATH": str(Path(__file__).parents[2]), "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    began, log = time.monotonic(), folder / "log"
    confined = ["taskset", "-c", ",".join(map(str, cores))]
    with log.open("w") as said:
        command = confined + CLIENTS[name].command(arguments, url, folder)
        process = subprocess.Popen(command, stdout=said, stderr=said, env=os.environ | local)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall_s = time.monotonic() - began
    if process.returncode:
        raise RuntimeError("".join(each.read_text()[-2000:] for each in [*folder.glob("**/*.log"), log]))
    seen, window = CLIENTS[name].read(folder)
    return seen | {"cpu_s": usage.ru_utime + usage.ru_stime, "wall_s": wall_s}, window


def install_aiperf(folder: Path) -> None:
    """Into an environment of its own: its pins are not ours."""
    if not (folder / "bin" / "aiperf").exists():
        subprocess.run(["python3.11", "-m", "venv", str(folder)], check=True)
        subprocess.run([str(folder / "bin" / "pip"), "install", "--quiet", "aiperf"], check=True)
