"""The validity checks by name: what each means, and what to do when it warns or fails.

"fail" says that figures it touches must not be used as they stand; "warn" says how to read them. A check without the data it
needs has the outcome "no data", never "pass".
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import Literal

Outcome = Literal["pass", "warn", "fail", "no data"]
Spoils = Literal["all", "latency", "joules"]
SEVERITY: dict[Outcome, int] = {"pass": 0, "no data": 1, "warn": 2, "fail": 3}


@dataclass(frozen=True)
class Rule:
    """One check, for people: what it is about, at what it warns and fails, and what to do then.

    `spoils` says which comparisons a failure makes unusable: the advice does not rest on them. None: none of those that
    the advice rests on, or the check never fails, or what it fails for is in no interval anyway.
    """

    name: str
    meaning: str
    limits: str
    remedy: str
    spoils: Spoils | None = "all"

    def spoils_quantity(self, key: str) -> bool:
        """Whether a failure makes comparisons of this quantity unusable."""
        kinds: dict[Spoils | None, bool] = {"all": True, "joules": "joules" in key, "latency": key.endswith("_ms")}
        return kinds.get(self.spoils, False)


@dataclass(frozen=True)
class Finding:
    """What a check found in one place: `reason` says what was seen, whatever the outcome."""

    outcome: Outcome
    reason: str


@dataclass(frozen=True)
class Located:
    """One finding and where it was made; None: it is about all of them."""

    check: str
    finding: Finding
    label: str | None = None
    workload: str | None = None
    block: int | None = None


def graded(value: float, warn_above: float | None, fail_above: float | None) -> Outcome:
    """The outcome of a figure that is worse the larger it is; None: there is no such limit. NaN is no figure."""
    if math.isnan(value):
        return "no data"
    if fail_above is not None and value > fail_above:
        return "fail"
    return "warn" if warn_above is not None and value > warn_above else "pass"


_RULES = (
    Rule(
        "baseline-missing",
        "Every comparison is with the baseline in the same block; where that was not measured there is none.",
        "Warns if some blocks lack the baseline, fails if none has it.",
        "Resume the run, or mend what made the baseline fail.",
        spoils=None,
    ),
    Rule(
        "failed-requests",
        "Requests failed. What they cost stays in the joules; in every latency they rank above any that was measured.",
        "Warns at the first failed request, fails above 1 % of them, or if none was measured.",
        "Look at the first error; lower the load, or raise the request timeout.",
    ),
    Rule(
        "output-length-differs",
        "Requests wrote another number of tokens than the others, so times and joules per request compare lengths, not widths.",
        "Fixed lengths: fails if any request wrote another number than asked. Natural stop: warns if a configuration's mean length is over 5 % from the baseline's.",
        "Serve with an engine that honours ignore_eos, or compare per token only.",
        spoils="latency",
    ),
    Rule(
        "engine-differs",
        "A configuration was served with another engine, version, data type or options than the baseline.",
        "Fails if any of these is not as the baseline's; no data while the server of one of the two has not reported them.",
        "Serve all configurations alike; otherwise a ratio is not that of width alone.",
    ),
    Rule(
        "resolved-options-differ",
        "What the engine made of its options, defaults included, is not what it made of the baseline's: data type, batch size, caches, attention backend.",
        "Fails if any option as resolved differs, but for the number of cache blocks, which grows as weights shrink; no data where a server does not report them.",
        "Name the option in serve.options, so that it is the same for all.",
    ),
    Rule(
        "host-shared",
        "Something else of the same run was at work on the host while the trial was measured: they share processors, memory, power and heat.",
        "Warns if anything did. Only of trials that a cluster placed.",
        "Offer one place a host (`ray start --num-gpus 1`), or see whether the trials that were alone say the same.",
        spoils=None,
    ),
    Rule(
        "hosts-differ",
        "A pair was measured on two GPUs or hosts, so that its ratio holds their difference too; or blocks were on unlike hosts, so that medians mix them.",
        "Fails if a pair is of two kinds of host; warns if it is of two GPUs or hosts of one kind, or if blocks are on unlike kinds. Only of trials that a cluster placed.",
        "Delete the trials of the blocks named and add --resume: each is measured anew in one place. Let the cluster offer one kind of GPU.",
    ),
    Rule(
        "too-few-repeats",
        "Fewer than five blocks pair the configuration with the baseline: the interval is wide, or missing.",
        "Warns below five paired blocks, fails below two: no interval then.",
        "Resume the run, or raise protocol.blocks.",
        spoils=None,
    ),
    Rule(
        "width-unaligned",
        "The width is not a multiple of 64: GPU kernels pad it, and it may be slower and hungrier than an aligned neighbour.",
        "Warns unless the width is a multiple of 64.",
        "Prune with multiple_of = 64 or 128, and compare the two.",
        spoils=None,
    ),
    Rule(
        "warm-up-unsteady",
        "The time per token was still changing when the measured window began, so that its mean is not that of a steady server.",
        "Warns if the line through the last half of the warm-up's groups, at least three, changes by more than protocol.steady_within. Warns too if early generations of the window differ from late ones beyond chance (95 %) and the window's mean is off by more than 0.5 %: closed loops of at least 6 generations; the finding says which shift would have shown with 90 %.",
        "Raise protocol.warmup_limit_s, or the workload's warmup_requests and requests; find out what else runs on the machine.",
        spoils=None,
    ),
    Rule(
        "few-generations",
        "A closed loop's window holds few generations, each as many ends as the loop has streams: what differs from one to the next weighs in every figure.",
        "Warns below four generations; fails below one: the whole load is then taken, with the ramps in which the loop is not full, and no verdict rests on the trial. Closed loops only.",
        "Raise the workload's requests to six times its concurrency or more, or its duration_s.",
        spoils=None,
    ),
    Rule(
        "client-saturated",
        "The load client itself was busy or late, and its delay is part of the latencies.",
        "Warns above 80 % of a core, fails above 95 %; lag of its timer, or of its reads behind the kernel less the pause it means to make (p99), over 1 ms warns from 5 % of the median TTFT and fails from 50 %; no data if no request had a first token.",
        "Give the client a core of its own, or lower the load.",
    ),
    Rule(
        "schedule-lag",
        "Requests of an open-loop workload left later than scheduled, so the offered load was not the one asked for.",
        "The p99 of sent - scheduled, over 1 ms: warns from 5 % of the median TTFT, fails from 50 %. Open loops only.",
        "Lower the rate, or give the client a core of its own; read the latencies from the scheduled time.",
    ),
    Rule(
        "saturated",
        "Requests piled up from when the server had filled to the last sending: it did not keep up, and latencies are those of a load of this length.",
        "Warns if the requests in flight grew beyond what chance does (95 %); requests/s and J/request are then of the requests that ended in the window. No data if too few arrived to tell. Open loops only.",
        "Lower the rate; read requests/s as what the server completes at its limit, and no latency.",
        spoils=None,
    ),
    Rule(
        "concurrency-missed",
        "Fewer requests were in flight than the closed loop has, or the engine takes fewer at once, so the others waited in its queue.",
        "Requests in flight, averaged over the window: warns below 98 % of those asked for, fails below 90 %. Warns if the engine's max_num_seqs is below them. Closed loops; the second of batches, too.",
        "Give the client more processes, make the load longer, or raise max_num_seqs.",
    ),
    Rule(
        "preempted-requests",
        "The engine ran out of KV cache, threw requests out of its batch and computed them anew.",
        "By the change of the server's counter over the trial: warns at the first, fails above 1 % of the requests.",
        "Lower the concurrency, or give the engine more cache; vLLM counts preemptions with disable_log_stats=false.",
    ),
    Rule(
        "load-interrupted",
        "Ctrl-C ended the load: the records have what had ended by then, and lack the requests in flight, the longest among them.",
        "Warns if it was interrupted.",
        "Measure again, with fewer requests or a shorter duration; read these figures as a first look.",
        spoils=None,
    ),
    Rule(
        "tokens-disagree",
        "Two counts of the output tokens differ: the server's usage, the tokens streamed, the server's own counter.",
        "Usage against stream: warns if a request differs, fails above 1 % of requests; only where chunks carry their own counts, else the stream is made to agree. Server's counter against the records: warns if they differ, fails above 1 %; only if all requests completed.",
        "Find out which is right before using anything per token.",
    ),
    Rule(
        "multi-token-chunks",
        "The server sends several tokens in one chunk, or chunks had to be counted as tokens. Without a running usage the tokens of the first chunk are unknown then, and there is no TPOT and no ITL.",
        "Warns above 1.05 tokens a chunk on average, if chunks were counted as tokens, or if the first chunk is unknown in over 1 % of requests.",
        "Read TPOT, not gaps between chunks; offer usage in every chunk (stream_options.continuous_usage_stats) so that tokens can be counted.",
        spoils=None,
    ),
    Rule(
        "prefix-cache-hits",
        "Prompt tokens came from the server's prefix cache, so their prefill was not measured.",
        "Warns at the first token from the cache, fails above 5 % of the prompt tokens.",
        "Switch prefix caching off, or restart the server between trials.",
    ),
    Rule(
        "modelled-energy",
        "No meter could be read; joules are CPU seconds times an assumed power and stand in columns called modelled.",
        "Warns if joules are modelled and none is measured.",
        "Measure on a machine with an NVIDIA GPU or readable RAPL counters.",
        spoils=None,
    ),
    Rule(
        "energy-missing",
        "A trial has no measured joules: a device that should be in the sum could not be read, or there is no meter.",
        "Fails if a device is there and was not read, lost, reset, frozen, in MIG mode or without permission, or if fewer GPUs were metered than the engine takes (on several hosts); warns if there is no meter at all.",
        "The reason says what would mend it; `prunebench doctor` tells it before a run.",
        spoils="joules",
    ),
    Rule(
        "source-fallback",
        "A GPU's energy counter does not answer, and joules are integrated from the power that it reports.",
        "Warns if any GPU in the sum is not read by its counter.",
        "Compare only runs from the same source; a newer driver, or a Volta or later board, has the counter.",
        spoils=None,
    ),
    Rule(
        "meter-gaps",
        "A meter was silent within the window. A counter bridges that; integrated power guesses.",
        "Warns if the longest gap between two readings is above 1 s.",
        "Look for what kept the machine or the driver; the uncertainty grows where an edge lies in the gap.",
        spoils=None,
    ),
    Rule(
        "window-too-short",
        "The energy window is below 30 s or 200 refreshes of the counter, so its edges weigh in the figure; or an open loop sent for so short a time that its window holds some of the filling.",
        "Warns below 30 s or 200 refresh intervals, whichever is longer; fails if the joules are then known to no better than 5 %. Open loops: warns if less than half of the sending is left after the p99 of E2E, and the last half of it was taken; fails if p99 is longer than the sending, or nothing ended in the window, and the whole load was taken.",
        "Raise the workload's requests or duration_s.",
        spoils="joules",
    ),
    Rule(
        "counter-disagrees",
        "The energy counter and the integral of the reported power are more than 5 % apart; one of them is wrong.",
        "Fails above 5 %.",
        "Check the driver and the board's known faults; do not use the joules until they agree.",
        spoils="joules",
    ),
    Rule(
        "throttled",
        "The GPU slowed itself down during the window, by power cap, heat or power brake.",
        "Warns on a power cap, fails on any other cause.",
        "Lock clocks below the limit or improve cooling; a power cap that all configurations meet is part of the machine.",
    ),
    Rule(
        "thermal-drift",
        "The GPU's temperature moved by more than 3 °C over the window, and leakage power with it.",
        "Warns above 3 °C between the means of the window's first and last quarter.",
        "Warm up longer, and raise protocol.cooldown_s.",
        spoils=None,
    ),
    Rule(
        "gpu-shared",
        "Another process computed on the GPU during the window: its joules are in the sum, and it slows the engine down.",
        "Fails if any sample has a process that is not the engine's. No data if the engine itself is not among those listed, as in a container without the host's process ids; there, what runs outside is never seen.",
        "Stop it, or measure on a GPU of its own; give a container the host's process ids (`--pid=host`).",
    ),
    Rule(
        "clocks-differ",
        "The GPU ran at other clocks, or under another power limit, than for the baseline in the same block, so a ratio is of these, too.",
        "Warns if the median SM or memory clock of a pair differs by more than 2 %, fails if the enforced power limits differ by more than 1 W; no data unless both are recorded.",
        "Lock clocks and the power limit for the whole run (`nvidia-smi -lgc`, `-pl`). A lighter load may clock higher by itself: then it is part of what the configuration gains.",
    ),
    Rule(
        "idle-temperature-differs",
        "The quiet GPU was warmer or cooler than for the baseline, and a warmer one draws more at the same work.",
        "Warns if the mean temperatures of any GPU in the two idle windows before the loads, in the same block, differ by more than 3 °C.",
        "Raise protocol.cooldown_s, and keep the room and the fans steady.",
        spoils=None,
    ),
    Rule(
        "idle-drift",
        "Idle power differs between configurations, or from before to after a load, by more than 10 %; or net joules came out negative.",
        "Warns above 10 %, fails if net joules are negative.",
        "Use gross joules; measure idle for longer, on a quiet machine.",
        spoils=None,
    ),
)  # fmt: skip

RULES = {rule.name: rule for rule in _RULES}


_WITHHELD: dict[Spoils, str] = {
    "all": "the configuration from the advice; all of them where the baseline fails.",
    "latency": "the configuration from advice that is judged by latency.",
    "joules": "the configuration's joules from the advice.",
}


def render_rules() -> str:
    """docs/reference/checks.md, which a test keeps equal to this: `python -m reports.checks.rules > docs/reference/checks.md`."""
    lines = [
        "# Validity checks",
        "",
        "Every report says of each what it found. **fail**: figures it touches must not be used as they stand. **warn**: how to",
        "read them. **no data**: what it needs was not recorded, which is never a pass. No figure is removed on account of a check;",
        "advice that rests on a failed one is withheld. The rules are in `reports/*checks.py`; each is tested on data that",
        "trips it and on data that does not. This page is written by `python -m reports.checks.rules`.",
    ]
    for rule in RULES.values():
        lines += [
            "",
            f"## {rule.name}",
            "",
            rule.meaning,
            "",
            f"*Limits:* {rule.limits}",
            "",
            *([f"*A failure withholds:* {_WITHHELD[rule.spoils]}", ""] if rule.spoils else []),
            f"*What to do:* {rule.remedy}",
        ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(render_rules())
