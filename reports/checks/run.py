"""Validity of a run: what every trial's rules found, and the rules that need more than one trial to decide."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from statistics import mean

import numpy as np

from energy.records import WindowEnergy
from reports.checks.devices import DEVICE_RULES
from reports.checks.rules import Finding, Located, Outcome
from reports.checks.servers import SERVED_RULES
from reports.checks.trial import find_in_trial
from reports.runs.reading import MeasuredRun, MeasuredTrial
from reports.runs.run_folder import ConfigurationInfo, Placement, gpus_of

ENOUGH_BLOCKS = 5
LENGTHS_DIFFER = 0.05
IDLE_DIFFERS = 0.10


def check_run(run: MeasuredRun) -> list[Located]:
    """Everything found in a run, passes included, in no particular order."""
    found = [
        Located(check, finding, t.cell.label, t.cell.workload, t.cell.block)
        for t in run.trials
        for check, finding in find_in_trial(t.trial, t.metrics).items()
    ]
    for rule in (
        _pairs,
        _natural_lengths,
        _widths,
        _idle_power,
        _unmetered,
        _shared_hosts,
        _hosts,
        *SERVED_RULES,
        *DEVICE_RULES,
    ):
        found += rule(run)
    return found


def _pairs(run: MeasuredRun) -> Iterator[Located]:
    """baseline-missing and too-few-repeats: which blocks have both a configuration and the baseline."""
    for workload in run.info.workloads:
        baseline = run.by_block(run.info.baseline, workload)
        for configuration in run.configurations:
            label = configuration.label
            own = run.by_block(label, workload)
            if not own or label == run.info.baseline:
                continue
            pairs, alone = sorted(set(own) & set(baseline)), sorted(set(own) - set(baseline))
            yield Located("baseline-missing", _paired(pairs, alone), label, workload)
            if pairs:
                few: Outcome = "fail" if len(pairs) < 2 else "warn" if len(pairs) < ENOUGH_BLOCKS else "pass"
                words = f"{len(pairs)} paired block{'s' * (len(pairs) != 1)}"
                yield Located("too-few-repeats", Finding(few, words), label, workload)


def _paired(pairs: list[int], alone: list[int]) -> Finding:
    if not pairs:
        return Finding("fail", f"none of {len(alone)} blocks has the baseline")
    if alone:
        return Finding("warn", f"no baseline in block {', '.join(str(b + 1) for b in alone)}")
    return Finding("pass", f"the baseline is in all {len(pairs)} blocks")


def _natural_lengths(run: MeasuredRun) -> Iterator[Located]:
    """output-length-differs where models stop by themselves: mean lengths against the baseline's."""
    natural = {t.cell.workload for t in run.trials if t.trial.workload.natural_stop}
    for workload in sorted(natural):
        baseline = _mean_length(run, run.info.baseline, workload)
        for configuration in run.configurations:
            length = _mean_length(run, configuration.label, workload)
            if not run.by_block(configuration.label, workload) or configuration.label == run.info.baseline:
                continue
            if length is None or not baseline:
                unknown = Finding("no data", "the tokens of one of the two were not counted")
                yield Located("output-length-differs", unknown, configuration.label, workload)
                continue
            finding = Finding(
                "warn" if abs(length / baseline - 1) > LENGTHS_DIFFER else "pass",
                f"{length:.1f} tokens a request on average, the baseline {baseline:.1f}",
            )
            yield Located("output-length-differs", finding, configuration.label, workload)


def _mean_length(run: MeasuredRun, label: str, workload: str) -> float | None:
    lengths = [t.metrics.output_tokens[t.metrics.completed] for t in run.by_block(label, workload).values()]
    written = np.concatenate(lengths) if lengths else np.array([])
    return float(np.nanmean(written)) if np.isfinite(written).any() else None


def _widths(run: MeasuredRun) -> Iterator[Located]:
    for configuration in run.configurations:
        width = configuration.width
        missed = next((m for m in (8, 64) if width % m), None)
        if missed is None:
            finding = Finding("pass", f"{width} is a multiple of 64")
        else:
            finding = Finding(
                "warn", f"{width} is not a multiple of {missed}; {round(width / 64) * 64 or 64} is one of 64"
            )
        yield Located("width-unaligned", finding, configuration.label)


