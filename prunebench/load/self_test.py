"""`prunebench load --self-test`: how far to trust this client on this machine.

The synthetic server, whose times are known, runs here as a process of its own; the client loads it at several rates and every
metric is compared with the schedule. The difference is the client's error and the server's lateness together: an upper bound.
"Late reading" is the client's alone: how long after the kernel it reads a chunk; its time stamps do not contain it.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.table import Table
from tokenizers import Tokenizer, models, pre_tokenizers

from base.figures import percent
from loadgen.endpoint import Endpoint
from loadgen.energy.source import pick_energy
from loadgen.metrics.summary import summarize
from loadgen.prompts.synthetic import SyntheticPrompts
from loadgen.trial import run_trial
from loadgen.workloads.open_loop import ConstantLoad
from prunebench.servers.commands import ServerCommand
from prunebench.servers.process import start_server
from prunebench.terminal.console import err, out, print_line
from prunebench.terminal.progress import Steps

_STREAMS = (1, 10, 50, 100)
_PREFILL_MS, _TOKEN_MS, _TOKENS, _PROMPT = 50.0, 10.0, 64, 32
_IDLE_WATTS, _ACTIVE_WATTS = 50.0, 10.0
_SECONDS = 4.0  # of steady load at each rate
_WORDS = 1000
_TRUSTED_MS, _TRUSTED_SHARE = 3.0, 0.01  # an error within either is acceptable
_LATENCIES = {"TTFT p50", "TTFT p99", "E2E p50", "late sending p99", "late reading p99"}


@dataclass(frozen=True)
class Deviation:
    """One metric at one load: the measured and the true value."""

    streams: int
    metric: str
    unit: str
    truth: float
    seen: float | None

    @property
    def error(self) -> float | None:
        """Seen - truth."""
        return None if self.seen is None else self.seen - self.truth

    @property
    def trusted(self) -> bool:
        """Whether the error is acceptable: within 1 %, for latencies also within 3 ms."""
        if self.error is None:
            return False
        allowed = self.truth * _TRUSTED_SHARE
        return abs(self.error) <= (max(allowed, _TRUSTED_MS) if self.metric in _LATENCIES else allowed)


def self_test(*, seed: int, processes: int, as_json: bool) -> None:
    """Run it and print it. Raises ServerStartError if the server does not start."""
    with tempfile.TemporaryDirectory(prefix="prunebench-self-test-") as folder:
        found = _measure(Path(folder), seed, processes)
    verdict = verdict_of(found)
    if as_json:
        rows = [asdict(d) | {"error": d.error, "trusted": d.trusted} for d in found]
        out.print_json(json.dumps({"deviations": rows, "verdict": verdict}))
        return
    table = Table("streams", "metric", "truth", "seen", "error", "", title="This client on this machine")
    for row in found:
        shown = ("none", "none") if row.seen is None else (f"{row.seen:.3f}", f"{row.error:+.3f}")
        table.add_row(
            f"{row.streams}", f"{row.metric}, {row.unit}", f"{row.truth:.3f}", *shown, "" if row.trusted else "!"
        )
    out.print(table)
    print_line(verdict)


def verdict_of(found: list[Deviation]) -> str:
    """In one sentence: the number of streams up to which every metric can be trusted."""
    good = []
    for streams in sorted({row.streams for row in found}):
        if not all(row.trusted for row in found if row.streams == streams):
            break
        good.append(streams)
    rate = 1000 / _TOKEN_MS
    within = f"latencies within {_TRUSTED_MS:g} ms or {percent(_TRUSTED_SHARE)}, everything else within {percent(_TRUSTED_SHARE)}"
    if not good:
        return (
            f"Not to be trusted here, even at one stream: client or server got too little of the processors. ({within})"
        )
    held = f"up to {good[-1]} streams of {rate:g} tokens/s each"
    whole = good[-1] == max(row.streams for row in found)
    return f"Every metric holds {held}{', all that was tried' if whole else ''}: {within}; the server's own lateness included."


def _measure(folder: Path, seed: int, processes: int) -> list[Deviation]:
    checkpoint = folder / "words"
    checkpoint.mkdir()
    words = models.WordLevel({f"w{n}": n for n in range(_WORDS)}, unk_token="w0")  # noqa: S106 - a word
    tokenizer = Tokenizer(words)
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(checkpoint / "tokenizer.json"))
    options = {
        "prefill_ms": _PREFILL_MS, "token_ms": _TOKEN_MS, "idle_watts": _IDLE_WATTS, "active_watts": _ACTIVE_WATTS,
    }  # fmt: skip
    command = ServerCommand(checkpoint, "words", "synthetic", {key: f"{value}" for key, value in options.items()}, None)
    found: list[Deviation] = []
    with Steps(err, "self-test", len(_STREAMS)) as steps:
        log = folder / "server.log"
        server = start_server(command, log, start_timeout_s=60, request_timeout_s=60, progress=steps.part)
        try:
            for done, streams in enumerate(_STREAMS):
                steps.reach(done, len(_STREAMS), f"{streams} streams")
                found += _at(server.endpoint, streams, seed, min(processes, streams))
        finally:
            server.stop()
    return found


def _at(endpoint: Endpoint, streams: int, seed: int, processes: int) -> list[Deviation]:
    """The errors with `streams` requests in flight, sent evenly: sent together they would queue in the server."""
    whole_s = (_PREFILL_MS + (_TOKENS - 1) * _TOKEN_MS) / 1e3
    rate = streams / whole_s
    workload = ConstantLoad(
        name=f"self-test-{streams}",
        rate=rate,
        requests=round(rate * (_SECONDS + whole_s)),
        prompt_tokens=_PROMPT,
        output_tokens=_TOKENS,
        warmup_requests=processes,
    )
    prompts = SyntheticPrompts(range(1, _WORDS - 1), _PROMPT, seed)
    energy = pick_energy("auto", endpoint)
    result = run_trial(endpoint, workload, prompts, seed=seed, energy=energy, processes=processes)
    seen = summarize(result.trial, result.metrics, []) | result.trial.client.model_dump()
    joules = (_IDLE_WATTS + _ACTIVE_WATTS * streams) / (rate * _TOKENS)
    expected = [
        ("TTFT p50", "ms", _PREFILL_MS, "median_ttft_ms"),
        ("TTFT p99", "ms", _PREFILL_MS, "p99_ttft_ms"),
        ("TPOT p50", "ms", _TOKEN_MS, "median_tpot_ms"),
        ("TPOT p99", "ms", _TOKEN_MS, "p99_tpot_ms"),
        ("ITL mean", "ms", _TOKEN_MS, "mean_itl_ms"),
        ("E2E p50", "ms", whole_s * 1e3, "median_e2el_ms"),
        ("output throughput", "tokens/s", rate * _TOKENS, "output_throughput"),
        ("output tokens", "all", float((workload.requests or 0) * _TOKENS), "total_output_tokens"),
        ("energy", "J/output token", joules, "joules_per_output_token"),
        ("late sending p99", "ms", 0.0, "schedule_lag_p99_ms"),
        ("late reading p99", "ms", 0.0, "read_lag_p99_ms"),
    ]
    return [Deviation(streams, metric, unit, truth, seen[key]) for metric, unit, truth, key in expected]
