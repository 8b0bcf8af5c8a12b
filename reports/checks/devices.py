"""The state of the metered GPUs: within each trial, and whether it was the same for a configuration and for the baseline."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from base.figures import percent
from energy.records import Conditions, WindowEnergy
from loadgen.metrics.metrics import TrialMetrics
from loadgen.records.schema import Trial
from reports.checks.rules import SEVERITY, Finding, Located, Outcome, graded, run_rule, trial_rule
from reports.runs.reading import MeasuredRun
from reports.runs.records.configuration import ConfigurationInfo

DRIFT_C = 3.0
THROTTLING_BY_CHOICE = {"power-cap"}  # the board's own limit; every other reason is a fault
CLOCKS_DIFFER = 0.02
LIMITS_DIFFER_W = 1.0
IDLE_DIFFERS_C = 3.0
_ASKED = {"power_limit_w", "clock_mhz"}  # treatments that change them


@trial_rule(position=270)
def throttled(trial: Trial, _metrics: TrialMetrics) -> Finding:
    """The GPU throttled during the window, by power cap, heat or power brake.

    Limits: Warns on a power cap, fails on any other cause.

    Remedy: Lock clocks below the limit, or improve cooling. A power cap that limits all configurations is part of the
    machine.
    """
    seen = [c.throttle_reasons for c in trial.energy.conditions if c.throttle_reasons is not None]
    if not seen:
        return Finding("no data", "throttling was not recorded")
    reasons = sorted({reason for each in seen for reason in each})
    if not reasons:
        return Finding("pass", f"no throttling in {len(seen):,} samples")
    share = sum(map(bool, seen)) / len(seen)
    outcome: Outcome = "warn" if set(reasons) <= THROTTLING_BY_CHOICE else "fail"
    return Finding(outcome, f"{', '.join(reasons)} in {percent(share)} of the samples")


@trial_rule(position=280, spoils=None)
def thermal_drift(trial: Trial, _metrics: TrialMetrics) -> Finding:
    """The GPU's temperature changed by more than 3 °C over the window, and its leakage power with it.

    Limits: Warns if the means of the window's first and last quarter differ by more than 3 °C.

    Remedy: Warm up longer, and raise protocol.cooldown_s.
    """
    by_device: dict[str, list[Conditions]] = {}
    for condition in trial.energy.conditions:
        if condition.temperature_c is not None:
            by_device.setdefault(condition.device, []).append(condition)
    drifts = {
        device: _drift([c.temperature_c or 0 for c in seen]) for device, seen in by_device.items() if len(seen) >= 4
    }
    if not drifts:
        return Finding("no data", "temperatures were not recorded")
    device = max(drifts, key=lambda d: abs(drifts[d]))
    return Finding(graded(abs(drifts[device]), DRIFT_C, None), f"{device}: {drifts[device]:+.1f} °C over the window")


@trial_rule(position=290)
def gpu_shared(trial: Trial, _metrics: TrialMetrics) -> Finding:
    """Another process used the GPU during the window: its joules are in the sum, and it slows the engine down.

    Limits: Fails if any sample lists a process that is not the engine's. No data if the engine is not listed, as in a
    container without the host's process ids; processes outside such a container are never seen.

    Remedy: Stop it, or measure on a dedicated GPU; give a container the host's process ids (`--pid=host`).
    """
    seen = [c for c in trial.energy.conditions if c.other_processes is not None]
    if not seen:
        return Finding("no data", "the engine's own processes on the GPU are unknown")
    shared = [c for c in seen if c.other_processes]
    if not shared:
        return Finding("pass", f"the engine was alone in {len(seen):,} samples")
    ids = ", ".join(str(pid) for pid in sorted({pid for c in shared for pid in c.other_processes or []}))
    return Finding("fail", f"{shared[0].device}: process {ids} in {percent(len(shared) / len(seen))} of the samples")


def _drift(values: Sequence[int]) -> float:
    """Mean of the last quarter less the mean of the first; at least four values."""
    quarter = len(values) // 4
    return float(np.mean(values[-quarter:]) - np.mean(values[:quarter]))


@run_rule(position=300)
def clocks_differ(run: MeasuredRun) -> Iterator[Located]:
    """The GPU's clocks or power limit differ from the baseline's in the same block, so the ratio includes their effect.

    Limits: Warns if the median SM or memory clock of a pair differs by more than 2 %; fails if the enforced power
    limits differ by more than 1 W, unless the treatment is a power limit or a clock: then it fails if the power limit
    is not the one that was asked for. No data unless both are recorded.

    Remedy: Lock clocks and the power limit for the whole run (`nvidia-smi -lgc`, `-pl`). The GPU may clock higher under
    a lighter load; that is then part of the configuration's gain.
    """
    for workload in run.info.workloads:
        baseline = run.by_block(run.info.baseline, workload)
        for configuration in run.configurations:
            own = run.by_block(configuration.label, workload)
            pairs = sorted(set(own) & set(baseline))
            if configuration.label == run.info.baseline or not pairs:
                continue
            found = [_compared(configuration, own[block].trial.energy, baseline[block].trial.energy) for block in pairs]
            worst = max(range(len(found)), key=lambda n: SEVERITY[found[n].outcome])
            seen = Finding(found[worst].outcome, f"block {pairs[worst] + 1}: {found[worst].reason}")
            yield Located(seen, configuration.label, workload)


def _compared(configuration: ConfigurationInfo, own: WindowEnergy, baseline: WindowEnergy) -> Finding:
    pairs = {
        "SM clock": (_median_clock(own, "sm_clock_mhz"), _median_clock(baseline, "sm_clock_mhz")),
        "memory clock": (_median_clock(own, "memory_clock_mhz"), _median_clock(baseline, "memory_clock_mhz")),
    }
    limits = _limits(own), _limits(baseline)
    words = [
        f"{key} {one:,.0f} MHz, the baseline {other:,.0f} MHz" for key, (one, other) in pairs.items() if one and other
    ]
    if all(limits):
        shown = [", ".join(f"{watts:g}" for watts in each) for each in limits]
        words.append(f"power limit {shown[0]} W, the baseline {shown[1]} W")
        if not _is_as_asked(configuration, *limits):
            return Finding("fail", "; ".join(words))
    if _ASKED & configuration.treatment.keys():
        return Finding("pass", f"{'; '.join(words) or 'the power limit or the clock differs'}, as was asked for")
    off = [abs(one / other - 1) for one, other in pairs.values() if one and other]
    if any(graded(each, CLOCKS_DIFFER, None) == "warn" for each in off):
        return Finding("warn", "; ".join(words))
    if not off or not all(limits):
        return Finding("no data", "; ".join(["clocks or power limits were not recorded", *words]))
    return Finding("pass", "; ".join(words))


def _is_as_asked(configuration: ConfigurationInfo, own: list[float], baseline: list[float]) -> bool:
    """Whether the limits are those that were asked for; without any that was, whether they are the baseline's."""
    if configuration.power_limit_w is not None:
        return all(abs(watts - configuration.power_limit_w) <= LIMITS_DIFFER_W for watts in own)
    if "power_limit_w" in configuration.treatment:  # the baseline's alone was asked for
        return True
    return len(own) == len(baseline) and bool(np.abs(np.subtract(own, baseline)).max() <= LIMITS_DIFFER_W)


