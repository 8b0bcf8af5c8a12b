"""The unit of the study's energy, and how its runs were metered. All of it requires the raw runs."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from base.records import Record
from reports.published.study import Run, Study

JOULES_PER_KWH = 3.6e6
SAME = 1e-6  # quotients that differ by less, as a share, are one constant
STEADY = 0.005  # powers that spread by less, as a share, are a constant too


class Unit(Record):
    """The claimed energy over the energy of the tracker's own counters, run by run.

    `factor` turns a claimed figure into a true one: counter / claimed. `constant`: the quotient is the same in all runs, so one
    is a multiple of the other. `is_energy`: the quotient is 1.
    """

    runs: int
    claimed_per_kwh: float
    factor: float
    spread: float  # (largest - smallest) / mean of the quotient
    constant: bool
    is_energy: bool
    joules_follow: bool  # the claimed J/token are claimed net kWh x 3.6e6 / tokens
    models: list[str]
    models_without: list[str]  # without counters, where the factor is inferred


class Power(Record):
    """The mean power of a part by its counter; a real meter's power varies, a constant's does not."""

    part: str
    watts: float
    spread: float  # standard deviation over the runs, as a share
    constant: bool
    share: float  # of the counters' total energy


class Metering(Record):
    """How the energy windows were cut. None: not recorded."""

    runs: int
    window_s: tuple[float, float] | None
    short_windows: int  # below 30 s
    outside_loop: tuple[float, float] | None  # share of the window outside the generating loop: median, largest
    idle_share: float | None  # of the gross energy, median
    temperature_c: tuple[float, float] | None
    idle_temperature_c: dict[str, float]
    idle_watts_recorded: dict[str, float]
    idle_watts_applied: dict[str, float]


class LeftOut(Record):
    """Runs of one cell that are missing from the published mean, and their effect on it."""

    model: str
    workload: str
    width: int
    made: int
    kept: int
    kept_joules_per_token: float | None
    all_joules_per_token: float | None


def unit(study: Study) -> Unit | None:
    """None where no run has both figures."""
    both = [r for r in study.runs if r.raw_claimed_kwh and r.total_kwh]
    if not both:
        return None
    quotients = [(r.raw_claimed_kwh or 0) / (r.total_kwh or 1) for r in both]
    # The median is one of the quotients; a mean would add rounding errors.
    middle = statistics.median(quotients)
    spread = (max(quotients) - min(quotients)) / middle
    with_counter = {r.model for r in both}
    return Unit(
        runs=len(both),
        claimed_per_kwh=middle,
        factor=1 / middle,
        spread=spread,
        constant=spread < SAME,
        is_energy=abs(middle - 1) < SAME,
        joules_follow=all(
            math.isclose(r.joules_per_token, r.net_claimed_kwh * JOULES_PER_KWH / r.new_tokens, rel_tol=1e-6)
            for r in both
            if r.net_claimed_kwh is not None
        ),
        models=sorted(with_counter),
        models_without=sorted({r.model for r in study.runs} - with_counter),
    )


def powers(study: Study) -> list[Power]:
    """The power of processor, memory and GPU, where counters were recorded."""
    found = []
    for part in ("cpu", "ram", "gpu"):
        runs = [r for r in study.runs if getattr(r, f"{part}_kwh") is not None and r.window_s and r.total_kwh]
        if len(runs) < 2:
            continue
        watts = [getattr(r, f"{part}_kwh") * JOULES_PER_KWH / (r.window_s or 1) for r in runs]
        spread = statistics.stdev(watts) / statistics.fmean(watts)
        share = sum(getattr(r, f"{part}_kwh") for r in runs) / sum(r.total_kwh or 0 for r in runs)
        found.append(
            Power(part=part, watts=statistics.fmean(watts), spread=spread, constant=spread < STEADY, share=share)
        )
    return found


def metering(study: Study) -> Metering:
    """The windows, the temperatures and the idle power."""
    windows = [r.window_s for r in study.runs if r.window_s]
    outside = [1 - r.loop_s / r.window_s for r in study.runs if r.window_s and r.loop_s]
    idle = [r.idle_claimed_kwh / r.raw_claimed_kwh for r in study.runs if r.raw_claimed_kwh and r.idle_claimed_kwh]
    warm = [r.temperature_c for r in study.runs if r.temperature_c is not None]
    sessions = study.hardware.get("efficiency_sessions", {})
    return Metering(
        runs=len(windows),
        window_s=_ends(windows),
        short_windows=sum(w < 30 for w in windows),
        outside_loop=(statistics.median(outside), max(outside)) if outside else None,
        idle_share=statistics.median(idle) if idle else None,
        temperature_c=_ends(warm),
        idle_temperature_c=_known(sessions, "idle_gpu_temperature_c"),
        idle_watts_recorded=_known(sessions, "idle_power_claimed_w_recorded"),
        idle_watts_applied=_known(sessions, "idle_power_claimed_w_applied_in_runs"),
    )


def left_out(study: Study) -> list[LeftOut]:
    """Every cell whose published mean lacks a run."""
    found = []
    for (model, workload), widths in study.cells().items():
        for width, runs in widths.items():
            kept = [r for r in runs if r.kept]
            made = len(runs) if study.raw else runs[0].runs_made
            taken = len(kept) if study.raw else runs[0].runs_kept
            if taken < made:
                found.append(
                    LeftOut(
                        model=model,
                        workload=workload,
                        width=width,
                        made=made,
                        kept=taken,
                        kept_joules_per_token=_mean(kept),
                        all_joules_per_token=_mean(runs) if study.raw else None,
                    )
                )
    return found


def _mean(runs: Sequence[Run]) -> float | None:
    return statistics.fmean(r.joules_per_token for r in runs) if runs else None


def _ends(values: Sequence[float]) -> tuple[float, float] | None:
    return (min(values), max(values)) if values else None


def _known(sessions: dict[str, dict[str, float | None]], key: str) -> dict[str, float]:
    return {model: value for model, session in sessions.items() if (value := session.get(key)) is not None}
