"""Parts of a mix, turns of sessions and reasoning: each has its own figures, and together they are the whole load's."""

from __future__ import annotations

import json

import pytest

from tests.loadgen.made import MS, failed, record, summary_of, trial, workload

PARTS = [{"name": "chat", "slo_ttft_ms": 15}, {"name": "bulk", "slo_e2e_ms": 100}, {"name": "other"}]
METERED = {"gross_joules": 185.0, "net_joules": 85.0, "idle_watts": 100.0}


def mix(requests=40, parts=PARTS):
    return workload("mix", rate=10.0, requests=requests, parts=parts)


def one_after_another(load, requests=40, **other):
    """Every 20 ms a request, whose first token comes after 10 ms, and of every fourth one after 18, and its gaps are of its part."""
    numbers = [load.part_number(0, index) for index in range(requests)]
    assert set(numbers) == set(range(len(load.part_names)))
    return numbers, [
        record(n, 20 * n, first := 20 * n + (18 if n % 4 == 0 else 10), first + 2 * (number + 1), **other)
        for n, number in enumerate(numbers)
    ]


def test_throughputs_of_the_parts_add_up_to_those_of_the_load():
    load = mix()
    numbers, records = one_after_another(load)
    broken = failed(40, 800, 805)
    summary = summary_of(trial(0, 700, load=load), [*records, broken])
    parts = summary["parts"]
    for key in ("request_throughput", "output_throughput"):
        assert sum(part[key] for part in parts) == pytest.approx(summary[key])
        assert all(part[key] > 0 for part in parts)
    within = [record.end_ns <= 700 * MS for record in records]
    assert [part["request_throughput"] * 0.7 for part in parts] == pytest.approx(
        [sum(there for there, own in zip(within, numbers, strict=True) if own == n) for n in range(3)]
    )


def test_gaps_before_tokens_are_those_of_the_part():
    load = mix()
    _, records = one_after_another(load)
    for part, gap in zip(summary_of(trial(0, 1000, load=load), records)["parts"], (1, 2, 3), strict=True):
        assert [part[f"{name}_itl_ms"] for name in ("mean", "median", "std", "p99")] == pytest.approx(
            [gap, gap, 0, gap]
        )


def test_where_times_per_token_are_unknown_a_part_has_no_gaps():
    load = mix()
    _, records = one_after_another(load, counted_by="server-usage", arrival_tokens=[1, 2, 5], output_tokens=5)
    assert {part["p99_itl_ms"] for part in summary_of(trial(0, 1000, load=load), records)["parts"]} == {None}


def test_good_requests_of_a_part_are_those_that_met_its_own_objectives():
    load = mix()
    numbers, records = one_after_another(load)
    chat, bulk, other = summary_of(trial(0, 1000, load=load), records)["parts"]
    in_time = [n % 4 != 0 for n, number in enumerate(numbers) if number == 0]
    assert (chat["request_goodput"], chat["good_share"]) == pytest.approx((sum(in_time), sum(in_time) / len(in_time)))
    assert (bulk["request_goodput"], bulk["good_share"]) == (numbers.count(1), 1.0)
    assert (other["request_goodput"], other["good_share"]) == (None, None)
    assert other["request_goodput_reason"] == "it has no objectives"


def test_joules_of_the_parts_and_what_was_metered_with_nothing_in_flight_add_up_to_the_meter():
    load = mix()
    numbers, records = one_after_another(load)
    summary = summary_of(trial(0, 1000, load=load, **METERED), [*records, failed(40, 990, 995)])
    parts = summary["parts"]
    assert sum(part["joules"] for part in parts) + summary["unattributed_joules"] == pytest.approx(185.0)
    good = sum(n % 4 != 0 for n, number in enumerate(numbers) if number == 0)
    assert parts[0]["joules_per_good_request"] == pytest.approx(parts[0]["joules"] / good)
    assert summary["joules_shared_by"] == "time in flight"


@pytest.mark.parametrize(
    ("energy", "objective", "reason"),
    [
        ({"reason": "there is no meter"}, 15, "there is no meter"),
        (METERED, 1, "no request of the window met every objective"),
        (METERED, None, "it has no objectives"),
    ],
)
def test_without_joules_or_good_requests_there_are_none_of_a_good_request_with_the_reason(energy, objective, reason):
    load = mix(parts=[{"name": "chat", "slo_ttft_ms": objective}, {"name": "bulk", "slo_e2e_ms": 100}])
    _, records = one_after_another(load)
    summary = summary_of(trial(0, 1000, load=load, **energy), records)
    part = summary["parts"][0]
    assert (part["joules_per_good_request"], part["joules_per_good_request_reason"]) == (None, reason)
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary


def test_a_part_of_which_nothing_was_in_flight_in_the_window_has_no_joules_and_says_so():
    load = mix(parts=PARTS[:2])
    first = next(n for n in range(40) if load.part_number(0, n) == 1)
    assert first > 0
    _, records = one_after_another(load)
    part = summary_of(trial(0, 20 * first, load=load, **METERED), records)["parts"][1]
    assert (part["joules"], part["joules_reason"]) == (None, "no request of it was in flight in the window")
    assert part["request_throughput"] == 0


def test_turns_have_what_parts_have_by_the_objectives_of_the_load():
    load = workload("sessions", concurrency=2, turns=2, slo_ttft_ms=15)
    records = [record(n, 20 * n, 20 * n + (10, 18)[n % 2], 20 * n + 19 + n % 2, turn=n % 2) for n in range(10)]
    first, second = summary_of(trial(0, 200, load=load, **METERED), records)["turns"]
    assert (first["good_share"], second["good_share"]) == (1.0, 0.0)
    assert (first["mean_e2el_ms"], second["mean_e2el_ms"]) == pytest.approx((19, 20))
    assert (first["p99_itl_ms"], second["p99_itl_ms"]) == pytest.approx((4.5, 1.0))


def test_reasoning_and_answer_have_their_first_tokens_and_tokens_of_requests_that_reasoned():
    thought = record(0, 0, 10, 40, tokens=4, reasoning_tokens=3, first_answer_ns=40 * MS)
    plain = record(1, 50, 90, 95, tokens=4)
    summary = summary_of(trial(0, 100), [thought, plain])
    assert (summary["mean_first_reasoning_ms"], summary["mean_first_answer_ms"]) == (10, 40)
    assert (summary["total_reasoning_tokens"], summary["total_answer_tokens"]) == (3, 5)
