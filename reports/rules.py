"""The validity checks by name: what each means, and what to do when it warns or fails.

"fail" says that figures it touches must not be used as they stand; "warn" says how to read them. A check without the data it
needs has the outcome "no data", never "pass".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Outcome = Literal["pass", "warn", "fail", "no data"]
SEVERITY: dict[Outcome, int] = {"pass": 0, "no data": 1, "warn": 2, "fail": 3}


@dataclass(frozen=True)
class Rule:
    """One check, for people."""

    name: str
    meaning: str
    remedy: str


@dataclass(frozen=True)
class Finding:
    """What a check found in one place: `reason` says what was seen, whatever the outcome."""

    outcome: Outcome
    reason: str


def graded(value: float, warn_above: float | None, fail_above: float | None) -> Outcome:
    """The outcome of a figure that is worse the larger it is; None: there is no such limit."""
    if fail_above is not None and value > fail_above:
        return "fail"
    return "warn" if warn_above is not None and value > warn_above else "pass"


_RULES = (
    Rule(
        "baseline-missing",
        "Every comparison is with the baseline in the same block; where that was not measured there is none.",
        "Resume the run, or mend what made the baseline fail.",
    ),
    Rule(
        "failed-requests",
        "Requests failed. What they cost stays in the joules; their latencies cannot be counted.",
        "Look at the first error; lower the load, or raise the request timeout.",
    ),
    Rule(
        "output-length-differs",
        "Requests wrote another number of tokens than the others, so times and joules per request compare lengths, not widths.",
        "Serve with an engine that honours ignore_eos, or compare per token only.",
    ),
    Rule(
        "engine-differs",
        "A configuration was served with another engine, version, data type or options than the baseline.",
        "Serve all configurations alike; otherwise a ratio is not that of width alone.",
    ),
    Rule(
        "too-few-repeats",
        "Fewer than five blocks pair the configuration with the baseline: the interval is wide, or missing.",
        "Resume the run, or raise protocol.blocks.",
    ),
    Rule(
        "width-unaligned",
        "The width is not a multiple of 64: GPU kernels pad it, and it may be slower and hungrier than an aligned neighbour.",
        "Prune with multiple_of = 64 or 128, and compare the two.",
    ),
    Rule(
        "client-saturated",
        "The load client itself was busy or late, and its delay is part of the latencies.",
        "Give the client a core of its own, or lower the load.",
    ),
    Rule(
        "schedule-lag",
        "Requests of an open-loop workload left later than scheduled, so the offered load was not the one asked for.",
        "Lower the rate, or give the client a core of its own; read the latencies from the scheduled time.",
    ),
    Rule(
        "tokens-disagree",
        "Two counts of the output tokens differ: the server's usage, the tokens streamed, the server's own counter.",
        "Find out which is right before using anything per token.",
    ),
    Rule(
        "multi-token-chunks",
        "The server sends several tokens in one chunk, or chunks had to be counted as tokens.",
        "Read TPOT, not gaps between chunks; offer usage in the stream so that tokens can be counted.",
    ),
    Rule(
        "prefix-cache-hits",
        "Prompt tokens came from the server's prefix cache, so their prefill was not measured.",
        "Switch prefix caching off, or restart the server between trials.",
    ),
    Rule(
        "modelled-energy",
        "No meter could be read; joules are CPU seconds times an assumed power and stand in columns called modelled.",
        "Measure on a machine with an NVIDIA GPU or readable RAPL counters.",
    ),
    Rule(
        "window-too-short",
        "The energy window is below 30 s or 200 refreshes of the counter, so its edges weigh in the figure.",
        "Raise the workload's requests or duration_s.",
    ),
    Rule(
        "counter-disagrees",
        "The energy counter and the integral of the reported power are more than 5 % apart; one of them is wrong.",
        "Check the driver and the board's known faults; do not use the joules until they agree.",
    ),
    Rule(
        "throttled",
        "The GPU slowed itself down during the window, by power cap, heat or power brake.",
        "Lock clocks below the limit or improve cooling; a power cap that all configurations meet is part of the machine.",
    ),
    Rule(
        "thermal-drift",
        "The GPU's temperature moved by more than 3 °C over the window, and leakage power with it.",
        "Warm up longer, and raise protocol.cooldown_s.",
    ),
    Rule(
        "idle-drift",
        "Idle power differs between configurations, or from before to after the trials, by more than 10 %; or net joules came out negative.",
        "Use gross joules; measure idle for longer, on a quiet machine.",
    ),
)  # fmt: skip

RULES = {rule.name: rule for rule in _RULES}