def _median_clock(energy: WindowEnergy, name: str) -> float | None:
    clocks = [clock for c in energy.conditions if (clock := getattr(c, name)) is not None]
    return float(np.median(clocks)) if clocks else None


def _limits(energy: WindowEnergy) -> list[float]:
    """Every enforced limit of the window, lowest first; in older records, the limits when the meters were found. Empty: unknown."""
    limits = {(c.device, c.power_limit_watts) for c in energy.conditions if c.power_limit_watts is not None}
    if not limits:
        gpus = [part.info.gpu for part in energy.parts if part.info.gpu is not None]
        limits = {(gpu.uuid, gpu.power_limit_watts) for gpu in gpus if gpu.power_limit_watts is not None}
    return sorted(watts for _, watts in limits if watts is not None)


@run_rule(position=310, spoils=None)
def idle_temperature_differs(run: MeasuredRun) -> Iterator[Located]:
    """The idle GPU was warmer or cooler than for the baseline, and a warmer GPU draws more power for the same work.

    Limits: Warns if any GPU's mean temperatures in the two idle windows before the loads of the same block differ by
    more than 3 °C.

    Remedy: Raise protocol.cooldown_s, and keep the room temperature and the fans steady.
    """
    # If idle power was measured once per configuration: before its first trial and the baseline's.
    baseline = _before_loads(run, run.info.baseline)
    for configuration in run.configurations:
        if configuration.label == run.info.baseline:
            continue
        own = _before_loads(run, configuration.label)
        for block in sorted(own.keys() & baseline.keys(), key=lambda block: -1 if block is None else block):
            finding = _compared_temperatures(own[block], baseline[block])
            yield Located(finding, configuration.label, block=block)


def _before_loads(run: MeasuredRun, label: str) -> dict[int | None, dict[str, float]]:
    """Degrees Celsius by device, by block (None: measured once)."""
    if run.idles:
        return {idle.block: _temperatures(idle.before.whole) for idle in run.idles if idle.label == label}
    once = next((c.idle for c in run.configurations if c.label == label), None)
    return {None: _temperatures(once)}


def _compared_temperatures(own: dict[str, float], baseline: dict[str, float]) -> Finding:
    both = own.keys() & baseline.keys()
    if not both:
        return Finding("no data", "no GPU's idle temperature was recorded for both")
    device = max(both, key=lambda d: abs(own[d] - baseline[d]))
    words = f"{device}: {own[device]:.1f} °C idle, for the baseline {baseline[device]:.1f} °C"
    return Finding(graded(abs(own[device] - baseline[device]), IDLE_DIFFERS_C, None), words)


def _temperatures(idle: WindowEnergy | None) -> dict[str, float]:
    """Mean degrees Celsius by device."""
    by_device: dict[str, list[int]] = {}
    for condition in idle.conditions if idle else []:
        if condition.temperature_c is not None:
            by_device.setdefault(condition.device, []).append(condition.temperature_c)
    return {device: float(np.mean(seen)) for device, seen in by_device.items()}
