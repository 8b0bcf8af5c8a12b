"""What was metered beside a load's window: ML.ENERGY's steady state, the warm-up, power at each clock, and carbon."""

from __future__ import annotations

from collections.abc import Iterator

from base.figures import figure
from energy.carbon import carbon_words
from energy.timeline import power_at_clocks
from loadgen.metrics.summary import per
from loadgen.records.schema import SteadyState, Trial, WarmUp
from reports.document.blocks import Block, Entry, Items, Row, Table, columns
from reports.runs.loads import Load


def beside_blocks(load: Load) -> Iterator[Block]:
    """Only what was recorded."""
    if lines := list(_lines(load.trial)):
        yield Items(lines)
    clocks = power_at_clocks(load.power, load.trial.energy) if load.power else []
    if clocks:
        rows = [
            Row([Entry(c.device), Entry(f"{c.sm_clock_mhz}"), Entry(figure(c.mean_watts)), Entry(f"{c.seconds}")])
            for c in clocks
        ]
        yield Table("Power at each clock", columns("GPU", "Clock, MHz", "Power, W", "Seen for, s"), rows, {})


def _lines(trial: Trial) -> Iterator[str]:
    if trial.steady_state is not None:
        yield f"Steady state by ML.ENERGY's rule: {_steady(trial.steady_state)}."
    if trial.warmup is not None and (trial.warmup.joules is not None or trial.warmup.joules_reason is not None):
        yield f"Warm-up: {_warm_up(trial.warmup)}."
    if trial.carbon is not None:
        yield f"Carbon: {carbon_words(trial.carbon)}."


def _steady(steady: SteadyState) -> str:
    each = per(steady.joules, steady.output_tokens)
    if each is None or steady.start_ns is None or steady.end_ns is None:
        return steady.reason or "no token arrived in it"
    return f"{figure(each)} J/output token over {figure((steady.end_ns - steady.start_ns) / 1e9)} s"


def _warm_up(warmup: WarmUp) -> str:
    if warmup.joules is None:
        return f"no joules: {warmup.joules_reason}"
    half = "" if warmup.joules_uncertainty is None else f" \N{PLUS-MINUS SIGN} {figure(warmup.joules_uncertainty)} J"
    return f"{figure(warmup.joules)} J{half} in {figure(warmup.seconds)} s, in none of the figures above"