def _idle_power(run: MeasuredRun) -> Iterator[Located]:
    """idle-drift: of each configuration between before and after its trials, and between configurations on one machine.

    Where idle power was measured around every visit, before and after are those of a visit, and configurations have their means.
    """
    for idle in run.idles:
        before, after = _idle_watts(idle.before.whole), _idle_watts(idle.after.whole if idle.after else None)
        if before and after is not None:
            words = f"{before:.1f} W idle before its load, {after:.1f} W after it"
            yield Located("idle-drift", Finding(_drifted(after, before), words), idle.label, block=idle.block)
    for c in [] if run.idles else run.configurations:
        before, after = _idle_watts(c.idle), _idle_watts(c.idle_again)
        if before and after is not None:
            words = f"{before:.1f} W idle, {after:.1f} W after its last trial"
            yield Located("idle-drift", Finding(_drifted(after, before), words), c.label)
    watts = {c.label: w for c in run.configurations if (w := _mean_idle_watts(run, c)) is not None}
    baseline = watts.get(run.info.baseline)
    if not baseline:
        return
    for label, own in watts.items():
        if label != run.info.baseline:
            words = f"{own:.1f} W idle, the baseline {baseline:.1f} W"
            yield Located("idle-drift", Finding(_drifted(own, baseline), words), label)


def _drifted(watts: float, reference: float) -> Outcome:
    return "warn" if abs(watts / reference - 1) > IDLE_DIFFERS else "pass"


def _mean_idle_watts(run: MeasuredRun, configuration: ConfigurationInfo) -> float | None:
    """Over all measurements around its visits, or what was measured once."""
    own = [idle for idle in run.idles if idle.label == configuration.label]
    found = [_idle_watts(window.whole) for idle in own for window in (idle.before, idle.after) if window]
    known = [watts for watts in found if watts is not None]
    return mean(known) if known else _idle_watts(configuration.idle)


def _idle_watts(idle: WindowEnergy | None) -> float | None:
    if idle is None or idle.gross_joules is None:
        return None
    return idle.gross_joules / ((idle.end_ns - idle.start_ns) / 1e9)


def _unmetered(run: MeasuredRun) -> Iterator[Located]:
    """energy-missing: an engine on several hosts, of whose GPUs its server reads those of its own host."""
    options = {c.label: c.engine_options for c in run.configurations}
    for trial in run.trials:
        metered = sum(part.info.domain == "gpu" for part in trial.trial.energy.parts)
        with contextlib.suppress(ValueError):
            gpus = gpus_of(options[trial.cell.label])
            if 0 < metered < gpus:
                seen = f"the engine takes {gpus} GPUs, and {metered} {'was' if metered == 1 else 'were'} metered"
                cell = trial.cell
                yield Located("energy-missing", Finding("fail", seen), cell.label, cell.workload, cell.block)


def _shared_hosts(run: MeasuredRun) -> Iterator[Located]:
    """host-shared: what else of the run was at work on the host of a trial."""
    for trial in run.trials:
        place, cell = trial.cell.placement, trial.cell
        if place is None:
            continue
        beside = ", ".join(place.beside)
        finding = Finding("warn", f"{beside} ran on {place.host} meanwhile") if beside else Finding("pass", "alone")
        yield Located("host-shared", finding, cell.label, cell.workload, cell.block)


def _hosts(run: MeasuredRun) -> Iterator[Located]:
    """hosts-differ: whether both trials of each pair, and the blocks among themselves, had the same or the like."""
    for workload in run.info.workloads:
        baseline = _placed(run.by_block(run.info.baseline, workload))
        for configuration in run.configurations:
            own = _placed(run.by_block(configuration.label, workload))
            if configuration.label != run.info.baseline and own:
                yield Located("hosts-differ", _compared(own, baseline), configuration.label, workload)


def _placed(trials: dict[int, MeasuredTrial]) -> dict[int, Placement]:
    return {block: t.cell.placement for block, t in trials.items() if t.cell.placement is not None}


def _compared(own: dict[int, Placement], baseline: dict[int, Placement]) -> Finding:
    pairs = {block: (own[block], baseline[block]) for block in sorted(set(own) & set(baseline))}
    unlike = [block for block, (one, other) in pairs.items() if one.kind != other.kind]
    apart = [b for b, (one, other) in pairs.items() if (one.boot_id, one.gpus) != (other.boot_id, other.gpus)]
    if unlike:
        one, other = pairs[unlike[0]]
        return Finding("fail", f"{_blocks(unlike)} on {one.kind}, and the baseline on {other.kind}")
    if apart:
        one, other = pairs[apart[0]]
        return Finding("warn", f"{_blocks(apart)} on {_device(one)}, and the baseline on {_device(other)}")
    if not pairs:
        return Finding("no data", "no block has both on a known host")
    kinds = sorted({place.kind for place in own.values()})
    if len(kinds) > 1:
        return Finding("warn", f"each pair on one host, but blocks on unlike ones: {'; '.join(kinds)}")
    return Finding("pass", f"{len(pairs)} pair{'s' * (len(pairs) != 1)}, each on one host and its same GPUs")


def _device(place: Placement) -> str:
    return ", ".join(place.gpus) or place.host


def _blocks(numbers: list[int]) -> str:
    return f"block{'s' * (len(numbers) != 1)} {', '.join(str(n + 1) for n in numbers)}"
