"""One table of cases: every rule on data that trips it, on data that does not, and without the data that it needs."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from energy.records import GpuFacts, IdleWindow, MissingMeter, WindowEnergy
from loadgen.metrics.measuring.measure import measure_records
from loadgen.records.schema import ClientHealth, RequestRecord, Trial, WarmUp
from loadgen.workloads.closed_loop import ConcurrencyLoad
from reports.checks.findings import check_run, find_in_trial
from reports.checks.rules import RULES, SEVERITY, Finding, graded
from reports.runs.reading import MeasuredRun, MeasuredTrial
from reports.runs.records.cells import Placement, TrialCell, VisitIdle
from reports.runs.records.run import RunInfo
from tests.reports.checks.test_trial import OPEN, requests, trial_of, with_conditions, with_energy, with_part
from tests.reports.example_run import (
    BATCH,
    EPOCH_NS,
    SINGLE,
    Example,
    configure,
    measure,
    offer,
    request,
    window_energy,
)

Loaded = tuple[Trial, list[RequestRecord]]
Make = Callable[[], Loaded | MeasuredRun]
Case = tuple[str, Make]

PAIR = (1024, 512)
OWN = "width-512"  # what run cases change; the baseline stays as it is
SHORT = SINGLE.model_copy(update={"requests": 2})
LOOP = ConcurrencyLoad(name="loop", concurrency=2, requests=40, output_tokens=8)
NO_ENERGY = WindowEnergy(start_ns=EPOCH_NS, end_ns=EPOCH_NS + 10**10, reason="none")
GIVEN = {"dtype": "float32", "num_gpu_blocks": "7"}
AS_TEXT = {"workload": SHORT.model_copy(update={"prompt_as": "text"})}
TREATED = {
    "pruned_alone": False,
    "treatment": {"options.slots": "slots = 4"},
    "engine_options": {"dtype": "float32", "slots": "4"},
}
ANSWERED = {"answers": {0: "m: 'a'"}}
DRAFT = {"options.speculative_config": "speculative_config = ngram"}
HOST = Placement(host="node-1", boot_id="1", kind="Example CPU, H100", gpus=["GPU-1"])


def load(records: list[RequestRecord] | None = None, workload=SINGLE, **changes: Any) -> Make:
    """A trial with these records, or 40 clean ones, and these fields."""
    mine = requests(workload=workload) if records is None else records
    return lambda: (trial_of(mine, workload, **changes), mine)


def paced(count: int = 40, later_s: float = 0.0) -> Make:
    """An open loop of one request a second, each answered later than the one before by this."""
    records = [
        replace(r, end_ns=r.end_ns + round(n * later_s * 1e9)) for n, r in enumerate(requests(count, workload=OPEN))
    ]
    return load(records, OPEN, window_rule="steady")


def client(**changes: Any) -> Make:
    quiet = {"cpu_fraction": None, "loop_lag_p99_ms": None, "schedule_lag_p99_ms": None}
    return load(client=ClientHealth(**(quiet | changes)))


def answers(count: int = 40, **changes: Any) -> list[RequestRecord]:
    """Clean requests, the last of them changed."""
    records = requests(count)
    return [*records[:-1], replace(records[-1], **changes)]


def slower_at_first(share: float) -> list[RequestRecord]:
    """Forty requests, the first eight of them slower by that share."""
    return [request(n, n, EPOCH_NS + n * 10**9, 20.0, 10.0 * (1 + share * (n < 8)), SINGLE) for n in range(40)]


def metered(**changes: Any) -> Make:
    return lambda: (with_energy(requests(), **changes), requests())


def part(**changes: Any) -> Make:
    return lambda: (with_part(requests(), **changes), requests())


def info(**changes: Any) -> Make:
    def make() -> Loaded:
        meter = trial_of(requests()).energy.parts[0].info
        return with_part(requests(), info=meter.model_copy(update=changes)), requests()

    return make


def states(**lists: list[Any]) -> Make:
    return lambda: (with_conditions(requests(), **lists), requests())


def without_energy(**changes: Any) -> Make:
    return load(energy=WindowEnergy(start_ns=EPOCH_NS, end_ns=EPOCH_NS + 10**10, reason="none", **changes))


def run(
    *,
    blocks: int = 2,
    configuration: dict[str, Any] | None = None,
    trial: dict[str, Any] | None = None,
    both: dict[str, Any] | None = None,
    both_trials: dict[str, Any] | None = None,
    baseline_blocks: int | None = None,
    places: tuple[Placement | None, Placement | None] = (None, None),
    tokens: int = 32,
    together: int | None = None,
    width: int = 512,
    finer: int = 1,
    idles: Sequence[tuple[float, float | None]] = (),
    both_idles: Sequence[tuple[int, int]] = (),
    about_run: dict[str, Any] | None = None,
) -> Make:
    """A run of two configurations in memory; `configuration` and `trial` change those of the narrower one, whose tokenizer
    makes `finer` times as many tokens of a prompt.

    `idles`: its watts before and after each block's load. `both_idles`: degrees before it, the baseline's and its own.
    """

    def make() -> MeasuredRun:
        example = Example(widths=(PAIR[0], width), workloads=(SHORT,), labels={width: OWN})
        configurations = [configure(example, w).model_copy(update=both or {}) for w in example.widths]
        configurations[1] = configurations[1].model_copy(update=configuration or {})
        trials = []
        for block in range(blocks):
            for number, w in enumerate(example.widths):
                if number == 0 and baseline_blocks is not None and block >= baseline_blocks:
                    continue
                workload = (
                    SHORT if together is None else BATCH.model_copy(update={"batch_size": together, "name": SHORT.name})
                )
                workload = workload.model_copy(update={"natural_stop": tokens != 32})
                offered = workload.model_copy(update={"output_tokens": tokens if number else 32})
                records = offer(offered, example.truth(w, workload), 1.0, EPOCH_NS, np.random.default_rng(1), 0.0)
                if number and finer > 1:
                    records = [replace(r, prompt_tokens=finer * (r.prompt_tokens or 0)) for r in records]
                own = measure(example, w, workload, records).model_copy(
                    update=(both_trials or {}) | ((trial or {}) if number else {})
                )
                cell = TrialCell(
                    block=block, label=example.label(w), workload=SHORT.name, order=0, placement=places[number]
                )
                trials.append(MeasuredTrial(cell, own, measure_records(own, records), None))
        about = RunInfo(
            name="run",
            created_at="2026-11-23T09:30:00+00:00",
            prunebench_version="0.1.0",
            baseline=example.label(PAIR[0]),
            labels=[example.label(w) for w in example.widths],
            workloads=[SHORT.name],
            blocks=blocks,
            seed=7,
            status="complete",
        ).model_copy(update=about_run or {})
        around = [
            VisitIdle(block=block, label=OWN, workloads=[SHORT.name], before=steady(before), after=steady(after))
            for block, (before, after) in enumerate(idles)
        ]
        for block, degrees in enumerate(both_idles):
            for label, celsius in zip(about.labels, degrees, strict=True):
                before = IdleWindow(whole=gpu_at(temperature_c=celsius), first_half_joules=60.0)
                around.append(VisitIdle(block=block, label=label, workloads=[SHORT.name], before=before))
        return MeasuredRun(about, configurations, trials, [], {}, "", {}, idles=around)

    return make


def closed_loop(concurrency: int, pause_ms: float) -> Make:
    """Four places, each with request upon request of 100 ms, of which the pause is without one; ten each."""
    workload = ConcurrencyLoad(name="loop", concurrency=concurrency, requests=40, output_tokens=2)

    def make() -> Loaded:
        records = []
        for number in range(40):
            sent = EPOCH_NS + number // 4 * 100_000_000
            record = request(number, 0, sent, 20.0, 10.0, workload)
            records.append(replace(record, end_ns=sent + round((100 - pause_ms) * 1e6)))
        trial = trial_of(records, workload)
        return trial.model_copy(update={"window_end_ns": EPOCH_NS + 10**9}), records

    return make


def gpu_at(**changes: Any) -> WindowEnergy:
    """The example's energy, its GPU in another state."""
    found = window_energy("nvml", 60.0, 0, 2 * 10**9)
    return found.model_copy(update={"conditions": [c.model_copy(update=changes) for c in found.conditions]})


