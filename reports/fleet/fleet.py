"""Plan a fleet: the replicas, energy, cost and CO2 that a demand requires with each configuration of a run.

The capacity of one replica is the highest stationary rate of a simulated Poisson stream at which enough requests meet the objectives
(`reports.fleet.queueing`), bounded by the highest rate that was measured to be stationary, if rates were measured. The energy is
that of the same simulation at the mean rate per replica. Each block of the run is planned separately; intervals are over blocks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from base.figures import percent
from loadgen.workloads.fields.lengths import draw_tokens
from reports.analysis.records import Analysis
from reports.fleet.measured_rates import MeasuredRates, measured_rates
from reports.fleet.queueing import Arrivals, Replica, Served, poisson_arrivals, saturated_rate, simulate
from reports.fleet.replicas import Lengths, nearest_lengths, replicas
from reports.runs.fleet_plan import SECONDS_PER_DAY, Demand, Estimate, FleetPlan, FleetRow
from reports.statistics.ratios import mean_interval

# Share of the rate at which all slots of the simulated replica are always taken. The rest allows for noise of the levels and for the
# ambiguity of their throughput, so that the capacity stays below the true limit of stability (tests/truth/fleet/sim_fleet.py).
STATIONARY = 0.96
_REQUESTS = 4000  # simulated; a share of 90 % that meets an objective has an error of about one percentage point
SCALES_TO = 2.0  # largest tested factor between measured mean lengths and the demand's, tests/truth/fleet/sim_fleet.py
_HALVINGS = 12
UNMEASURED = MeasuredRates()
_JOULES_PER_KWH = 3.6e6


def plan_fleet(analysis: Analysis, demand: Demand, progress: Callable[[str], None] = lambda _: None) -> FleetPlan:
    """A row for every configuration that was measured. Raises ReportError if the run has no level of load."""
    arrivals = demanded(demand)
    lengths = Lengths(float(arrivals.prompt_tokens.mean()), float(arrivals.output_tokens.mean()))
    rows = []
    for configuration in analysis.configurations:
        info = configuration.info
        progress(info.label)
        rates = measured_rates(analysis, info.label, lengths)
        found = [
            planned(replica, arrivals, demand, rates) for replica in replicas(analysis, info.label, lengths).values()
        ]
        row = _row(info.label, info.width, found, demand, is_baseline=info.is_baseline)
        is_measured = bool(found) and all(block["capacity"] == rates.stationary for block in found)
        rows.append(row.model_copy(update={"basis": "measured" if is_measured else "simulated, not measured"}))
    return FleetPlan(demand=demand, rows=rows, assumptions=_assumptions(analysis, demand, lengths))


def demanded(demand: Demand) -> Arrivals:
    """The simulated stream of requests at rate 1; `simulate` scales it."""
    numbers = range(_REQUESTS)
    prompts = [draw_tokens(demand.prompt_tokens, f"{demand.seed}/p{n}") for n in numbers]
    outputs = [draw_tokens(demand.output_tokens, f"{demand.seed}/o{n}") for n in numbers]
    return poisson_arrivals(_REQUESTS, prompts, outputs, demand.seed)


def capacity(replica: Replica, arrivals: Arrivals, demand: Demand, rates: MeasuredRates = UNMEASURED) -> float:
    """The highest stationary rate, requests per second, at which enough requests meet the objectives; 0 if there is none.

    A measured stationary rate is the upper limit: a higher rate was not measured, or its backlog grew.
    """

    def good(rate: float) -> bool:
        return met(simulate(replica, arrivals, rate), demand) >= demand.slo_share

    high = rates.stationary or min(STATIONARY * saturated_rate(replica, arrivals), rates.growing or math.inf)
    if good(high):
        return high
    low = high * 1e-4
    if not good(low):
        return 0.0
    for _ in range(_HALVINGS):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if good(middle) else (low, middle)
    return low


def met(served: Served, demand: Demand) -> float:
    """Share of the requests that met every objective. A request of one token has no TPOT and meets that objective."""
    good = np.ones(len(served.ttft_s), dtype=bool)
    if demand.slo_ttft_ms is not None:
        good &= served.ttft_s * 1e3 <= demand.slo_ttft_ms
    if demand.slo_tpot_ms is not None:
        good &= ~(served.tpot_s * 1e3 > demand.slo_tpot_ms)
    return float(np.mean(good))


def planned(
    replica: Replica, arrivals: Arrivals, demand: Demand, rates: MeasuredRates = UNMEASURED
) -> dict[str, float | None]:
    """The plan from one block: capacity of a replica, number of replicas, busy share, joules per request."""
    most = capacity(replica, arrivals, demand, rates)
    if most == 0:
        return {"capacity": 0.0}
    count = math.ceil(demand.mean_rate * demand.peak / most)
    served = simulate(replica, arrivals, demand.mean_rate / count)
    return {"capacity": most, "replicas": float(count), "busy": served.busy, "joules": served.joules_per_request}


def _row(
    label: str, width: int | None, blocks: Sequence[dict[str, float | None]], demand: Demand, *, is_baseline: bool
) -> FleetRow:
    reason = None
    if not blocks:
        reason = "it was not measured"
    elif any(block["capacity"] == 0 for block in blocks):
        reason = "even an idle server misses the objectives"

    def estimate(of: Callable[[dict[str, float | None]], float | None], missing: str) -> Estimate:
        if reason is not None:
            return Estimate(value=None, reason=reason)
        values = [value for block in blocks if (value := of(block)) is not None]
        return _estimate(values) if len(values) == len(blocks) else Estimate(value=None, reason=missing)

    def joules_per_day(block: dict[str, float | None]) -> float | None:
        joules = block["joules"]
        return None if joules is None else joules * demand.requests_per_day * demand.pue

    def cost(block: dict[str, float | None]) -> float | None:
        energy = joules_per_day(block) if demand.price_kwh is not None else 0.0
        if energy is None or (demand.price_kwh is None and demand.gpu_hour is None):
            return None
        gpus = (block["replicas"] or 0.0) * demand.gpus_per_replica
        return energy / _JOULES_PER_KWH * (demand.price_kwh or 0.0) + gpus * 24 * (demand.gpu_hour or 0.0)

    def carbon(block: dict[str, float | None]) -> float | None:
        energy = joules_per_day(block)
        if energy is None or demand.carbon_g_per_kwh is None:
            return None
        return energy / _JOULES_PER_KWH * demand.carbon_g_per_kwh / 1e3

    unmetered = "energy was not measured at every level of load, or idle power was not"
    return FleetRow(
        label=label,
        width=width,
        is_baseline=is_baseline,
        capacity_rps=estimate(lambda b: b["capacity"], ""),
        gpus=estimate(lambda b: (b["replicas"] or 0.0) * demand.gpus_per_replica, ""),
        busy=estimate(lambda b: b["busy"], ""),
        joules_per_request=estimate(lambda b: b["joules"], unmetered),
        megawatts=estimate(
            lambda b: None if (e := joules_per_day(b)) is None else e / SECONDS_PER_DAY / 1e6, unmetered
        ),
        cost_per_day=estimate(cost, unmetered if demand.price_kwh is not None else "no --gpu-hour and no --price-kwh"),
        kg_co2_per_day=estimate(carbon, unmetered if demand.carbon_g_per_kwh is not None else "no --carbon"),
    )


def _estimate(values: Sequence[float]) -> Estimate:
    """Geometric mean with its interval, computed on logarithms."""
    if len(values) < 2 or min(values) <= 0:
        return Estimate(value=float(np.mean(values)), reason="one block has no interval" if len(values) < 2 else None)
    interval = mean_interval([math.log(value) for value in values])
    low, high = (None if edge is None else math.exp(edge) for edge in (interval.low, interval.high))
    return Estimate(value=math.exp(interval.mean), low=low, high=high)


def _assumptions(analysis: Analysis, demand: Demand, lengths: Lengths) -> list[str]:
    simulated = (
        f"A capacity that is simulated, not measured, is {percent(STATIONARY)} of the rate that the simulated replica serves with all its slots "
        "taken: there its backlog is stationary. On simulated servers it was 0 to 10 % below the limit of stability where the demand's lengths "
        "were those measured (docs/reference/estimators.md)."
    )
    measured = (
        "A capacity that is measured is the highest rate at which an open loop's backlog was stationary in every block; "
        "higher rates, measured, may raise it."
    )
    prefill = (
        "In the simulation prefill takes time in proportion to the prompt and pauses decoding; decoding speed does not depend "
        "on context length."
    )
    assumptions = [
        simulated,
        measured,
        "A replica never holds more requests than the run measured; a higher level might serve more.",
        "Requests arrive as a Poisson stream, spread evenly over independent replicas.",
        f"The replicas serve {demand.peak:g}x the mean rate; energy is that at the mean rate, with all replicas running.",
        prefill,
        f"Joules are those of the meters named in the run, times a PUE of {demand.pue:g}; hosts without a meter are not included.",
        f"{_REQUESTS} requests are simulated; the share that meets the objectives is known to about one in a hundred.",
    ]
    nearest = nearest_lengths(analysis, lengths)
    if nearest is not None and nearest.furthest(lengths) > SCALES_TO:
        assumptions.insert(
            0,
            f"The demand's requests ({lengths.prompt:.0f} prompt and {lengths.output:.0f} output tokens on average) differ from those "
            f"measured ({nearest.prompt:.0f} and {nearest.output:.0f}): beyond a factor of {SCALES_TO:g} the scaling was not tested. "
            "Measure closed loops with the demand's lengths.",
        )
    return assumptions
