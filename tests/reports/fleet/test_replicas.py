"""Replicas from measured levels, and capacities from measured rates."""

from __future__ import annotations

import pytest

from loadgen.workloads.base import Workload
from loadgen.workloads.closed_loop import SingleLoad
from loadgen.workloads.open_loop import PoissonLoad
from reports.analysis.analyse import analyse_folder
from reports.fleet.fleet import UNMEASURED, capacity, demanded, plan_fleet
from reports.fleet.measured_rates import MeasuredRates, bounds, measured_rates
from reports.fleet.queueing import saturated_rate
from reports.fleet.replicas import Lengths, Level, level, replica_of
from reports.runs.fleet_plan import Demand
from tests.reports.example_run import SINGLE, Example, write_run

MEASURED = Lengths(512.0, 128.0)
LEVELS = (
    Level(1, MEASURED, 1.0, 0.03, 0.0075),
    Level(16, MEASURED, 10.0, 0.05, 0.0115),
    Level(64, MEASURED, 20.0, 0.1, 0.02),
)
DEMAND = Demand(requests_per_day=1e6, prompt_tokens=512, output_tokens=128)


def test_a_replica_serves_at_each_level_what_was_measured_there():
    arrivals = demanded(DEMAND)
    for highest in (1, 2, 3):
        replica = replica_of(LEVELS[:highest], MEASURED)
        assert saturated_rate(replica, arrivals) == pytest.approx(LEVELS[highest - 1].requests_per_s, rel=0.01)


def test_an_empty_replica_has_the_measured_time_to_the_first_token():
    replica = replica_of(LEVELS[:1], MEASURED)
    assert 512 * replica.prefill_s_per_token + 0.0075 == pytest.approx(0.03)


def test_other_lengths_cost_by_their_tokens():
    """Prefill is 22.5 ms for 512 tokens; the rest of the top level's 50 ms scales with output tokens; both on the safe side."""
    for lengths, safe in ((Lengths(1024, 128), 1.05), (Lengths(512, 256), 0.95)):
        demand = Demand(requests_per_day=1e6, prompt_tokens=int(lengths.prompt), output_tokens=int(lengths.output))
        prefill = safe * 0.0225
        expected = 1 / (prefill * lengths.prompt / 512 + (0.05 - prefill) * lengths.output / 128)
        assert saturated_rate(replica_of(LEVELS, lengths), demanded(demand)) == pytest.approx(expected, rel=0.01)


def test_prefill_never_takes_more_than_all_the_measured_work():
    replica = replica_of((Level(8, MEASURED, 20.0, 3.0, 0.02),), MEASURED)
    assert saturated_rate(replica, demanded(DEMAND)) == pytest.approx(20.0, rel=0.01)


def test_without_a_single_request_prefill_may_be_free_of_charge_to_a_demand_of_long_answers():
    replica = replica_of((Level(8, MEASURED, 20.0, 0.1, 0.02),), Lengths(512, 1024))
    assert replica.prefill_s_per_token == pytest.approx(0)


def test_a_batch_of_unlike_answers_is_no_level():
    batch = {"name": "b", "kind": "batch", "batch_size": 8, "requests": 16}
    assert level(Workload.model_validate(batch)) == 8
    assert level(Workload.model_validate(batch | {"output_tokens": "uniform:8-64"})) is None
    assert level(SingleLoad(name="n", requests=2, natural_stop=True)) is None


def test_the_highest_stationary_rate_lies_below_the_lowest_that_grew():
    found = bounds({2.0: [True, True], 4.0: [True, None], 3.0: [True, True], 5.0: [True, False], 6.0: [True, True]})
    assert found == MeasuredRates(stationary=3.0, growing=5.0)
    assert bounds({}) == UNMEASURED


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        (UNMEASURED, 0.96 * 20),
        (MeasuredRates(stationary=12.0, growing=None), 12.0),
        (MeasuredRates(stationary=22.0, growing=25.0), 22.0),
        (MeasuredRates(stationary=None, growing=15.0), 15.0),
        (MeasuredRates(stationary=None, growing=30.0), 0.96 * 20),
    ],
)
def test_without_objectives_a_measured_rate_is_the_capacity_and_a_saturated_one_its_limit(rates, expected):
    assert capacity(replica_of(LEVELS, MEASURED), demanded(DEMAND), DEMAND, rates) == pytest.approx(expected, rel=0.01)


def test_an_objective_may_leave_less_than_was_measured_to_be_stationary():
    demand = DEMAND.model_copy(update={"slo_tpot_ms": 12.0})
    assert capacity(replica_of(LEVELS, MEASURED), demanded(demand), demand, MeasuredRates(stationary=19.0)) < 18


def test_a_run_that_measured_a_rate_with_the_demands_lengths_plans_by_it_and_says_so(tmp_path):
    """The example's requests are sequential whatever the stated rate: no backlog grows."""
    steady = PoissonLoad(name="steady", rate=1.5, requests=200, prompt_tokens=64, output_tokens=32)
    run = write_run(tmp_path / "run", Example(widths=(1024,), blocks=2, workloads=(SINGLE, steady)))
    for path in run.glob("trials/*steady*/trial.json"):
        path.write_text(path.read_text().replace('"window_rule":"whole"', '"window_rule":"steady"'))
    analysis = analyse_folder(run)
    assert measured_rates(analysis, "width-1024", Lengths(64, 32)) == MeasuredRates(stationary=1.5)
    assert measured_rates(analysis, "width-1024", Lengths(128, 32)) == UNMEASURED
    for prompt, basis in ((64, "measured"), (128, "simulated, not measured")):
        plan = plan_fleet(analysis, Demand(requests_per_day=1e5, prompt_tokens=prompt, output_tokens=32))
        assert plan.rows[0].basis == basis
        assert (plan.rows[0].capacity_rps.value == pytest.approx(1.5)) == (basis == "measured")


def test_a_plan_far_from_the_measured_lengths_says_that_first(tmp_path):
    analysis = analyse_folder(write_run(tmp_path / "run", Example(widths=(1024,), blocks=2, workloads=(SINGLE,))))
    far, near = (
        plan_fleet(analysis, Demand(requests_per_day=1e5, prompt_tokens=tokens, output_tokens=32)).assumptions
        for tokens in (640, 100)
    )
    assert "differ from those measured (64 and 32)" in far[0]
    assert far[1:] == near
