"""How far each client's figures are from the truth: a server of known timings on one core, the client on another, in turn.

    python -P -m benchmarks.load.clients --clients ours,vllm,guidellm,aiperf --aiperf DIR --output loadgen.json

The truth is the server's own notes (`benchmarks/load/known_server.c`, compiled by gcc): a request counts from its arrival by the kernel's stamp, a
token from the moment it was written. How late the server was against its schedule is given too. Each client is asked to keep
`--streams` requests in flight until `--requests` are done, and is confined to one core; its figures are read from the file it
writes. CPU seconds are those of its whole process tree, start-up included. Ours reports a window without the ramps: its
truth is that of the requests in its window; the others' is that of all their requests. aiperf lives in an environment of its
own, which is made in DIR if there is none.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

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
    words = [sys.executable, "-m", "prunebench", "load", url, "--model", "known", "--output", str(folder / "out")]
    words += [
        "--workload",
        "concurrency",
        "--concurrency",
        f"{arguments.streams}",
        "--requests",
        f"{arguments.requests}",
    ]
    words += ["--prompt-tokens", "64", "--output-tokens", f"{arguments.output_tokens}", "--tokenizer", str(TOKENIZER)]
    return [*words, "--energy", "none", "--json", "--processes", f"{arguments.processes}"]


def locust(arguments: argparse.Namespace, url: str, folder: Path) -> list[str]:
    words = ours(arguments, url, folder)
    return [*words[: words.index("--processes")], "--driver", "locust", "--workers", f"{arguments.processes}"]


def read_ours(folder: Path) -> tuple[Figures, tuple[int, int] | None]:
    found = json.loads((folder / "out" / "summary.json").read_text())
    client = json.loads((folder / "out" / "trial.json").read_text())["client"]
    own = {f"own_{name}": client[name] for name in ("cpu_fraction", "read_lag_p50_ms", "read_lag_p99_ms")}
    return _vllm_keys(found) | own, (found["window_start_ns"], found["window_end_ns"])


def vllm(arguments: argparse.Namespace, url: str, folder: Path) -> list[str]:
    # What `vllm bench serve` calls; the command itself requires a distribution of that name, and the one for CPUs has another.
    words = [sys.executable, "-P", "-c", VLLM_BENCH, "--backend", "openai", "--base-url", url]
    words += ["--endpoint", "/v1/completions", "--model", "known", "--tokenizer", str(TOKENIZER)]
    words += ["--dataset-name", "random", "--random-input-len", "64"]
    words += ["--random-output-len", f"{arguments.output_tokens}", "--ignore-eos"]
    words += ["--num-prompts", f"{arguments.requests}", "--max-concurrency", f"{arguments.streams}"]
    return [*words, "--save-result", "--result-dir", str(folder), "--result-filename", "out.json"]


def read_vllm(folder: Path) -> tuple[Figures, None]:
    return _vllm_keys(json.loads((folder / "out.json").read_text())), None


def _vllm_keys(found: dict[str, Any]) -> Figures:
    names = ("median_ttft_ms", "p99_ttft_ms", "median_tpot_ms", "output_throughput", "completed")
    keys = ("ttft_p50_ms", "ttft_p99_ms", "tpot_p50_ms", "tokens_per_s", "completed")
    return {key: found[name] for key, name in zip(keys, names, strict=True)}


def guidellm(arguments: argparse.Namespace, url: str, folder: Path) -> list[str]:
    words = [str(Path(sys.executable).parent / "guidellm"), "run", "--disable-console"]
    words += ["--backend", f"kind=openai_http,target={url},model=known,request_format=/v1/completions"]
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
        "tpot_p50_ms": itl["median"],  # its mean gap of each request is what others call TPOT
        "tokens_per_s": metrics["output_tokens_per_second"]["successful"]["mean"],
        "completed": ttft["count"],
    }, None


def aiperf(arguments: argparse.Namespace, url: str, folder: Path) -> list[str]:
    words = [str(arguments.aiperf / "bin" / "aiperf"), "profile", "--model", "known", "--url", url, "--streaming"]
    words += ["--endpoint-type", "completions", "--tokenizer", str(TOKENIZER), "--isl", "64"]
    words += ["--osl", f"{arguments.output_tokens}", "--concurrency", f"{arguments.streams}"]
    words += ["--request-count", f"{arguments.requests}", "--extra-inputs", "ignore_eos:true", "--no-gpu-telemetry"]
    return [*words, "--use-server-token-count", "--ui", "none", "--artifact-dir", str(folder / "out")]


def read_aiperf(folder: Path) -> tuple[Figures, None]:
    found = json.loads((folder / "out" / "profile_export_aiperf.json").read_text())
    return {
        "ttft_p50_ms": found["time_to_first_token"]["p50"],
        "ttft_p99_ms": found["time_to_first_token"]["p99"],
        "tpot_p50_ms": found["inter_token_latency"]["p50"],
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


def measure(name: str, arguments: argparse.Namespace, program: Path) -> dict[str, Any]:
    """Run one client against a server of its own, the compiled `program`. A failure is reported, and the others still run."""
    cores = sorted(os.sched_getaffinity(0))
    times = [f"{round(ms * 1e6)}" for ms in (arguments.first_ms, arguments.token_ms)]
    server = subprocess.Popen(
        ["taskset", "-c", f"{cores[0]}", str(program), *times, f"{arguments.output_tokens}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    assert server.stdin is not None
    assert server.stdout is not None
    with tempfile.TemporaryDirectory() as folder, server:
        try:
            url = f"http://127.0.0.1:{int(server.stdout.readline())}"
            confined = ["taskset", "-c", ",".join(map(str, cores[1 : 1 + arguments.client_cores] or cores))]
            began, log = time.monotonic(), Path(folder) / "log"
            local = environment | {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
            with log.open("w") as said:
                process = subprocess.Popen(
                    confined + CLIENTS[name].command(arguments, url, Path(folder)),
                    stdout=said,
                    stderr=said,
                    env=local,
                )
                _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            wall_s = time.monotonic() - began
            server.stdin.close()
            noted = json.loads(server.stdout.readline())
            if process.returncode:
                logs = [*Path(folder).glob("**/*.log"), log]
                return {"client": name, "failed": "".join(each.read_text()[-2000:] for each in logs)}
            seen, window = CLIENTS[name].read(Path(folder))
        finally:
            server.kill()
    cpu = {"cpu_s": usage.ru_utime + usage.ru_stime, "wall_s": wall_s}
    return {
        "client": name,
        **seen,
        **cpu,
        **truth(np.array(noted["notes"]), window, arguments, seen),
        "server_late_max_ms": noted["late_ns"] / 1e6,
    }


def truth(
    notes: np.ndarray, window: tuple[int, int] | None, arguments: argparse.Namespace, seen: Figures
) -> dict[str, float]:
    """What the server noted, [answers, (arrival, first write, last write)] ns, and by how much the client is off."""
    if window is not None:
        notes = notes[(notes[:, 0] >= window[0]) & (notes[:, 0] <= window[1])]
    arrived, first, last = notes.T / 1e6
    ttft, tpot = first - arrived, (last - first) / (arguments.output_tokens - 1)
    found = {f"true_ttft_p{p}_ms": float(np.percentile(ttft, p)) for p in (50, 99)}
    found["true_tpot_p50_ms"] = float(np.median(tpot))
    for p in (50, 99):
        found[f"ttft_p{p}_error_ms"] = (seen[f"ttft_p{p}_ms"] or np.nan) - found[f"true_ttft_p{p}_ms"]
    found["tpot_p50_error_percent"] = 100 * ((seen["tpot_p50_ms"] or np.nan) / found["true_tpot_p50_ms"] - 1)
    return found


def install_aiperf(folder: Path) -> None:
    """Into an environment of its own: its pins are not ours."""
    if not (folder / "bin" / "aiperf").exists():
        subprocess.run(["python3.11", "-m", "venv", str(folder)], check=True)
        subprocess.run([str(folder / "bin" / "pip"), "install", "--quiet", "aiperf"], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--clients", default="ours", help="of ours, locust (ours through Locust), vllm, guidellm, aiperf"
    )
    parser.add_argument("--aiperf", type=Path, help="folder of aiperf's own environment")
    parser.add_argument("--streams", type=int, default=100)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--output-tokens", type=int, default=128)
    parser.add_argument("--first-ms", type=float, default=50.0)
    parser.add_argument("--token-ms", type=float, default=10.0)
    parser.add_argument("--processes", type=int, default=1, help="of our client")
    parser.add_argument("--client-cores", type=int, default=1)
    parser.add_argument("--output", type=Path, help="also write the figures as JSON")
    arguments = parser.parse_args()
    if "aiperf" in arguments.clients:
        install_aiperf(arguments.aiperf)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "known_server"
        subprocess.run(["gcc", "-O2", "-o", program, Path(__file__).with_name("known_server.c")], check=True)
        for name in arguments.clients.split(","):
            found.append(measure(name, arguments, program))
            print(f"{name}:")
            for key, value in found[-1].items():
                print(f"  {key:28} {value if not isinstance(value, float) else round(value, 3)}", flush=True)
    if arguments.output:
        asked = {name: value for name, value in vars(arguments).items() if name not in {"output", "aiperf"}}
        arguments.output.write_text(json.dumps({"asked": asked, "clients": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
