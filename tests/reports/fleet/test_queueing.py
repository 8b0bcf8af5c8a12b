"""The simulated replica against the formulas of queues that have one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reports.fleet.queueing import Arrivals, Replica, poisson_arrivals, saturated_rate, simulate
from tests.truth.fleet.sim_queue import erlang_c

MANY = 60_000


def exponential(count, mean, seed):
    return np.random.default_rng(seed).exponential(mean, count)


def test_erlangs_own_table_is_reproduced():
    assert erlang_c(1, 0.5) == pytest.approx(0.5)
    assert erlang_c(2, 1.0) == pytest.approx(1 / 3)
    assert erlang_c(10, 8.0) == pytest.approx(0.4092, abs=1e-4)


@pytest.mark.parametrize(("slots", "load"), [(1, 0.7), (4, 3.0), (16, 14.0)])
def test_slots_that_do_not_slow_each_other_are_erlangs_queue(slots, load):
    """M/M/c: a step has the same duration with any number of requests, and output lengths are exponential."""
    replica = Replica(
        levels=(1, slots) if slots > 1 else (1,), steps_s=(0.01,) * min(slots, 2), prefill_s_per_token=0.0
    )
    arrivals = poisson_arrivals(MANY, [1.0], 1 + exponential(MANY, 99.0, 1), seed=2)  # a service takes 1 s on average
    served = simulate(replica, arrivals, rate=load)
    waits = erlang_c(slots, load)
    assert np.mean(served.wait_s > 1e-12) == pytest.approx(waits, rel=0.06)
    assert np.mean(served.wait_s) == pytest.approx(waits / (slots - load), rel=0.15)
    assert served.busy == pytest.approx(1 - idle_probability(slots, load), rel=0.03)


def idle_probability(slots, load):
    terms = [1.0]
    for n in range(1, slots):
        terms.append(terms[-1] * load / n)
    return 1 / (sum(terms) + terms[-1] * load / slots / (1 - load / slots))


def test_a_step_that_takes_as_much_longer_as_it_has_requests_is_processor_sharing():
    """M/G/1-PS: the mean time in the system is S/(1 - rho), whatever the distribution of lengths."""
    replica = Replica(levels=(1, 400), steps_s=(0.01, 4.0), prefill_s_per_token=0.0)
    for outputs in (np.full(MANY, 100.0), 1 + exponential(MANY, 99.0, 3)):
        served = simulate(replica, poisson_arrivals(MANY, [1.0], outputs, seed=4), rate=0.6)
        assert np.mean(served.e2e_s) == pytest.approx(1.0 / (1 - 0.6), rel=0.08)


def test_prompts_alone_are_a_queue_with_one_server():
    """M/D/1 by Pollaczek and Khinchine: mean wait rho S / 2 (1 - rho)."""
    replica = Replica(levels=(1, 1000), steps_s=(1e-9, 1e-9), prefill_s_per_token=0.01)
    served = simulate(replica, poisson_arrivals(MANY, [100.0], [1.0], seed=5), rate=0.8)
    assert np.mean(served.wait_s) == pytest.approx(0.8 / (2 * 0.2), rel=0.1)
    assert np.all(np.isnan(served.tpot_s))


def test_an_empty_server_gives_every_request_its_own_times():
    replica = Replica(
        levels=(1, 8), steps_s=(0.02, 0.05), prefill_s_per_token=0.001, watts=(200.0, 400.0), idle_watts=50.0
    )
    served = simulate(replica, Arrivals(np.full(50, 1000.0), np.full(50, 100.0), np.full(50, 11.0)), rate=1.0)
    assert served.ttft_s == pytest.approx(0.1 + 0.02)  # the first token comes with a step, as all others
    assert served.tpot_s == pytest.approx(0.02)
    # Of every 1000 s, 0.32 s are busy with one request. The last request has no pause after it.
    assert served.joules_per_request == pytest.approx(50 * 1000 + 150 * 0.32, rel=0.03)


@settings(max_examples=25, deadline=None)
@given(st.floats(0.1, 20), st.floats(0.1, 10), st.integers(1, 64))
def test_scaling_all_times_scales_all_results_and_leaves_energy_per_second(factor, rate, slots):
    levels = (1, slots) if slots > 1 else (1,)

    def replica(scale):
        steps = tuple(0.01 * scale * (1 + 0.1 * n) for n in levels)
        return Replica(levels, steps, 1e-4 * scale, watts=tuple(100.0 + n for n in levels), idle_watts=40.0)

    arrivals = poisson_arrivals(300, [50.0, 200.0], [5.0, 30.0], seed=6)
    one, other = simulate(replica(1.0), arrivals, rate), simulate(replica(factor), arrivals, rate / factor)
    assert other.e2e_s == pytest.approx(one.e2e_s * factor)
    assert other.joules_per_request == pytest.approx(one.joules_per_request * factor)


def test_more_requests_a_second_never_wait_less():
    replica = Replica(levels=(1, 4, 16), steps_s=(0.01, 0.012, 0.03), prefill_s_per_token=1e-4)
    arrivals = poisson_arrivals(5000, [100.0], [50.0], seed=7)
    means = [np.mean(simulate(replica, arrivals, rate).e2e_s) for rate in (1, 3, 5, 8)]
    assert means == sorted(means)


@pytest.mark.parametrize("outputs", [np.full(4000, 50.0), 1 + np.round(exponential(4000, 49.0, 8))])
def test_a_replica_with_all_slots_taken_serves_what_its_work_a_request_allows(outputs):
    """Prompts one after another, and of each step its share: 1/(prefill + output tokens x step / slots)."""
    replica = Replica(levels=(1, 4, 16), steps_s=(0.01, 0.012, 0.03), prefill_s_per_token=1e-4)
    arrivals = poisson_arrivals(4000, [100.0], outputs, seed=7)
    expected = 1 / (0.01 + np.mean(outputs) * 0.03 / 16)
    assert saturated_rate(replica, arrivals) == pytest.approx(expected, rel=0.01)


def test_below_the_saturated_rate_waits_stay_and_above_it_they_grow():
    replica = Replica(levels=(1, 4, 16), steps_s=(0.01, 0.012, 0.03), prefill_s_per_token=1e-4)
    arrivals = poisson_arrivals(MANY, [100.0], [50.0], seed=7)
    limit = saturated_rate(replica, arrivals)
    below, above = (np.mean(simulate(replica, arrivals, factor * limit).wait_s[-5000:]) for factor in (0.9, 1.1))
    assert below < 2  # seconds, a few requests' time
    assert above == pytest.approx(MANY / limit * (1 - 1 / 1.1), rel=0.1)
