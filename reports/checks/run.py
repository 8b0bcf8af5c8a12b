"""Validity of a run: the rules that need more than one trial to decide."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from statistics import mean

import numpy as np

from energy.records import WindowEnergy
from reports.checks.energy import energy_missing, idle_drift
from reports.checks.rules import Finding, Located, Outcome, run_rule
from reports.checks.trial import output_length_differs
from reports.runs.reading import MeasuredRun, MeasuredTrial
from reports.runs.records.cells import Placement
from reports.runs.records.configuration import ConfigurationInfo, gpus_of

ENOUGH_BLOCKS = 5
LENGTHS_DIFFER = 0.05
IDLE_DIFFERS = 0.10


@run_rule(position=10, spoils=None)
def baseline_missing(run: MeasuredRun) -> Iterator[Located]:
    """A configuration is compared with the baseline of the same block. Without the baseline a block has no comparison.

    Limits: Warns if some blocks lack the baseline, fails if none has it.

    Remedy: Resume the run, or fix what made the baseline fail.
    """
    for label, workload, pairs, alone in _paired_blocks(run):
        yield Located(_paired(pairs, alone), label, workload)


@run_rule(position=80, spoils=None)
def too_few_repeats(run: MeasuredRun) -> Iterator[Located]:
    """Fewer than five blocks pair the configuration with the baseline: the interval is wide or missing.

    Limits: Warns below five paired blocks; fails below two, where there is no interval.

    Remedy: Resume the run, or raise protocol.blocks.
    """
    for label, workload, pairs, _ in _paired_blocks(run):
        if pairs:
            few: Outcome = "fail" if len(pairs) < 2 else "warn" if len(pairs) < ENOUGH_BLOCKS else "pass"
            words = f"{len(pairs)} paired block{'s' * (len(pairs) != 1)}"
            yield Located(Finding(few, words), label, workload)


def _paired_blocks(run: MeasuredRun) -> Iterator[tuple[str, str, list[int], list[int]]]:
    """Yield configuration, workload, its blocks with the baseline and its blocks without."""
    for workload in run.info.workloads:
        baseline = run.by_block(run.info.baseline, workload)
        for configuration in run.configurations:
            own = run.by_block(configuration.label, workload)
            if own and configuration.label != run.info.baseline:
                yield configuration.label, workload, sorted(set(own) & set(baseline)), sorted(set(own) - set(baseline))


def _paired(pairs: list[int], alone: list[int]) -> Finding:
    if not pairs:
        return Finding("fail", f"none of {len(alone)} blocks has the baseline")
    if alone:
        return Finding("warn", f"no baseline in block {', '.join(str(b + 1) for b in alone)}")
    return Finding("pass", f"the baseline is in all {len(pairs)} blocks")


@output_length_differs.in_run
def _natural_lengths(run: MeasuredRun) -> Iterator[Located]:
    """Natural stop: compare mean lengths with the baseline's."""
    natural = {t.cell.workload for t in run.trials if t.trial.workload.natural_stop}
    for workload in sorted(natural):
        baseline = _mean_length(run, run.info.baseline, workload)
        for configuration in run.configurations:
            length = _mean_length(run, configuration.label, workload)
            if not run.by_block(configuration.label, workload) or configuration.label == run.info.baseline:
                continue
            if length is None or not baseline:
                unknown = Finding("no data", "the tokens of the configuration or of the baseline were not counted")
                yield Located(unknown, configuration.label, workload)
                continue
            finding = Finding(
                "warn" if abs(length / baseline - 1) > LENGTHS_DIFFER else "pass",
                f"{length:.1f} tokens a request on average, the baseline {baseline:.1f}",
            )
            yield Located(finding, configuration.label, workload)


def _mean_length(run: MeasuredRun, label: str, workload: str) -> float | None:
    lengths = [t.metrics.output_tokens[t.metrics.completed] for t in run.by_block(label, workload).values()]
    written = np.concatenate(lengths) if lengths else np.array([])
    return float(np.nanmean(written)) if np.isfinite(written).any() else None


@run_rule(position=90, spoils=None)
def width_unaligned(run: MeasuredRun) -> Iterator[Located]:
    """The width is not a multiple of 64: GPU kernels pad it, and it may take more time and energy than an aligned width
    nearby.

    Limits: Warns unless the width is a multiple of 64.

    Remedy: Prune with multiple_of = 64 or 128, and compare both.
    """
    for configuration in run.configurations:
        width = configuration.width
        if width is None:
            yield Located(Finding("no data", "its width is not known"), configuration.label)
            continue
        missed = next((m for m in (8, 64) if width % m), None)
        if missed is None:
            finding = Finding("pass", f"{width} is a multiple of 64")
        else:
            finding = Finding(
                "warn", f"{width} is not a multiple of {missed}; {round(width / 64) * 64 or 64} is one of 64"
            )
        yield Located(finding, configuration.label)


