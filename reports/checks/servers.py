"""Validity of a run: whether its configurations were served alike, and with large enough batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from reports.checks.concurrency import concurrency_missed
from reports.checks.rules import Finding, Located, run_rule
from reports.runs.reading import MeasuredRun
from reports.runs.records import ConfigurationInfo

# A narrower model leaves more memory for the cache. A cache that is too small shows as preempted-requests.
FREE_TO_DIFFER = {"num_gpu_blocks"}


@run_rule(position=40)
def engine_differs(run: MeasuredRun) -> Iterator[Located]:
    """A configuration and the baseline were served with different engines, versions, data types or options.

    Limits: Fails if any of these differs from the baseline's; no data until the servers of both have reported them.

    Remedy: Serve all configurations with the same settings; otherwise a ratio shows more than the width.
    """
    return _beside_baseline(run, _compared_engines)


def _beside_baseline(
    run: MeasuredRun, compared: Callable[[ConfigurationInfo, ConfigurationInfo], Finding]
) -> Iterator[Located]:
    """Yield a finding for each other configuration; none if the baseline was never described."""
    baseline = next((c for c in run.configurations if c.label == run.info.baseline), None)
    if baseline is not None:
        others = (c for c in run.configurations if c is not baseline)
        yield from (Located(compared(own, baseline), own.label) for own in others)


def _compared_engines(own: ConfigurationInfo, baseline: ConfigurationInfo) -> Finding:
    """Options are known from the start, the rest after a server has answered; some servers never report it."""
    reported = {
        "engine": (own.engine, baseline.engine),
        "version": (own.engine_version, baseline.engine_version),
        "data type": (own.dtype, baseline.dtype),
    }
    unknown = [key for key, pair in reported.items() if None in pair]
    if "version" in unknown:  # until then the engine is the requested one, perhaps "auto"
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


@run_rule(position=50)
def resolved_options_differ(run: MeasuredRun) -> Iterator[Located]:
    """The engine resolved its options differently than for the baseline, defaults included: data type, batch size,
    caches, attention backend.

    Limits: Fails if any resolved option differs, except the number of cache blocks, which grows as weights shrink; no
    data if a server does not report them.

    Remedy: Set the option in serve.options, so that it is the same for all.
    """
    return _beside_baseline(
        run,
        lambda own, baseline: _compared_options(own.resolved_options, baseline.resolved_options),
    )


def _compared_options(own: dict[str, str] | None, baseline: dict[str, str] | None) -> Finding:
    if not own or not baseline:
        return Finding("no data", "a server does not report them, or the run is older than this record")
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
    """The engine's batch size, against the requests that a workload has in flight."""
    workloads = {t.cell.workload: t.trial.workload for t in run.trials}
    for configuration in run.configurations:
        slots = _most_at_once(configuration.resolved_options or {})
        for name, workload in workloads.items():
            together = workload.group_size or workload.streams
            if slots is None or together is None or not run.by_block(configuration.label, name):
                continue
            words = f"the engine's batch holds {slots:,} requests, {together:,} are in flight"
            yield Located(Finding("warn" if slots < together else "pass", words), configuration.label, name)


def _most_at_once(options: dict[str, str]) -> int | None:
    """max_num_seqs summed over replicas; None if the engine reports none."""
    slots, replicas = options.get("max_num_seqs", ""), options.get("data_parallel_size", "1")
    return int(slots) * int(replicas) if slots.isdecimal() and replicas.isdecimal() else None
