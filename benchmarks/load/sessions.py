"""What a turn of a session costs the client process beside a single chat request of the same lengths, in CPU time, in turn.

    python -P -m benchmarks.load.sessions --output sessions.json

A server of known timings answers both loads, which send as many requests a second and not in step: chunks that arrive together
are cheaper. Turn n of a session has n prompts and n - 1 answers of the lengths asked for; a single request has as many words as a
turn has on average. `us` is the client process's own time in the window over the requests
that ended there, and `next_ms` how long after an answer's end, less the time to think, the next turn of its session is sent.
Medians over `--rounds` trials of each load; a machine that is busy with other work makes both dearer, and their ratio stays.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.load.clients import compile_server
from loadgen.endpoint import Endpoint
from loadgen.energy.source import NoEnergy
from loadgen.prompts.synthetic import make_prompts
from loadgen.records.table import Records
from loadgen.trial import run_trial
from loadgen.workloads.base import Workload
from loadgen.workloads.open_loop import PoissonLoad
from loadgen.workloads.sessions import SessionsLoad


def loads(arguments: argparse.Namespace) -> dict[str, Workload]:
    """A load of single requests, and one of sessions."""
    prompt, output, turns = arguments.prompt_words, arguments.output_tokens, arguments.turns
    same: dict[str, Any] = {"requests": arguments.requests, "output_tokens": output, "prompt_as": "words"}
    mean = (prompt * (turns + 1) + output * (turns - 1)) // 2
    return {
        "single": PoissonLoad(name="single", rate=arguments.rate, prompt_tokens=mean, endpoint="chat", **same),
        "sessions": SessionsLoad(
            name="sessions", rate=arguments.rate / turns, prompt_tokens=prompt, turns=turns, **same
        ),
    }


def measure(load: Workload, url: str, seed: int) -> dict[str, float]:
    """The figures of one trial."""
    prompts = make_prompts(load, (), seed)
    result = run_trial(Endpoint(url, "known"), load, prompts, seed=seed, energy=NoEnergy("not here"))
    trial, ends = result.trial, result.records.times("end_ns")
    ended = int(((ends >= trial.window_start_ns) & (ends <= trial.window_end_ns)).sum())
    busy_ns = (trial.client.cpu_fraction or np.nan) * (trial.window_end_ns - trial.window_start_ns)
    lag = trial.client.read_lag_p99_ms
    found = {"us": busy_ns / 1e3 / ended, "read_lag_p99_ms": np.nan if lag is None else lag}
    return found | ({f"next_p{p}_ms": value for p, value in next_turns(result.records)} if load.holds_sessions else {})


def next_turns(records: Records) -> list[tuple[int, float]]:
    """Percentiles of the time from when a turn was due to when it was sent, ms."""
    sessions = defaultdict(list)
    for record in records:
        sessions[record.group].append(record)
    later = [turn for turns in sessions.values() for turn in turns[1:]]
    late = [turn.sent_ns - turn.scheduled_ns for turn in later if turn.sent_ns is not None]
    return [(p, float(np.percentile(late, p)) / 1e6) for p in (50, 99)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=20.0, help="requests, or turns, per second")
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--turns", type=int, default=4)
    parser.add_argument("--prompt-words", type=int, default=64)
    parser.add_argument("--output-tokens", type=int, default=128)
    parser.add_argument("--first-ms", type=float, default=50.0)
    parser.add_argument("--token-ms", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, help="also write the figures as JSON")
    arguments = parser.parse_args()
    found: dict[str, list[dict[str, float]]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        times = [f"{round(ms * 1e6)}" for ms in (arguments.first_ms, arguments.token_ms)]
        command = [str(compile_server(Path(folder))), *times, f"{arguments.output_tokens}"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            url = f"http://127.0.0.1:{int(server.stdout.readline())}"
            for seed in range(arguments.rounds):
                for name, load in loads(arguments).items():
                    found[name].append(measure(load, url, seed))
                    print(name, {key: round(value, 3) for key, value in found[name][-1].items()}, flush=True)
            server.kill()
    medians = {
        name: {key: float(np.median([each[key] for each in rounds])) for key in rounds[0]}
        for name, rounds in found.items()
    }
    medians["sessions"]["us_over_single"] = medians["sessions"]["us"] / medians["single"]["us"]
    print(json.dumps(medians, indent=1))
    if arguments.output:
        asked = {key: value for key, value in vars(arguments).items() if key != "output"}
        arguments.output.write_text(json.dumps({"asked": asked, "medians": medians, "trials": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
