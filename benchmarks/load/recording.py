"""What reading and keeping answers costs: time a chunk, and the most memory, from the first answer to the written folder.

    python -P -m benchmarks.load.recording --chunks 24000000 --output recording.json

Feeds the recorder what client processes hand on, as fast as it takes it: 24 million chunks are ten minutes at 40,000 a second.
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import tempfile
import time
from array import array
from pathlib import Path

from energy.records import WindowEnergy
from loadgen.link.messages import Ended, Part
from loadgen.metrics.window import cut_window
from loadgen.records.schema import ClientHealth, Trial
from loadgen.results.recorder import Recorder
from loadgen.results.result import TrialResult
from loadgen.results.store import write_trial
from loadgen.workloads.closed_loop import ConcurrencyLoad
from reports.checks.findings import check_trial

TOKEN_NS, AT_ONCE = 10_000_000, 50  # half a second of chunks is handed on together
CHUNK = 'data: {{"id":"cmpl-0","object":"text_completion","created":0,"model":"known","choices":[{{"index":0,"text":" word","logprobs":null,"finish_reason":null}}],"usage":{{"prompt_tokens":64,"total_tokens":{total},"completion_tokens":{tokens}}}}}\n\n'


def answer_together(recorder: Recorder, indices: range, sent_ns: int, events: list[bytes]) -> None:
    """Answers of requests sent at one moment, handed on twice a second as the client does: a part of each, then the next."""
    starts = range(0, len(events), AT_ONCE)
    for start in starts:
        some = events[start : start + AT_ONCE]
        at_ns = array("q", (sent_ns + (5 + start + n) * TOKEN_NS for n in range(len(some)))).tobytes()
        lag_ns = array("q", [20_000] * len(some)).tobytes()
        ends = array("q", itertools.accumulate(map(len, some))).tobytes()
        for index in indices:
            part = Part((index,), at_ns, lag_ns, ends, b"".join(some))
            if start == starts[-1]:
                last_ns = sent_ns + (5 + len(events)) * TOKEN_NS
                times = (sent_ns, sent_ns, sent_ns + 5 * TOKEN_NS, last_ns)
                recorder.ended(Ended((index,), index, *times, 200, None, part))
            else:
                recorder.part(part)
        recorder.tick()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chunks", type=int, default=24_000_000)
    parser.add_argument("--streams", type=int, default=400, help="answers under way at once")
    parser.add_argument("--tokens", type=int, default=128, help="of each answer")
    parser.add_argument("--output", type=Path, help="also write the figures as JSON")
    arguments = parser.parse_args()
    tokens, requests = arguments.tokens, arguments.chunks // arguments.tokens
    events = [CHUNK.format(total=64 + n, tokens=n).encode() for n in range(1, tokens + 1)] + [b"data: [DONE]\n\n"]
    load = ConcurrencyLoad(name="w", concurrency=arguments.streams, requests=requests, output_tokens=tokens)
    with tempfile.TemporaryDirectory() as folder:
        began = time.process_time()
        with Recorder(load, 0, file=Path(folder) / "records.arrows") as recorder:
            for first in range(0, requests, arguments.streams):
                sent = first // arguments.streams * (tokens + 6) * TOKEN_NS
                answer_together(recorder, range(first, min(first + arguments.streams, requests)), sent, events)
        read_s = time.process_time() - began
        read_mib = _most_mib()
        records = recorder.records()
        window = cut_window(load, records)
        trial = Trial(
            url="http://127.0.0.1:1", model="m", workload=load, seed=0, window_start_ns=window.start_ns,
            window_end_ns=window.end_ns, window_rule=window.rule, window_rules=2, generations=window.generations,
            first_sent_ns=0, last_end_ns=window.end_ns, started_at="2026-01-01T00:00:00+00:00",
            client=ClientHealth(cpu_fraction=None, loop_lag_p99_ms=None, schedule_lag_p99_ms=None),
            energy=WindowEnergy(start_ns=window.start_ns, end_ns=window.end_ns, reason="none"),
        )  # fmt: skip
        result = TrialResult(trial, records)
        write_trial(Path(folder) / "trial", result, check_trial(trial, result.metrics))
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
