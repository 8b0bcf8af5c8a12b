"""What reading and keeping answers costs: time a chunk, and the most memory, from the first answer to the written folder.

    python -P benchmarks/recording.py --chunks 24000000 --output recording.json

Feeds the recorder what client processes hand on, as fast as it takes it: 24 million chunks are ten minutes at 40,000 a second.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from array import array
from pathlib import Path

from energy.records import WindowEnergy
from loadgen.drive import TrialResult
from loadgen.messages import Ended, Part
from loadgen.recorder import Recorder
from loadgen.records import ClientHealth, Trial, Workload
from loadgen.store import write_trial

CHUNK = 'data: {{"id":"cmpl-0","object":"text_completion","created":0,"model":"known","choices":[{{"index":0,"text":" word","logprobs":null,"finish_reason":null}}],"usage":{{"prompt_tokens":64,"total_tokens":{total},"completion_tokens":{tokens}}}}}\n\n'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chunks", type=int, default=24_000_000)
    parser.add_argument("--tokens", type=int, default=128, help="of each answer")
    parser.add_argument("--output", type=Path, help="also write the figures as JSON")
    arguments = parser.parse_args()
    tokens, requests = arguments.tokens, arguments.chunks // arguments.tokens
    events = [CHUNK.format(total=64 + n, tokens=n).encode() for n in range(1, tokens + 1)] + [b"data: [DONE]\n\n"]
    body, ends = b"".join(events), array("q", [sum(map(len, events[: n + 1])) for n in range(tokens + 1)]).tobytes()
    lags = array("q", [20_000] * (tokens + 1)).tobytes()
    load = Workload(name="w", kind="concurrency", concurrency=400, requests=requests, output_tokens=tokens)
    with tempfile.TemporaryDirectory() as folder:
        began = time.process_time()
        with Recorder(load, 0, file=Path(folder) / "records.arrows") as recorder:
            for index in range(requests):
                sent = index * 3_200_000
                at = array(
                    "q", range(sent + 50_000_000, sent + 50_000_000 + (tokens + 1) * 10_000_000, 10_000_000)
                ).tobytes()
                part = Part((index,), at, lags, ends, body)
                recorder.ended(Ended((index,), index, sent, sent, sent, sent + 2 * 10**9, 200, None, part))
                recorder.tick()
        read_s = time.process_time() - began
        read_mib = _most_mib()
        records = recorder.records()
        last = int(records.times("end_ns").max())
        trial = Trial(
            url="http://127.0.0.1:1", model="m", workload=load, seed=0, window_start_ns=0, window_end_ns=last,
            window_rule="whole", first_sent_ns=0, last_end_ns=last, started_at="2026-01-01T00:00:00+00:00",
            client=ClientHealth(cpu_fraction=None, loop_lag_p99_ms=None, schedule_lag_p99_ms=None),
            energy=WindowEnergy(start_ns=0, end_ns=last, reason="none"),
        )  # fmt: skip
        write_trial(Path(folder) / "trial", TrialResult(trial, records), [])
    figures = {
        "chunks": requests * tokens,
        "read_us_per_chunk": read_s / requests / tokens * 1e6,
        "whole_us_per_chunk": (time.process_time() - began) / requests / tokens * 1e6,
        "most_mib_while_reading": read_mib,
        "most_mib": _most_mib(),
    }
    for name, value in figures.items():
        print(f"{name:24} {value:12.2f}")
    if arguments.output:
        arguments.output.write_text(json.dumps(figures, indent=1) + "\n")


def _most_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