def of_before(limit: float) -> WindowEnergy:
    """As recorded when the limit was noted once, when the meter was found."""
    found = gpu_at(power_limit_watts=None)
    gpu = GpuFacts(index=0, uuid="GPU-0", name="Example GPU", power_limit_watts=limit)
    meter = found.parts[0].info.model_copy(update={"gpu": gpu})
    return found.model_copy(update={"parts": [found.parts[0].model_copy(update={"info": meter})]})


def steady(watts: float | None) -> IdleWindow | None:
    return watts and IdleWindow(whole=idle(2 * watts, mean_watts=watts), first_half_joules=watts)


def idle(joules: float | None, **changes: Any) -> WindowEnergy:
    """Two seconds of idle; the example's other configuration has 60 W and 55 °C."""
    measured = window_energy("nvml", 60.0, 0, 2 * 10**9)
    return measured.model_copy(update={"gross_joules": joules, **changes})


# rule: [(outcome, on what)]
CASES: dict[str, list[Case]] = {
    "baseline-missing": [
        ("pass", run()),
        ("warn", run(baseline_blocks=1)),
        ("fail", run(baseline_blocks=0)),
    ],
    "failed-requests": [
        ("pass", load()),
        ("warn", load(answers(200, error="reset"))),
        ("warn", load(answers(100, error="reset"))),  # 1 % is not above 1 %
        ("fail", load(answers(99, error="reset"))),
    ],
    "output-length-differs": [
        ("pass", load()),
        ("fail", load(answers(output_tokens=31))),
        ("fail", load(answers(output_tokens=None))),
        ("no data", load([replace(r, output_tokens=None) for r in requests()])),
        ("pass", run(tokens=33)),
        ("warn", run(tokens=34)),
        ("warn", run(tokens=30)),
    ],
    "engine-differs": [
        ("pass", run()),
        ("fail", run(configuration={"engine": "vllm"})),
        ("fail", run(configuration={"engine_version": "5.19.1"})),
        ("fail", run(configuration={"dtype": "bfloat16"})),
        ("fail", run(configuration={"engine_options": {"dtype": "float32", "slots": "4"}})),
        ("fail", run(configuration={"engine_version": None, "engine_options": {"dtype": "float32", "slots": "4"}})),
        ("pass", run(configuration=TREATED)),
        ("fail", run(configuration=TREATED | {"dtype": "bfloat16"})),
        ("pass", run(configuration=TREATED | {"treatment": {"engine": "engine vllm"}, "engine": "vllm", "engine_version": "1"})),
        ("no data", run(configuration={"engine": "auto", "engine_version": None, "dtype": None})),  # not yet visited
        ("no data", run(both={"engine_version": None, "dtype": None})),  # servers that report nothing of it
    ],
    "resolved-options-differ": [
        ("pass", run()),
        ("pass", run(both={"resolved_options": GIVEN}, configuration={"resolved_options": GIVEN | {"num_gpu_blocks": "9"}})),
        ("fail", run(both={"resolved_options": GIVEN}, configuration={"resolved_options": GIVEN | {"max_num_seqs": "8"}})),
        ("fail", run(both={"resolved_options": GIVEN}, configuration={"resolved_options": {"num_gpu_blocks": "7"}})),
        ("pass", run(both={"resolved_options": GIVEN}, configuration={"treatment": {"checkpoint": "8 bits"}, "resolved_options": GIVEN | {"quantization": "w8a8"}})),
        ("fail", run(both={"resolved_options": GIVEN}, configuration={"resolved_options": GIVEN | {"quantization": "w8a8"}})),
        ("pass", run(both={"resolved_options": GIVEN}, configuration=TREATED | {"resolved_options": GIVEN | {"slots": "4"}})),
        ("no data", run(both={"resolved_options": GIVEN}, configuration={"treatment": {"server": "there"}, "engine": "vllm"})),
        ("no data", run(configuration={"resolved_options": None})),
        ("no data", run(both={"resolved_options": None})),
    ],
    "tokenizers-differ": [
        ("no data", run()),
        ("pass", run(both={"tokenizer_sha256": "a"})),
        ("warn", run(both={"tokenizer_sha256": "a"}, configuration={"tokenizer_sha256": "b"})),  # its prompts are ids
        ("warn", run(both={"tokenizer_sha256": "a"}, configuration={"tokenizer_sha256": "b"}, both_trials=AS_TEXT)),
        ("pass", run(both_trials=AS_TEXT)),
        ("fail", run(both_trials=AS_TEXT, finer=2)),
    ],
    "draft-changes-answers": [
        ("no data", run(both=ANSWERED, configuration={"treatment": DRAFT | {"width": "narrower"}})),
        ("pass", run(both=ANSWERED, configuration={"treatment": DRAFT})),
        ("fail", run(both=ANSWERED, configuration={"treatment": DRAFT, "answers": {0: "n: 'b'"}})),
    ],
    "model-changed": [
        ("no data", run()),
        ("no data", run(configuration={"answers": {0: "m: 'a'"}})),
        ("pass", run(configuration={"answers": {0: "m: 'a'", 1: "m: 'a'"}})),
        ("fail", run(configuration={"answers": {0: "m: 'a'", 1: "m: 'b'"}})),
        ("fail", run(configuration={"answers": {0: "m: 'a'", 1: "n: 'a'"}})),
    ],
    "host-shared": [
        ("pass", run(places=(HOST, HOST))),
        ("warn", run(places=(HOST, HOST.model_copy(update={"beside": ["block 2"]})))),
    ],
    "hosts-differ": [
        ("pass", run(places=(HOST, HOST))),
        ("warn", run(places=(HOST, HOST.model_copy(update={"gpus": ["GPU-2"]})))),
        ("fail", run(places=(HOST, HOST.model_copy(update={"boot_id": "2", "kind": "Example CPU, L4"})))),
        ("no data", run(places=(None, HOST))),
    ],
    "too-few-repeats": [
        ("pass", run(blocks=5)),
        ("warn", run(blocks=4)),
        ("warn", run(blocks=2)),
        ("fail", run(blocks=1)),
    ],
    "width-unaligned": [
        ("pass", run(width=512)),
        ("warn", run(width=520)),
        ("warn", run(width=511)),
    ],
    "warm-up-unsteady": [
        ("pass", load(warmup=WarmUp(requests=9, groups=9, seconds=60.0, steady=True, change=0.01))),
        ("warn", load(warmup=WarmUp(requests=9, groups=9, seconds=60.0, steady=False, change=0.21))),
        ("warn", load(warmup=WarmUp(requests=2, groups=2, seconds=60.0, steady=False, change=None))),
        ("pass", load(warmup=WarmUp(requests=9, groups=9, seconds=60.0, steady=None, change=0.21))),
        ("warn", load(slower_at_first(0.10), warmup=WarmUp(requests=9, groups=9, seconds=1.0, steady=True, change=0.01))),
        ("warn", load(slower_at_first(0.10))),
        ("pass", load(slower_at_first(0.01))),  # moves the mean by 0.2 %
        ("no data", load(requests(5), warmup=WarmUp(requests=9, groups=9, seconds=60.0, steady=None, change=0.21))),
        ("no data", load(workload=OPEN, warmup=None)),
    ],
    "few-generations": [
        ("pass", load(workload=LOOP, generations=4)),
        ("warn", load(workload=LOOP, generations=3)),
        ("warn", load(workload=LOOP, generations=1)),
        ("fail", load(workload=LOOP, generations=0)),
        ("no data", load(workload=LOOP, window_rules=1)),
    ],
    "client-saturated": [
        ("pass", client(cpu_fraction=0.8, loop_lag_p99_ms=1.0, read_lag_p99_ms=1.0)),
        ("warn", client(cpu_fraction=0.81)),
        ("fail", client(cpu_fraction=0.96)),
        ("warn", client(cpu_fraction=0.1, loop_lag_p99_ms=1.1)),
        ("fail", client(cpu_fraction=0.1, loop_lag_p99_ms=10.1)),  # half of the TTFT of 20 ms
        ("fail", client(read_lag_p99_ms=10.1)),  # with nothing else recorded
        ("no data", client()),
        ("no data", load([replace(r, first_token_ns=None, error="reset") for r in requests()])),
    ],
    "schedule-lag": [
        ("pass", load(requests(20, OPEN, 0.9), OPEN)),
        ("warn", load(requests(20, OPEN, 1.1), OPEN)),
        ("fail", load(requests(20, OPEN, 10.1), OPEN)),
        ("no data", load([replace(r, first_token_ns=None, error="reset") for r in requests(20, OPEN)], OPEN)),
    ],
    "concurrency-missed": [
        ("pass", closed_loop(4, pause_ms=0.0)),
        ("pass", closed_loop(4, pause_ms=1.9)),  # of every 100 ms that a place in the loop takes
        ("warn", closed_loop(4, pause_ms=2.1)),
        ("warn", closed_loop(4, pause_ms=9.9)),
        ("fail", closed_loop(4, pause_ms=10.1)),
        ("fail", closed_loop(5, pause_ms=0.0)),  # of which the server never sees the fifth
        ("no data", lambda: (closed_loop(4, pause_ms=0.0)()[0], [])),
        ("pass", run(together=16)),
        ("warn", run(together=17)),
        ("pass", run(together=32, configuration={"resolved_options": GIVEN | {"max_num_seqs": "16", "data_parallel_size": "2"}})),
    ],
    "preempted-requests": [
        ("pass", load(server_preemptions=0)),
        ("warn", load(requests(100), server_preemptions=1)),
        ("fail", load(requests(99), server_preemptions=1)),
        ("no data", load(server_preemptions=None)),
    ],
    "load-interrupted": [
        ("pass", load()),
        ("warn", load(interrupted=True)),
    ],
    "tokens-disagree": [
        ("pass", load()),
        ("warn", load(answers(200, arrival_ns=[EPOCH_NS], arrival_tokens=[1]))),
        ("fail", load(answers(40, arrival_ns=[EPOCH_NS], arrival_tokens=[1]))),
        ("warn", load(server_generated_tokens=40 * 32 + 1)),
        ("fail", load(server_generated_tokens=41 * 32)),
        ("fail", load(server_generated_tokens=0)),
        ("fail", load(answers(200, arrival_ns=[EPOCH_NS], arrival_tokens=[1]), server_generated_tokens=100 * 32)),
        ("pass", load([replace(r, arrival_ns=[], arrival_tokens=[]) for r in requests()])),  # by the server's counter
        ("no data", load([replace(r, arrival_ns=[], arrival_tokens=[]) for r in requests()], server_generated_tokens=None)),
        ("no data", load([replace(r, counted_by="chunks") for r in requests()], server_generated_tokens=None)),
        ("no data", load([replace(r, counted_by="server-usage") for r in requests()], server_generated_tokens=None)),
    ],
    "multi-token-chunks": [
        ("pass", load()),
        ("warn", load([replace(r, arrival_ns=r.arrival_ns[1::2], arrival_tokens=r.arrival_tokens[1::2]) for r in requests()])),
        ("warn", load([replace(r, counted_by="chunks") for r in requests()])),
        ("warn", load([replace(r, counted_by="server-usage", output_tokens=(r.output_tokens or 0) + 1) for r in requests()])),
        ("no data", load([replace(r, arrival_ns=[], arrival_tokens=[]) for r in requests()])),
    ],
    "prefix-cache-hits": [
        ("pass", load(server_prefix_hit_tokens=0)),
        ("warn", load(server_prefix_hit_tokens=128)),  # 5 %
        ("fail", load(server_prefix_hit_tokens=129)),
        ("warn", load([replace(r, prompt_tokens=None) for r in requests()], server_prefix_hit_tokens=1)),
        ("no data", load(server_prefix_hit_tokens=None)),
    ],
    "modelled-energy": [
        ("pass", load()),
        ("warn", without_energy(modelled_joules=3.0, modelled_basis="CPU seconds")),
        ("no data", without_energy()),
    ],
    "energy-missing": [
        ("pass", load()),
        ("warn", without_energy(missing=[MissingMeter(source="rapl", reason="no meter")])),
        ("fail", without_energy(missing=[MissingMeter(source="nvml-counter", reason="MIG is on", device="GPU-1")])),
        ("fail", run(configuration={"engine_options": {"dtype": "float32", "tensor_parallel_size": "2"}})),
        ("no data", without_energy()),
    ],
    "source-fallback": [
        ("pass", load()),
        ("warn", info(source="nvml-instant", kind="power", gpu=GpuFacts(index=0, uuid="GPU-0", name="Old", unanswered=("none",)))),
        ("no data", info(source="rapl", domain="cpu-package")),
    ],
    "meter-gaps": [
        ("pass", part(longest_gap_s=1.0)),
        ("warn", part(longest_gap_s=1.1)),
        ("no data", part(longest_gap_s=None)),
    ],
    "power-unchanged": [
        ("pass", part(stood_still_s=9.9)),
        ("warn", part(stood_still_s=10.1)),
        ("fail", part(stood_still_s=1000.0)),
        ("no data", part(stood_still_s=None)),
    ],
    "window-too-short": [
        ("pass", load()),
        ("warn", load(requests(10))),
        ("warn", info(refresh_s=0.5)),
        ("fail", lambda: (with_energy(requests(3), gross_joules_uncertainty=1e6), requests(3))),
        ("pass", load(workload=OPEN, window_rule="steady")),
        ("warn", load(workload=OPEN, window_rule="half")),
        ("fail", load(workload=OPEN, window_rule="whole")),
        ("pass", load(workload=OPEN, window_rule="whole", window_rules=1)),
        ("warn", load(requests(10, OPEN), OPEN, window_rule="half", energy=NO_ENERGY)),
        ("no data", metered(gross_joules=None)),
    ],
    "saturated": [
        ("pass", paced()),
        ("warn", paced(later_s=0.5)),
        ("no data", paced(19)),
    ],
    "counter-disagrees": [
        ("pass", part(disagreement=0.05)),
        ("fail", part(disagreement=0.051)),
        ("fail", part(disagreement=-0.051)),
        ("no data", part(disagreement=None)),
        ("no data", part(disagreement=float("nan"))),
    ],
    "throttled": [
        ("pass", states(throttle_reasons=[[], []])),
        ("warn", states(throttle_reasons=[[], ["power-cap"]])),
        ("fail", states(throttle_reasons=[["power-cap"], ["hw-thermal"]])),
        ("pass", states(throttle_reasons=[None, []])),
        ("no data", states(throttle_reasons=[None, None])),
        ("no data", metered(conditions=[])),
    ],
    "thermal-drift": [
        ("pass", states(temperature_c=[60, 61, 62, 63])),
        ("warn", states(temperature_c=[60, 61, 62, 64])),
        ("warn", states(temperature_c=[64, 62, 61, 60])),
        ("no data", states(temperature_c=[60, 64])),
        ("no data", states(temperature_c=[None] * 8)),
    ],
    "gpu-shared": [
        ("pass", states(other_processes=[[], []])),
        ("pass", states(other_processes=[None, []])),
        ("fail", states(other_processes=[[], [4711]])),
        ("no data", states(other_processes=[None, None])),
        ("no data", metered(conditions=[])),
    ],
    "clocks-differ": [
        ("pass", run(trial={"energy": gpu_at(sm_clock_mhz=1438)})),  # the baseline has 1,410 MHz and 700 W
        ("warn", run(trial={"energy": gpu_at(sm_clock_mhz=1439)})),
        ("warn", run(trial={"energy": gpu_at(sm_clock_mhz=1381)})),
        ("warn", run(both_trials={"energy": gpu_at(memory_clock_mhz=2619)}, trial={"energy": gpu_at(memory_clock_mhz=2500)})),
        ("fail", run(trial={"energy": gpu_at(power_limit_watts=500)})),
        ("fail", run(trial={"energy": gpu_at(power_limit_watts=500, sm_clock_mhz=None)})),
        ("fail", run(both_trials={"energy": of_before(700)}, trial={"energy": of_before(500)})),
        ("pass", run(both_trials={"energy": of_before(700)})),
        ("no data", run(trial={"energy": gpu_at(power_limit_watts=None)})),
        ("no data", run(trial={"energy": gpu_at(sm_clock_mhz=None)})),
        ("no data", run(trial={"energy": NO_ENERGY})),
    ],
    "idle-temperature-differs": [
        ("pass", run(configuration={"idle": gpu_at(temperature_c=58)})),
        ("warn", run(configuration={"idle": gpu_at(temperature_c=59)})),
        ("warn", run(configuration={"idle": gpu_at(temperature_c=51)})),
        ("no data", run(configuration={"idle": gpu_at(temperature_c=None)})),
        ("no data", run(configuration={"idle": gpu_at(device="GPU-1")})),
        ("pass", run(both_idles=[(55, 58), (60, 57)])),
        ("warn", run(both_idles=[(55, 58), (60, 56)])),
        ("no data", run(configuration={"idle": None})),
    ],
    "idle-drift": [
        ("pass", run()),
        ("warn", run(configuration={"idle": idle(135.0)})),
        ("warn", run(configuration={"idle_again": idle(135.0)})),
        ("pass", run(idles=[(60.0, 65.0), (61.0, 60.0)])),
        ("warn", run(idles=[(60.0, 61.0), (60.0, 67.0)])),
        ("warn", run(idles=[(67.0, 67.0), (67.0, None)])),  # and the baseline 60 W
        ("fail", metered(net_joules=-1.0)),
        ("no data", metered(net_joules=None)),
    ],
}  # fmt: skip

