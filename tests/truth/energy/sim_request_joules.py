"""Joules of single requests on a machine whose power is known: idle power, and for each request what its time or its tokens take."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from base.distributions import t_quantile
from energy.records import WindowEnergy
from loadgen.metrics.equal_shares import TokenCosts
from loadgen.metrics.measuring.measure import measure_records
from loadgen.metrics.metrics import TrialMetrics
from loadgen.metrics.request_joules import share_joules
from loadgen.records.schema import RequestRecord
from reports.analysis.energy.fit import Spent, fit_energy_model
from tests.loadgen.made import trial
from tests.truth.registry import Outcome, Row, simulation

_METER = "gross joules and idle power off by up to 2 % each"
_LOAD = f"Poisson or closed loops, 0.05 to 5 s a request, 0 to 4 ms before and after it; {_METER}"
_SHAPES = f"4 shapes, 3 to 5 blocks of net joules, 1 to 2 % noise a trial and a request; Poisson, lengths of a factor of 4; {_METER}"


def _held(conditions: str) -> dict[str, Row]:
    """The rows of both intervals that `_judged` judges."""
    return {
        key: Row(f"{joules} of a request in a window", conditions, "95 %", 0.93)
        for key, joules in (("active", "active joules"), ("joules", "joules"))
    }


def _moments(rng: np.random.Generator, lengths: np.ndarray) -> np.ndarray:
    """When the server begins with each request: at random, or as many at once as a closed loop has streams."""
    if rng.random() < 0.5:
        return np.cumsum(rng.exponential(float(lengths.mean()) / rng.uniform(0.3, 20), len(lengths)))
    free = np.zeros(int(rng.integers(1, 17)))
    begun = np.empty(len(lengths))
    for n, length in enumerate(lengths):
        stream = int(free.argmin())
        begun[n] = free[stream] + rng.uniform(0, 0.005)
        free[stream] = begun[n] + length
    return begun


def _record(n: int, times: np.ndarray, prompt: int, output: int) -> RequestRecord:
    """`times`: sent, headers, first token, last token, end, in seconds."""
    sent, headers, first, last, end = (round(at * 1e9) for at in times)
    return RequestRecord(
        request_id=f"0-{n}",
        index=n,
        group=n,
        scheduled_ns=sent,
        sent_ns=sent,
        headers_ns=headers,
        first_token_ns=first,
        last_token_ns=last,
        end_ns=end,
        arrival_ns=np.linspace(first, last, output).astype(np.int64).tolist(),
        arrival_tokens=list(range(1, output + 1)),
        prompt_tokens=prompt,
        output_tokens=output,
        counted_by="server-continuous-usage",
        finish_reason="length",
    )


def _metered(rng: np.random.Generator, idle: float, active: float, window_s: float) -> WindowEnergy:
    """Both measurements are off by normal errors whose half-widths are stated."""
    gross = idle * window_s + active
    half, idle_half = rng.uniform(0.001, 0.02) * gross, rng.uniform(0.001, 0.02) * idle
    seen, watts = gross + rng.normal(0, half / 1.96), idle + rng.normal(0, idle_half / 1.96)
    return WindowEnergy(
        start_ns=0,
        end_ns=1,
        gross_joules=seen,
        gross_joules_uncertainty=half,
        net_joules=seen - watts * window_s,
        net_joules_uncertainty=math.hypot(half, idle_half * window_s),
        idle_watts=watts,
    )


def _idle_seconds(sent: np.ndarray, end: np.ndarray, start: float, stop: float, one: int) -> float:
    """One request's equal share of the window, moment by moment."""
    cuts = np.unique(np.clip(np.concatenate([sent, end]), max(start, sent[one]), min(stop, end[one])))
    middles, lengths = (cuts[1:] + cuts[:-1]) / 2, np.diff(cuts)
    in_flight = ((sent[:, None] <= middles) & (end[:, None] >= middles)).sum(axis=0)
    return float((lengths / in_flight).sum())


