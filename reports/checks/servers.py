"""Validity of a run: whether its configurations were served alike, and as many requests at once as were asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from reports.checks.concurrency import concurrency_missed
from reports.checks.rules import Finding, Located, run_rule
from reports.runs.reading import MeasuredRun
from reports.runs.records import ConfigurationInfo

# A narrower model leaves more memory to the cache. Too small a cache shows as preempted-requests.
FREE_TO_DIFFER = {"num_gpu_blocks"}


@run_rule(
    position=40,
    meaning="A configuration was served with another engine, version, data type or options than the baseline.",
    limits="Fails if any of these is not as the baseline's; no data while the server of one of the two has not reported them.",
    remedy="Serve all configurations alike; otherwise a ratio is not that of width alone.",
)
def engine_differs(run: MeasuredRun) -> Iterator[Located]:
    """Each configuration's engine and options, against the baseline's."""
    return _beside_baseline(run, _compared_engines)


def _beside_baseline(
    run: MeasuredRun, compared: Callable[[ConfigurationInfo, ConfigurationInfo], Finding]
) -> Iterator[Located]:
    """A finding for every other configuration; none where the baseline was never described."""
    baseline = next((c for c in run.configurations if c.label == run.info.baseline), None)
    if baseline is not None:
        others = (c for c in run.configurations if c is not baseline)
        yield from (Located(compared(own, baseline), own.label) for own in others)


def _compared_engines(own: ConfigurationInfo, baseline: ConfigurationInfo) -> Finding:
    """Options are known from the start, the rest once a server has answered; some servers never report it."""
    reported = {
        "engine": (own.engine, baseline.engine),
        "version": (own.engine_version, baseline.engine_version),
        "data type": (own.dtype, baseline.dtype),
    }
    unknown = [key for key, pair in reported.items() if None in pair]
    if "version" in unknown:  # until then the engine is what was asked for, perhaps "auto"
        unknown = list(reported)
    options = {
        key: (own.engine_options.get(key), baseline.engine_options.get(key))
        for key in baseline.engine_options | own.engine_options
    }
    known = {key: pair for key, pair in reported.items() if key not in unknown} | options
    differing = [f"{key} is {one}, not {other}" for key, (one, other) in known.items() if one != other]
    if differing:
        return Finding("fail", "; ".join(differing))
    if unknown:
        return Finding("no data", f"not reported by both servers: {', '.join(unknown)}")
    return Finding("pass", "served as the baseline was")


@run_rule(
    position=50,
    meaning="What the engine made of its options, defaults included, is not what it made of the baseline's: data type, batch size, caches, attention backend.",
    limits="Fails if any option as resolved differs, but for the number of cache blocks, which grows as weights shrink; no data where a server does not report them.",
    remedy="Name the option in serve.options, so that it is the same for all.",
)
def resolved_options_differ(run: MeasuredRun) -> Iterator[Located]:
    """What each engine reported, against the baseline's."""
    return _beside_baseline(
        run,
        lambda own, baseline: _compared_options(own.resolved_options, baseline.resolved_options),
    )


def _compared_options(own: dict[str, str] | None, baseline: dict[str, str] | None) -> Finding:
    if not own or not baseline:
        return Finding("no data", "a server of the two does not report them, or the run was recorded before they were")
    unlike = [
        (key, f"{key} is {own.get(key)}, not {baseline.get(key)}")
        for key in baseline | own
        if own.get(key) != baseline.get(key)
    ]
    differing = [words for key, words in unlike if key not in FREE_TO_DIFFER]
    if differing:
        return Finding("fail", "; ".join(differing))
    apart = f", though {'; '.join(words for _, words in unlike)}" if unlike else ""
    return Finding("pass", f"{len(baseline)} options as the baseline's{apart}")


@concurrency_missed.in_run
def _slots(run: MeasuredRun) -> Iterator[Located]:
    """Requests that the engine can take at once, against those that a workload has in flight."""
    workloads = {t.cell.workload: t.trial.workload for t in run.trials}
    for configuration in run.configurations:
        slots = _most_at_once(configuration.resolved_options or {})
        for name, workload in workloads.items():
            together = workload.group_size or workload.streams
            if slots is None or together is None or not run.by_block(configuration.label, name):
                continue
            words = f"the engine takes {slots:,} at once, {together:,} are in flight"
            yield Located(Finding("warn" if slots < together else "pass", words), configuration.label, name)


def _most_at_once(options: dict[str, str]) -> int | None:
    """max_num_seqs of every replica together; None if the engine reports none."""
    slots, replicas = options.get("max_num_seqs", ""), options.get("data_parallel_size", "1")
    return int(slots) * int(replicas) if slots.isdecimal() and replicas.isdecimal() else None