# What these are about is always known, or they are not asked.
ALWAYS_DECIDED = {
    "baseline-missing",
    "failed-requests",
    "host-shared",
    "load-interrupted",
    "too-few-repeats",
    "width-unaligned",
}


def worst(check: str, made: Loaded | MeasuredRun) -> str | None:
    found: list[Finding]
    if isinstance(made, MeasuredRun):
        found = [f.finding for f in check_run(made)[check] if f.label in {OWN, None}]
    else:
        trial, records = made
        all_found = find_in_trial(trial, measure_records(trial, records))
        found = [all_found[check]] if check in all_found else []
    return max((f.outcome for f in found), key=SEVERITY.__getitem__, default=None)


@pytest.mark.parametrize(
    ("check", "expected", "make"),
    [
        pytest.param(check, *case, id=f"{check}-{number}-{case[0]}")
        for check, cases in CASES.items()
        for number, case in enumerate(cases)
    ],
)
def test_a_check_has_the_outcome_of_its_case(check, expected, make):
    assert worst(check, make()) == expected


def test_a_closed_loop_that_was_not_full_says_how_full_it_was():
    trial, records = closed_loop(4, pause_ms=2.1)()
    found = find_in_trial(trial, measure_records(trial, records))["concurrency-missed"]
    assert found.reason == "3.92 of 4 requests were in flight on average"


def test_a_loop_of_a_thousand_says_so_in_digits_that_show_why_it_warns():
    trial, records = closed_loop(1_024, pause_ms=2.1)()
    measured = measure_records(trial, records)
    metrics = replace(measured, in_flight_ms=measured.in_flight_ms * (1_002.7 / measured.mean_in_flight))
    found = find_in_trial(trial, metrics)["concurrency-missed"]
    assert (found.outcome, found.reason) == ("warn", "1,003 of 1,024 requests were in flight on average")


@pytest.mark.parametrize("check", RULES)
def test_every_check_has_a_case_for_each_outcome_that_its_limits_name(check):
    outcomes = {outcome for outcome, _ in CASES.get(check, [])}
    named = {word for word in ("warn", "fail") if re.search(rf"\b{word}s\b", RULES[check].limits, re.IGNORECASE)}
    assert named
    assert outcomes == {"pass", *named} | (set() if check in ALWAYS_DECIDED else {"no data"})


def test_every_case_is_of_a_registered_check():
    assert CASES.keys() <= RULES.keys()


def test_nan_is_no_data():
    assert graded(float("nan"), 0.1, 0.2) == "no data"
