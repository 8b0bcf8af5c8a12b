"""The check for a transient at the start of a window, against closed loops of known speed."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from loadgen.metrics.measuring.measure import measure_records
from loadgen.metrics.metrics import TrialMetrics
from loadgen.metrics.settling import settling
from loadgen.metrics.window import cut_window
from loadgen.records.schema import RequestRecord
from loadgen.workloads.closed_loop import ConcurrencyLoad
from tests.loadgen.made import trial
from tests.truth.registry import Outcome, Row, rare, simulation

_CHECK = "warm-up-unsteady, on the window"
_CONDITIONS = "20 to 60 generations with noise of 1 %, loops in lockstep and staggered"
_FINE = 10  # stretches of a generation, each with a speed of its own
_TOKENS = 24

FloatArray = npt.NDArray[np.float64]


def _measured(rng: np.random.Generator, slower: FloatArray, noise: float) -> TrialMetrics:
    """A loop whose time per token is 1 + `slower` in each generation of its window, and 1 before and after.

    Work goes on at a known pace, so that the time at which any part of it is done is an integral.
    """
    streams, generations = int(rng.choice([1, 2, 4, 8])), len(slower)
    pace = np.ones((generations + 4, _FINE))
    pace[1 : generations + 1] += slower[:, np.newaxis]
    pace *= 1 + noise * np.sqrt(_FINE) * rng.normal(size=pace.shape)
    done_at = np.concatenate(
        [[0.0], np.cumsum(pace.ravel() / _FINE)]
    )  # of each tenth of a generation's work, generations
    work = np.arange(len(done_at)) / _FINE
    phases = np.zeros(streams) if rng.random() < 0.5 else np.sort(rng.uniform(0, 0.9, streams))
    records = []
    for round_ in range(generations + 2):
        for stream, phase in enumerate(phases):
            tokens = np.linspace(round_ + phase + 0.1, round_ + phase + 1, _TOKENS)
            at = 1e9 * np.interp([round_ + phase, *tokens], work, done_at)
            records.append(_record(round_ * streams + stream, [round(each) for each in at]))
    load = ConcurrencyLoad(name="loop", concurrency=streams, requests=len(records))
    window = cut_window(load, records)
    measured = trial(0, 1, load=load).model_copy(
        update={"window_start_ns": window.start_ns, "window_end_ns": window.end_ns, "window_rule": window.rule}
    )
    return measure_records(measured, records)


def _record(index: int, at: list[int]) -> RequestRecord:
    """A request: the send time, then one token at each later time."""
    return RequestRecord(
        str(index),
        index,
        index,
        at[0],
        sent_ns=at[0],
        first_token_ns=at[1],
        last_token_ns=at[-1],
        end_ns=at[-1],
        arrival_ns=at[1:],
        arrival_tokens=list(range(1, len(at))),
        output_tokens=len(at) - 1,
        finish_reason="length",
    )


def _shape(rng: np.random.Generator, kind: str, generations: int) -> FloatArray:
    """From 1 to 0: an exponential with a time constant of up to a quarter of the window, a step within its first 60 %, a ramp
    of clocks within its first 75 %.
    """
    at = np.arange(generations) + 0.5
    if kind == "exponential":
        return np.exp(-at / rng.uniform(0.5, generations / 4))
    if kind == "step":
        return (at < rng.uniform(1, 0.6 * generations)).astype(np.float64)
    return np.clip(1 - at / rng.uniform(2, 0.75 * generations), 0, None)


def _found(rng: np.random.Generator, kind: str, shift: float, generations: int, noise: float) -> bool:
    shape = _shape(rng, kind, generations)
    slower = rng.choice([-1, 1]) * shift * shape / shape.mean()
    seen = settling(_measured(rng, slower, noise).generation_ms)
    return seen is not None and seen.found


_MOVES = "transients that move the window's mean by 1 %, found"


@simulation(
    short=40,
    long=3000,
    exponential=Row(f"{_CHECK}: exponential {_MOVES}", _CONDITIONS, "at least 90 %", 0.90),
    step=Row(f"{_CHECK}: step {_MOVES}", _CONDITIONS, "at least 90 %", 0.90),
    ramp=Row(f"{_CHECK}: ramp {_MOVES}", _CONDITIONS, "at least 90 %", 0.90),
    none=rare(f"{_CHECK}: false alarm", _CONDITIONS),
)
def warmup_transients(rng: np.random.Generator) -> Outcome:
    """Transients of exactly the detectable size, and none."""
    generations = int(rng.integers(20, 61))
    found = {kind: _found(rng, kind, 0.01, generations, 0.01) for kind in ("exponential", "step", "ramp")}
    return {**found, "none": _found(rng, "step", 0.0, generations, 0.01)}


@simulation(
    short=40,
    long=3000,
    found=Row(
        f"{_CHECK}: transients of the size that would have shown, found", "8 to 100 generations, noise of 0.2 to 5 %", "at least 90 %", 0.90
    ),
    none=rare(f"{_CHECK}: false alarm", "8 to 100 generations, noise of 0.2 to 5 %"),
)  # fmt: skip
def warmup_visible(rng: np.random.Generator) -> Outcome:
    """A transient of the size that a quiet window reports as detectable, in another window."""
    generations, noise = int(rng.integers(8, 101)), float(np.exp(rng.uniform(np.log(0.002), np.log(0.05))))
    quiet = settling(_measured(rng, np.zeros(generations), noise).generation_ms)
    assert quiet is not None
    kind = str(rng.choice(["exponential", "step", "ramp"]))
    return {"found": _found(rng, kind, quiet.visible, generations, noise), "none": quiet.found}
