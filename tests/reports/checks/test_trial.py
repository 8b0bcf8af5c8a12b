"""Each rule of a trial on data that trips it and on data that does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from energy.records import Conditions, WindowEnergy
from loadgen.metrics.measuring.measure import measure_records
from loadgen.records.schema import ClientHealth, RequestRecord, Trial, WarmUp
from loadgen.workloads.base import Workload
from loadgen.workloads.open_loop import ConstantLoad
from loadgen.workloads.sessions import SessionsLoad
from reports.analysis.windows import window_words
from reports.checks.findings import find_in_trial
from reports.checks.page import render_page
from reports.checks.rules import RULES
from tests.loadgen.made import flags_of, record, trial, workload
from tests.reports.example_run import EPOCH_NS, HIDDEN, SINGLE, Example, measure, request, window_energy

DESIGN = (
    "output-length-differs · width-unaligned · client-saturated · schedule-lag · window-too-short · counter-disagrees · "
    "modelled-energy · throttled · thermal-drift · idle-drift · too-few-repeats · failed-requests · prefix-cache-hits · "
    "tokens-disagree · multi-token-chunks · baseline-missing · engine-differs · warm-up-unsteady · energy-missing · "
    "source-fallback · meter-gaps · power-unchanged · host-shared · hosts-differ · few-generations · saturated · resolved-options-differ · model-changed · "
    "tokenizers-differ · draft-changes-answers · "
    "concurrency-missed · preempted-requests · gpu-shared · clocks-differ · idle-temperature-differs · load-interrupted"
)
OPEN = ConstantLoad(name="steady", rate=10, requests=20, output_tokens=8)
NATURAL = SINGLE.model_copy(update={"natural_stop": True})


def requests(count: int = 40, workload: Workload = SINGLE, late_ms: float = 0.0) -> list[RequestRecord]:
    """One request per second, sent `late_ms` late; 40 of them make a long enough energy window."""
    times = [EPOCH_NS + i * 10**9 for i in range(count)]
    return [
        request(i, i, at + round(late_ms * 1e6), 20.0, 10.0, workload, scheduled_ns=at) for i, at in enumerate(times)
    ]


def trial_of(records: list[RequestRecord], workload: Workload = SINGLE, **changes: Any) -> Trial:
    return measure(Example(), 4 * HIDDEN, workload, records).model_copy(update=changes)


def with_energy(records: list[RequestRecord], **changes: Any) -> Trial:
    trial = trial_of(records)
    return trial.model_copy(update={"energy": trial.energy.model_copy(update=changes)})


def with_part(records: list[RequestRecord], **changes: Any) -> Trial:
    part = trial_of(records).energy.parts[0]
    return with_energy(records, parts=[part.model_copy(update=changes)])


def with_conditions(records: list[RequestRecord], **lists: list[Any]) -> Trial:
    rows = [dict(zip(lists, values, strict=True)) for values in zip(*lists.values(), strict=True)]
    return with_energy(records, conditions=[Conditions(at_ns=i, device="GPU-0", **row) for i, row in enumerate(rows)])


def outcome(check: str, trial: Trial, records: list[RequestRecord]) -> str | None:
    finding = find_in_trial(trial, measure_records(trial, records)).get(check)
    return finding and finding.outcome


def test_the_rules_are_those_of_the_design():
    assert sorted(RULES) == sorted(DESIGN.split(" · "))


def test_every_rule_is_documented_as_it_is():
    page = Path("docs/reference/checks.md").read_text()
    assert page == render_page(), "python -P -m tests.docs"
    assert all(f"## {name}\n" in page for name in RULES)


def test_a_clean_trial_has_no_flags():
    records = requests()
    assert flags_of(trial_of(records), records) == []


def test_a_flag_carries_the_name_of_its_rule_and_what_was_seen():
    records = requests()
    [flag] = flags_of(trial_of(records, server_prefix_hit_tokens=64), records)
    assert (flag.check, flag.outcome) == ("prefix-cache-hits", "warn")
    assert flag.reason == "64 prompt tokens (2.5 %) came from the prefix cache"


def test_one_failed_request_in_many_warns_and_many_fail():
    records = requests(200)
    broken = [replace(records[0], error="reset"), *records[1:]]
    assert outcome("failed-requests", trial_of(records), records) == "pass"
    assert outcome("failed-requests", trial_of(records), broken) == "warn"
    assert outcome("failed-requests", trial_of(records), [replace(r, error="reset") for r in records]) == "fail"
    assert outcome("failed-requests", trial_of(records), []) == "fail"


def test_a_request_of_another_length_fails_a_fixed_length_workload():
    records = requests()
    short = [*records[:-1], replace(records[-1], output_tokens=19)]
    assert outcome("output-length-differs", trial_of(records), records) == "pass"
    assert outcome("output-length-differs", trial_of(records), short) == "fail"
    [finding] = [f for f in flags_of(trial_of(records), short) if f.check == "output-length-differs"]
    assert finding.reason == "1 of 40 requests did not write 32 tokens (19 to 19)"


def test_an_uncounted_length_fails():
    records = requests()
    uncounted = [*records[:-1], replace(records[-1], output_tokens=None)]
    assert outcome("output-length-differs", trial_of(records), uncounted) == "fail"


def test_lengths_may_differ_with_natural_stop():
    records = [replace(r, output_tokens=5 + r.index) for r in requests()]
    assert outcome("output-length-differs", trial_of(records, NATURAL), records) is None


@pytest.mark.parametrize(("steady", "expected"), [(True, "pass"), (False, "warn"), (None, "no data")])
def test_an_unsteady_warm_up_is_flagged(steady, expected):
    records = requests(5)  # too few to say anything of the window
    warmup = WarmUp(requests=9, groups=9, seconds=60.0, steady=steady, change=0.21)
    assert outcome("warm-up-unsteady", trial_of(records, warmup=warmup), records) == expected


def test_a_transient_in_the_window_is_flagged_even_after_a_steady_warm_up():
    records = [request(n, n, EPOCH_NS + n * 10**9, 20.0, 10.0 + 2 * (n < 8), SINGLE) for n in range(40)]
    warmup = WarmUp(requests=9, groups=9, seconds=6.0, steady=True, change=0.01)
    [flag] = flags_of(trial_of(records, warmup=warmup), records)
    assert (flag.check, flag.outcome) == ("warm-up-unsteady", "warn")
    assert flag.reason.endswith(
        "a transient at the start of the window shifted its mean time per token by +3.76 % (40 generations)"
    )


@pytest.mark.parametrize(
    ("busy", "lag_ms", "expected"),
    [
        (0.5, 0.3, "pass"),
        (0.9, 0.3, "warn"),
        (0.99, 0.3, "fail"),
        (0.5, 2.0, "warn"),  # a tenth of the median TTFT of 20 ms
        (0.5, 12.0, "fail"),
        (None, 0.3, "pass"),
        (None, None, "no data"),
    ],
)
def test_a_busy_or_late_client_is_saturated(busy, lag_ms, expected):
    records = requests()
    health = ClientHealth(cpu_fraction=busy, loop_lag_p99_ms=lag_ms, schedule_lag_p99_ms=None)
    assert outcome("client-saturated", trial_of(records, client=health), records) == expected


@pytest.mark.parametrize(
    ("read_ms", "pause_ms", "expected"),
    [(1.9, 0.0, "warn"), (1.9, 1.0, "pass"), (3.0, 1.0, "warn"), (13.0, 1.0, "fail")],
)
def test_an_intended_pause_of_the_client_is_no_lag(read_ms, pause_ms, expected):
    records = requests()
    health = ClientHealth(
        cpu_fraction=0.5,
        loop_lag_p99_ms=0.1,
        schedule_lag_p99_ms=None,
        read_lag_p99_ms=read_ms,
        read_pause_ms=pause_ms,
    )
    assert outcome("client-saturated", trial_of(records, client=health), records) == expected


@pytest.mark.parametrize(("late_ms", "expected"), [(0.2, "pass"), (2.0, "warn"), (30.0, "fail")])
def test_requests_that_leave_late_fail_the_schedule(late_ms, expected):
    records = requests(20, OPEN, late_ms)
    assert outcome("schedule-lag", trial_of(records, OPEN), records) == expected


def test_a_closed_loop_has_no_schedule_to_lag_behind():
    records = requests()
    assert outcome("schedule-lag", trial_of(records), records) is None


def test_the_servers_counter_is_compared_with_the_records():
    records = requests()
    written = 40 * 32
    assert outcome("tokens-disagree", trial_of(records), records) == "pass"
    assert outcome("tokens-disagree", trial_of(records, server_generated_tokens=written + 5), records) == "warn"
    assert outcome("tokens-disagree", trial_of(records, server_generated_tokens=2 * written), records) == "fail"
    assert outcome("tokens-disagree", trial_of(records, server_generated_tokens=None), records) == "pass"


def test_the_stream_is_compared_with_the_usage():
    records = requests()
    cut = [*records[:-1], replace(records[-1], arrival_ns=[EPOCH_NS], arrival_tokens=[1])]
    assert outcome("tokens-disagree", trial_of(records), cut) == "fail"


def test_without_a_stream_there_is_no_second_count():
    records = [replace(r, arrival_ns=[], arrival_tokens=[]) for r in requests()]
    assert outcome("tokens-disagree", trial_of(records, server_generated_tokens=None), records) == "no data"
    assert outcome("multi-token-chunks", trial_of(records), records) == "no data"


def test_a_trial_with_failures_is_not_compared_with_the_servers_counter():
    records = requests()
    broken = [replace(records[0], error="reset"), *records[1:]]
    assert outcome("tokens-disagree", trial_of(records, server_generated_tokens=9_999), broken) == "pass"


def test_chunks_of_two_tokens_warn():
    records = requests()
    doubled = [replace(r, arrival_ns=r.arrival_ns[1::2], arrival_tokens=r.arrival_tokens[1::2]) for r in records]
    assert outcome("multi-token-chunks", trial_of(records), records) == "pass"
    assert outcome("multi-token-chunks", trial_of(records), doubled) == "warn"


def test_chunks_counted_as_tokens_warn():
    records = [replace(r, counted_by="chunks") for r in requests()]
    assert outcome("multi-token-chunks", trial_of(records), records) == "warn"


@pytest.mark.parametrize(("hits", "expected"), [(0, "pass"), (64, "warn"), (2_000, "fail"), (None, "no data")])
def test_prompts_from_the_prefix_cache_are_flagged(hits, expected):
    records = requests()
    assert outcome("prefix-cache-hits", trial_of(records, server_prefix_hit_tokens=hits), records) == expected


@pytest.mark.parametrize(
    ("load", "hits", "expected"),
    [
        (workload("single", requests=40, shared_prefix=32), 40 * 32, "pass"),
        (workload("single", requests=40, shared_prefix=32), 40 * 32 + 1, "warn"),
        (workload("single", requests=40, shared_prefix=32), 40 * 40, "fail"),
        (
            workload("single", requests=40, shared_prefix=32, prompt_as="words"),
            40 * 40,
            "pass",
        ),  # a word's tokens are the server's
        (workload("trace", trace="mooncake.jsonl", requests=None), 40 * 40, "pass"),
        (workload("trace", trace="azure.CSV", requests=None), 40 * 40, "fail"),
        (workload("mix", rate=1, requests=40, parts=[{"name": "a", "shared_prefix": 32}, {"name": "b"}]), 32, "pass"),
        (
            workload("mix", rate=1, requests=40, parts=[{"name": "a", "shared_prefix": 32}, {"name": "b"}]),
            40 * 32,
            "fail",
        ),
    ],
)
def test_a_prefix_cache_may_hold_what_the_prompts_were_to_share_and_no_more(load, hits, expected):
    records = requests(40)
    found = trial_of(records, server_prefix_hit_tokens=hits, workload=load)
    assert outcome("prefix-cache-hits", found, records) == expected


@pytest.mark.parametrize(("kind", "expected"), [("nvml", "pass"), ("modelled", "warn"), ("none", "no data")])
def test_modelled_energy_is_named(kind, expected):
    records = requests()
    energy: WindowEnergy = window_energy(kind, 100.0, EPOCH_NS, EPOCH_NS + 10**10)
    assert outcome("modelled-energy", trial_of(records, energy=energy), records) == expected


def test_an_energy_window_needs_30_seconds_and_200_refreshes():
    long, short = requests(40), requests(10)
    slow = trial_of(long).energy.parts[0].info.model_copy(update={"refresh_s": 0.5})
    assert outcome("window-too-short", trial_of(long), long) == "pass"
    assert outcome("window-too-short", trial_of(short), short) == "warn"
    assert outcome("window-too-short", with_part(long, info=slow), long) == "warn"


def test_a_short_window_with_uncertain_joules_fails():
    short = requests(3)
    assert outcome("window-too-short", with_energy(short, gross_joules_uncertainty=1e6), short) == "fail"


def test_a_window_without_measured_energy_is_not_judged():
    short = requests(3)
    assert outcome("window-too-short", with_energy(short, gross_joules=None), short) == "no data"


@pytest.mark.parametrize(("off", "expected"), [(0.02, "pass"), (-0.43, "fail"), (0.06, "fail"), (None, "no data")])
def test_a_counter_far_from_the_integrated_power_fails(off, expected):
    records = requests()
    assert outcome("counter-disagrees", with_part(records, disagreement=off), records) == expected


@pytest.mark.parametrize(
    ("reasons", "expected"),
    [([], "pass"), (["power-cap"], "warn"), (["hw-thermal"], "fail"), (["power-cap", "power-brake"], "fail")],
)
def test_throttling_is_flagged_by_its_cause(reasons, expected):
    records = requests()
    trial = with_conditions(records, throttle_reasons=[[], [], reasons, []])
    assert outcome("throttled", trial, records) == expected


def test_throttling_that_was_not_recorded_is_no_pass():
    records = requests()
    assert outcome("throttled", with_energy(records, conditions=[]), records) == "no data"


@pytest.mark.parametrize(
    ("celsius", "expected"),
    [([60, 61, 60, 61], "pass"), ([50, 55, 58, 60], "warn"), ([60, 57, 55, 52], "warn"), ([60, 70], "no data")],
)
def test_a_warming_or_cooling_gpu_drifts(celsius, expected):
    records = requests()
    assert outcome("thermal-drift", with_conditions(records, temperature_c=celsius), records) == expected


@pytest.mark.parametrize(("net", "expected"), [(100.0, "pass"), (-1.0, "fail"), (None, "no data")])
def test_negative_net_joules_fail(net, expected):
    records = requests()
    assert outcome("idle-drift", with_energy(records, net_joules=net), records) == expected


def test_a_rule_that_can_fail_says_which_comparisons_it_spoils():
    already_in_no_verdict = {"baseline-missing", "too-few-repeats", "few-generations"}
    of_net_joules_alone = {"idle-drift"}
    for rule in RULES.values():
        can_spoil = "fails" in rule.limits.lower() and rule.name not in already_in_no_verdict | of_net_joules_alone
        assert (rule.spoils is not None) == can_spoil, rule.name
    assert RULES["counter-disagrees"].spoils_quantity("joules_per_output_token")
    assert not RULES["counter-disagrees"].spoils_quantity("median_e2e_ms")
    assert RULES["output-length-differs"].spoils_quantity("median_e2e_ms")
    assert not RULES["output-length-differs"].spoils_quantity("output_tokens_per_s")


def test_a_prefix_cache_is_what_sessions_are_for():
    talk = SessionsLoad(name="talk", concurrency=1, requests=2, turns=2)
    records = [record(0, 0, 10, 20, turn=0), record(1, 30, 40, 50, turn=1)]
    held = trial(0, 60, load=talk).model_copy(update={"server_prefix_hit_tokens": 4})
    single = trial(0, 60, load=SINGLE).model_copy(update={"server_prefix_hit_tokens": 4})
    assert (outcome("prefix-cache-hits", held, records), outcome("prefix-cache-hits", single, records)) == (
        "pass",
        "fail",
    )


def test_the_window_of_sessions_is_told_by_when_they_began():
    talk = SessionsLoad(name="talk", concurrency=1, requests=2, turns=2)
    half = trial(0, 60, load=talk).model_copy(update={"window_rule": "half"})
    assert window_words(half) == "the last half of the time in which sessions began"
    assert (
        "how long one lasts"
        in find_in_trial(half, measure_records(half, [record(0, 0, 10, 20)]))["window-too-short"].reason
    )