@idle_drift.in_run
def _idle_power(run: MeasuredRun) -> Iterator[Located]:
    """Compare a configuration's idle power before and after its trials, and with the baseline's.

    If idle power was measured around every visit, before and after are of one visit, and a configuration has their mean.
    """
    for idle in run.idles:
        before, after = _idle_watts(idle.before.whole), _idle_watts(idle.after.whole if idle.after else None)
        if before and after is not None:
            words = f"{before:.1f} W idle before its load, {after:.1f} W after it"
            yield Located(Finding(_drifted(after, before), words), idle.label, block=idle.block)
    for c in [] if run.idles else run.configurations:
        before, after = _idle_watts(c.idle), _idle_watts(c.idle_again)
        if before and after is not None:
            words = f"{before:.1f} W idle, {after:.1f} W after its last trial"
            yield Located(Finding(_drifted(after, before), words), c.label)
    watts = {c.label: w for c in run.configurations if (w := _mean_idle_watts(run, c)) is not None}
    baseline = watts.get(run.info.baseline)
    if not baseline:
        return
    for label, own in watts.items():
        if label != run.info.baseline:
            words = f"{own:.1f} W idle, the baseline {baseline:.1f} W"
            yield Located(Finding(_drifted(own, baseline), words), label)


def _drifted(watts: float, reference: float) -> Outcome:
    return "warn" if abs(watts / reference - 1) > IDLE_DIFFERS else "pass"


def _mean_idle_watts(run: MeasuredRun, configuration: ConfigurationInfo) -> float | None:
    """The mean over all its visits, or the single measurement."""
    own = [idle for idle in run.idles if idle.label == configuration.label]
    found = [_idle_watts(window.whole) for idle in own for window in (idle.before, idle.after) if window]
    known = [watts for watts in found if watts is not None]
    return mean(known) if known else _idle_watts(configuration.idle)


def _idle_watts(idle: WindowEnergy | None) -> float | None:
    if idle is None or idle.gross_joules is None:
        return None
    return idle.gross_joules / ((idle.end_ns - idle.start_ns) / 1e9)


@energy_missing.in_run
def _unmetered(run: MeasuredRun) -> Iterator[Located]:
    """An engine on several hosts: its server reads only the GPUs of its own host."""
    options = {c.label: c.engine_options for c in run.configurations}
    for trial in run.trials:
        metered = sum(part.info.domain == "gpu" for part in trial.trial.energy.parts)
        with contextlib.suppress(ValueError):
            gpus = gpus_of(options[trial.cell.label])
            if 0 < metered < gpus:
                seen = f"the engine uses {gpus} GPUs, and {metered} {'was' if metered == 1 else 'were'} metered"
                cell = trial.cell
                yield Located(Finding("fail", seen), cell.label, cell.workload, cell.block)


@run_rule(position=60, spoils=None)
def host_shared(run: MeasuredRun) -> Iterator[Located]:
    """Another part of the same run used the host during the trial: both share processors, memory, power and heat.

    Limits: Warns if anything did. Only trials that a cluster placed.

    Remedy: Offer one slot per host (`ray start --num-gpus 1`), or check whether the trials that ran alone agree.
    """
    for trial in run.trials:
        place, cell = trial.cell.placement, trial.cell
        if place is None:
            continue
        beside = ", ".join(place.beside)
        finding = (
            Finding("warn", f"{beside} ran on {place.host} at the same time") if beside else Finding("pass", "alone")
        )
        yield Located(finding, cell.label, cell.workload, cell.block)


@run_rule(position=70)
def hosts_differ(run: MeasuredRun) -> Iterator[Located]:
    """A pair was measured on two GPUs or hosts, so its ratio includes their difference; or blocks were on different
    kinds of host, so medians mix them.

    Limits: Fails if a pair spans two kinds of host; warns if it spans two GPUs or hosts of one kind, or if blocks are
    on different kinds. Only trials that a cluster placed.

    Remedy: Delete the trials of the named blocks and run with --resume, which measures each pair again in one place.
    Let the cluster offer one kind of GPU.
    """
    for workload in run.info.workloads:
        baseline = _placed(run.by_block(run.info.baseline, workload))
        for configuration in run.configurations:
            own = _placed(run.by_block(configuration.label, workload))
            if configuration.label != run.info.baseline and own:
                yield Located(_compared(own, baseline), configuration.label, workload)


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
        return Finding("warn", f"each pair is on one host, but blocks are on different kinds: {'; '.join(kinds)}")
    return Finding("pass", f"{len(pairs)} pair{'s' * (len(pairs) != 1)}, each on one host and the same GPUs")


def _device(place: Placement) -> str:
    return ", ".join(place.gpus) or place.host


def _blocks(numbers: list[int]) -> str:
    return f"block{'s' * (len(numbers) != 1)} {', '.join(str(n + 1) for n in numbers)}"
