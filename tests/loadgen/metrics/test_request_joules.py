"""Shares of the requests: they add up to the meter, and are what the definitions say."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from energy.records import WindowEnergy
from loadgen.metrics.equal_shares import TokenCosts, equal_shares
from loadgen.metrics.measuring.batch import overlap_ms
from loadgen.metrics.measuring.measure import measure_records
from loadgen.metrics.request_joules import share_joules
from tests.loadgen.made import failed, record, summary_of, trial, workload

EMPTY = measure_records(trial(0, 1000), [])


def shared(records, start=0, end=1000, costs=None, **energy):
    of = trial(start, end, **energy)
    return share_joules(of.energy, replace(measure_records(of, records), costs=costs))


def generated(rng):
    """A load of up to some hundred requests over a window: any overlap, equal times, failures, requests outside of it."""
    n, window_s = int(rng.integers(0, rng.choice([3, 30, 300]))), 10.0 ** rng.uniform(-1, 4)
    sent = rng.uniform(-0.5, 1.2, n) * window_s
    if rng.random() < 0.3:
        sent = np.round(sent / window_s, 1) * window_s  # in lockstep
    lengths = rng.choice([0.0, 1e-3, 0.1, 2.0]) * rng.exponential(1, n) * window_s
    sent, end = sent * 1e3, (sent + lengths) * 1e3
    sent[rng.random(n) < 0.05] = np.nan
    in_flight = overlap_ms(sent, end, window_s * 1e3)
    return replace(
        EMPTY,
        window_s=window_s,
        completed=rng.random(n) < 0.9,
        sent_ms=sent,
        end_ms=end,
        in_flight_ms=in_flight,
        answering_ms=in_flight * rng.random(n),
        prefill_share=np.where(in_flight > 0, rng.random(n), 0.0),
        arrived_tokens=np.where(in_flight > 0, rng.integers(0, 500, n), 0).astype(float),
        prompt_tokens=np.where(rng.random(n) < 0.1, np.nan, rng.integers(1, 4000, n)),
        costs=TokenCosts((0.01, 0.5, 2.0), np.eye(3) * 1e-4, 0.01, 2.1) if rng.random() < 0.5 else None,
    )


def test_over_a_thousand_loads_the_shares_add_up_to_the_meter():
    rng = np.random.default_rng(27)
    seen = set()
    for _ in range(1000):
        metrics = generated(rng)
        gross, idle = rng.uniform(1, 1e6), rng.uniform(0, 500)
        known = rng.random() < 0.7
        energy = WindowEnergy(
            start_ns=0,
            end_ns=1,
            gross_joules=gross,
            gross_joules_uncertainty=0.01 * gross,
            net_joules=gross - idle * metrics.window_s if known else None,
            net_joules_uncertainty=0.02 * gross if known else None,
            idle_watts=idle if known else None,
        )
        found = share_joules(energy, metrics)
        total = float(np.nansum(found.joules)) + found.unattributed_joules
        scale = gross + idle * metrics.window_s * known  # idle power measured too high makes active joules negative
        assert total == pytest.approx(gross, abs=1e-11 * scale)
        if known and found.shared_by:
            assert float(np.nansum(found.active_joules)) == pytest.approx(energy.net_joules, abs=1e-11 * scale)
        seen.add((found.shared_by, known))
    assert seen == {(by, known) for by in ("tokens", "time in flight", None) for known in (True, False)}


def test_a_moments_idle_power_is_shared_equally_by_what_is_in_flight_then():
    rng = np.random.default_rng(3)
    start, end = rng.uniform(-2, 12, (2, 40))
    end = np.maximum(start, end)
    found, empty = equal_shares(start, end, 10.0)
    cuts = np.unique(np.clip(np.concatenate([start, end, [0, 10]]), 0, 10))
    expected, nothing = np.zeros(40), 0.0
    for a, b in itertools.pairwise(cuts):
        there = (start <= a) & (end >= b)
        expected[there] += (b - a) / there.sum()
        nothing += 0.0 if there.any() else b - a
    assert found == pytest.approx(expected)
    assert empty == pytest.approx(nothing)


def test_by_time_a_request_has_its_idle_share_and_a_constant_power_for_its_seconds_in_the_window():
    records = [record(0, 0, 10, 400), record(1, 200, 210, 600), record(2, 900, 910, 1100)]
    # 100 W of idle power and 10 W a request, over one second: 400 + 400 + 100 ms in flight within it.
    found = shared(records, gross_joules=109.0, net_joules=9.0, idle_watts=100.0)
    assert found.active_joules == pytest.approx([4, 4, 1])
    assert found.joules == pytest.approx([4 + 30, 4 + 30, 1 + 10])
    assert found.unattributed_joules == pytest.approx(30)
    assert found.whole.tolist() == [True, True, False]
    assert found.shared_by == "time in flight"


def test_by_tokens_a_request_has_what_its_tokens_cost_within_the_window():
    costs = TokenCosts((0.1, 1.0, 0.5), np.zeros((3, 3)), 0.01, 2.0)
    # 5 prompt tokens each. The second one's prefill begins before the window, and half of its tokens come after it.
    records = [record(0, 10, 20, 90, tokens=4), record(1, -10, 10, 190, tokens=4)]
    found = shared(records, end=100, costs=costs, gross_joules=20.0, net_joules=10.0, idle_watts=100.0)
    weights = np.array([5 * 0.1 + 4 + 0.5, (5 * 0.1 + 0.5) / 2 + 2])
    assert found.active_joules == pytest.approx(10 * weights / weights.sum())
    assert found.active_joules_uncertainty == pytest.approx(2 * 0.01 * found.active_joules)
    assert found.shared_by == "tokens"


def test_without_idle_power_the_interval_has_both_ends_and_there_are_no_active_joules():
    records = [record(0, 0, 0, 500, headers_ns=0), record(1, 0, 0, 250, headers_ns=0)]
    found = shared(records, gross_joules=100.0, net_reason="nobody waited")
    all_idle, none_idle = np.array([37.5, 12.5]), np.array([200 / 3, 100 / 3])
    assert found.joules == pytest.approx((all_idle + none_idle) / 2)
    assert found.joules_uncertainty == pytest.approx((none_idle - all_idle) / 2)
    assert (found.unattributed_joules, found.unattributed_joules_uncertainty) == (25.0, 25.0)
    assert np.isnan(found.active_joules).all()
    assert found.active_reason == "idle power is not known: nobody waited"


def test_what_the_server_may_not_have_worked_on_is_in_the_interval():
    records = [record(0, 0, 100, 500), record(1, 500, 510, 1000)]
    found = shared(records, gross_joules=110.0, net_joules=10.0, idle_watts=100.0)
    assert found.active_joules_uncertainty == pytest.approx([10 * 0.1, 10 * 0.055])


def test_a_request_outside_of_the_window_and_a_window_without_requests_have_no_shares():
    found = shared([record(0, 0, 10, 50), record(1, 90, 110, 150)], start=100, end=200, gross_joules=10.0)
    assert np.isnan(found.joules).tolist() == [True, False]
    nothing = shared([record(0, 0, 10, 50)], start=100, end=200, gross_joules=10.0, gross_joules_uncertainty=1.0)
    assert (nothing.unattributed_joules, nothing.unattributed_joules_uncertainty) == (10.0, 1.0)
    assert nothing.reason == "no request was in flight in the window"
    unmetered = shared([record(0, 0, 10, 50)], reason="there is no meter")
    assert (unmetered.unattributed_joules, unmetered.reason) == (None, "there is no meter")


def test_the_summary_has_those_of_completed_requests_wholly_in_the_window():
    records = [record(0, 0, 10, 500), failed(1, 500, 750), record(2, 900, 910, 1100)]
    summary = summary_of(trial(0, 1000, gross_joules=185.0, net_joules=85.0, idle_watts=100.0), records)
    assert summary["median_request_joules"] == summary["mean_request_joules"] == pytest.approx(50 + 50)
    assert summary["unattributed_joules"] == pytest.approx(15)
    assert summary["joules_shared_by"] == "time in flight"
    assert summary["request_joules_reason"] is None
    none = summary_of(trial(0, 1000, reason="no meter"), records)
    assert (none["p99_request_joules"], none["unattributed_joules"], none["request_joules_reason"]) == (
        None,
        None,
        "no meter",
    )


def test_turns_and_reasoning_have_their_joules():
    records = [
        record(0, 0, 10, 500, turn=0, reasoning_tokens=1, first_answer_ns=300_000_000),
        record(1, 500, 510, 750, turn=1, reasoning_tokens=0),
    ]
    summary = summary_of(trial(0, 750, gross_joules=75.0, net_joules=0.0, idle_watts=100.0), records)
    assert [turn["mean_request_joules"] for turn in summary["turns"]] == pytest.approx([50, 25])
    assert summary["joules_per_reasoning_token"] == pytest.approx(50 / 3)


def test_joules_of_good_requests_are_all_joules_over_those_that_met_their_objectives():
    load = workload("single", slo_ttft_ms=15)
    records = [record(0, 0, 10, 300), record(1, 300, 340, 600), record(2, 600, 610, 1000)]
    summary = summary_of(trial(0, 1000, load=load, gross_joules=50.0), records)
    assert summary["joules_per_good_request"] == pytest.approx(25)
