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
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.load.peers import Figures, install_aiperf, run_client


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
    assert server.stdin is not None
    assert server.stdout is not None
    with tempfile.TemporaryDirectory() as folder, server:
        try:
            url = f"http://127.0.0.1:{int(server.stdout.readline())}"
            seen, window = run_client(
                name, arguments, url, Path(folder), cores[1 : 1 + arguments.client_cores] or cores
            )
            server.stdin.close()
            noted = json.loads(server.stdout.readline())
        except RuntimeError as error:
            return {"client": name, "failed": str(error)}
        finally:
            server.kill()
    return {
        "client": name,
        **seen,
        **truth(np.array(noted["notes"]), window, arguments, seen),
        "server_late_max_ms": noted["late_ns"] / 1e6,
    }


def compile_server(folder: Path) -> Path:
    """The server of known timings, compiled into a folder."""
    program = folder / "known_server"
    subprocess.run(["gcc", "-O2", "-o", program, Path(__file__).with_name("known_server.c")], check=True)
    return program


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


def options() -> argparse.ArgumentParser:
    """The options of a load."""
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
    parser.add_argument("--model", default="known", help="as the server calls it")
    parser.add_argument("--endpoint", default="completions", choices=["completions", "chat"], help="of our client")
    return parser


def main() -> None:
    parser = options()
    parser.add_argument("--output", type=Path, help="also write the figures as JSON")
    arguments = parser.parse_args()
    if "aiperf" in arguments.clients:
        install_aiperf(arguments.aiperf)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        program = compile_server(Path(folder))
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