def _judged(
    rng: np.random.Generator,
    records: list[RequestRecord],
    window: tuple[float, float],
    idle: float,
    active: np.ndarray,
    costs: TokenCosts | None = None,
) -> Outcome:
    """Whether the true joules of a random request lie in its intervals; `active` are those in the window."""
    start, stop = window
    metrics: TrialMetrics = measure_records(trial(round(start * 1e3), round(stop * 1e3)), records)
    metrics = replace(metrics, costs=costs)
    found = share_joules(_metered(rng, idle, float(active.sum()), stop - start), metrics)
    one = int(rng.choice(np.flatnonzero(np.isfinite(found.joules) & found.whole)))
    sent, end = (np.array([getattr(r, name) for r in records]) / 1e9 for name in ("sent_ns", "end_ns"))
    truth = idle * _idle_seconds(sent, end, start, stop, one) + active[one]
    return {
        "active": bool(abs(found.active_joules[one] - active[one]) <= found.active_joules_uncertainty[one]),
        "joules": bool(abs(found.joules[one] - truth) <= found.joules_uncertainty[one]),
    }


def _window(begun: np.ndarray, ended: np.ndarray) -> tuple[float, float]:
    """Whole milliseconds, and most of the load."""
    start, stop = np.quantile(begun, 0.1), np.quantile(ended, 0.9)
    return math.floor(start * 1e3) / 1e3, math.ceil(max(stop, ended[len(ended) // 2]) * 1e3) / 1e3


@simulation(short=40, long=2000, **_held(f"synthetic engine: power by request; {_LOAD}"))
def request_joules_by_time(rng: np.random.Generator) -> Outcome:
    """`active_watts` for each running request: the truth is that times its seconds on the server within the window."""
    count = int(rng.integers(20, 120))
    typical, spread = 10 ** rng.uniform(-1.3, 0.7), rng.uniform(0, 0.8)
    lengths = typical * np.exp(rng.normal(0, spread, count)) + 0.01
    begun = _moments(rng, lengths)
    ended = begun + lengths
    before, after = rng.uniform(0, 0.004, (2, count))
    # Headers come when the server begins, or with the first token.
    first = begun + 0.1 * lengths
    headers = begun if rng.random() < 0.5 else first
    times = np.column_stack([begun - before, headers, first, ended, ended + after])
    records = [_record(n, row, 64, 8) for n, row in enumerate(times)]
    start, stop = _window(begun, ended)
    watts = rng.uniform(2, 50)
    inside = np.maximum(np.minimum(ended, stop) - np.maximum(begun, start), 0)
    return _judged(rng, records, (start, stop), rng.uniform(20, 300), watts * inside)


@simulation(short=40, long=2000, **_held(f"tokens and requests of known joules; {_SHAPES}"))
def request_joules_by_tokens(rng: np.random.Generator) -> Outcome:
    """A line is true: joules of a prompt token, an output token and a request, found from trials of four shapes."""
    truth = np.exp(rng.uniform(np.log([0.005, 0.2, 0.5]), np.log([0.05, 2.0, 10.0])))
    noise, spent = rng.uniform(0.01, 0.02), []
    for block in range(int(rng.integers(3, 6))):
        for prompt, output in ((64, 32), (64, 256), (1024, 32), (1024, 256)):
            joules = 100 * float(truth @ [prompt, output, 1]) * (1 + noise * rng.normal())
            spent.append(Spent(f"{prompt}-{output}", block, joules, 100 * prompt, 100 * output, 100))
    model = fit_energy_model("w", "l", spent)
    found = [model.prompt_token, model.output_token, model.request]
    if any(each is None or each.joules < 0 for each in found):
        return {}
    fitted = tuple(each.joules for each in found if each is not None)
    scatter, quantile = model.relative_deviation, t_quantile(0.975, model.degrees_of_freedom)
    costs = TokenCosts(fitted, np.array(model.covariance), scatter, quantile)  # type: ignore[arg-type]
    count = int(rng.integers(20, 60))
    prompts, outputs = rng.integers(128, 513, count), rng.integers(32, 129, count)
    lengths = 0.05 + 0.02 * outputs
    begun = np.cumsum(rng.exponential(0.5, count))
    first, last = begun + 0.05, begun + lengths
    times = np.column_stack([begun, begun, first, last, last])
    records = [
        _record(n, row, int(p), int(o)) for n, (row, p, o) in enumerate(zip(times, prompts, outputs, strict=True))
    ]
    start, stop = _window(begun, last)
    prefill = np.clip((np.minimum(first, stop) - np.maximum(begun, start)) / (first - begun), 0, 1)
    arrivals = [np.linspace(a, b, o) for a, b, o in zip(first, last, outputs, strict=True)]
    arrived = np.array([((at > start) & (at <= stop)).sum() for at in arrivals])
    active = (truth[0] * prompts + truth[2]) * prefill + truth[1] * arrived
    active *= 1 + noise * rng.normal(size=count)
    return _judged(rng, records, (start, stop), rng.uniform(20, 300), active, costs)
