"""Validity of a run: whether its configurations were served alike, and with large enough batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from reports.checks.concurrency import concurrency_missed
from reports.checks.rules import Finding, Located, run_rule
from reports.runs.reading import MeasuredRun
from reports.runs.records.configuration import ConfigurationInfo

# A narrower model leaves more memory for the cache. A cache that is too small shows as preempted-requests.
_SPECULATIVE = {"speculative", "speculative_config"}  # treatments
FREE_TO_DIFFER = {"num_gpu_blocks"}
SIZES_DIFFER = 0.01  # of the tokens that two tokenizers make of the same prompts


@run_rule(position=40)
def engine_differs(run: MeasuredRun) -> Iterator[Located]:
    """A configuration and the baseline were served with different engines, versions, data types or options, which nobody
    asked for.

    Limits: Fails if any of these differs from the baseline's and is no part of the configuration's treatment; no data
    until the servers of both have reported them.

    Remedy: Serve all configurations with the same settings, or ask for the difference in the configuration's own;
    otherwise a ratio shows more than its treatment.
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
    meant = {key.removeprefix("options.") for key in own.treatment}
    meant |= {"data type"} if "options.dtype" in own.treatment else set()
    meant |= {"engine", "version", *options} if _another_engine(own) else set()
    differing = {key: f"{key} is {one}, not {other}" for key, (one, other) in known.items() if one != other}
    unmeant = [words for key, words in differing.items() if key not in meant]
    if unmeant:
        return Finding("fail", "; ".join(unmeant))
    if unknown:
        return Finding("no data", f"not reported by both servers: {', '.join(unknown)}")
    if not own.pruned_alone:
        return Finding("pass", f"no difference but what was asked for: {'; '.join(own.treatment.values())}")
    return Finding("pass", "served as the baseline was")


def _another_engine(own: ConfigurationInfo) -> bool:
    """Whether the treatment is another engine or server, with versions and options of its own."""
    return not {"engine", "server"}.isdisjoint(own.treatment)


@run_rule(position=50)
def resolved_options_differ(run: MeasuredRun) -> Iterator[Located]:
    """The engine resolved its options differently than for the baseline, defaults included: data type, batch size,
    caches, attention backend.

    Limits: Fails if any resolved option differs that the configuration's treatment does not name, except the number of
    cache blocks, which grows as weights shrink, and the quantization that another checkpoint has; no data if a server
    does not report them, or another engine was asked for.

    Remedy: Set the option in serve.options, so that it is the same for all, or in the configuration's own options if
    the difference is meant.
    """
    return _beside_baseline(
        run,
        _compared_options,
    )


def _compared_options(configuration: ConfigurationInfo, of_baseline: ConfigurationInfo) -> Finding:
    own, baseline = configuration.resolved_options, of_baseline.resolved_options
    if not own or not baseline:
        return Finding("no data", "a server does not report them, or the run is older than this record")
    if _another_engine(configuration) and configuration.engine != of_baseline.engine:
        return Finding(
            "no data", f"{configuration.engine} has other options than {of_baseline.engine}, and was asked for"
        )
    unlike = [
        (key, f"{key} is {own.get(key)}, not {baseline.get(key)}")
        for key in baseline | own
        if own.get(key) != baseline.get(key)
    ]
    asked = {key.removeprefix("options.") for key in configuration.treatment}
    asked |= {"speculative_method"} if asked & _SPECULATIVE else set()
    asked |= {"quantization"} if "checkpoint" in asked else set()  # which another checkpoint brings with it
    differing = [words for key, words in unlike if key not in FREE_TO_DIFFER | asked]
    if differing:
        return Finding("fail", "; ".join(differing))
    apart = f", though {'; '.join(words for _, words in unlike)}" if unlike else ""
    return Finding("pass", f"{len(baseline)} options as the baseline's{apart}")


@run_rule(position=55)
def model_changed(run: MeasuredRun) -> Iterator[Located]:
    """A server answered the same prompt with other tokens, or served another model, than before its first trials: it was
    changed during the run.

    Limits: Fails if the model's name or its greedy answer to one prompt differs from that before the configuration's
    first trials; no data until it was asked twice.

    Remedy: Find out what was deployed meanwhile, and measure again; greedy answers that change by themselves mean that
    the server is not deterministic.
    """
    for configuration in run.configurations:
        (first, *later) = sorted(configuration.answers.items()) or [(0, "")]
        if not later:
            yield Located(Finding("no data", "its server was not asked in two blocks"), configuration.label)
            continue
        others = [(block, answer) for block, answer in later if answer != first[1]]
        for block, answer in others:
            words = f"before this block it was {answer}; before block {first[0] + 1} it was {first[1]}"
            yield Located(Finding("fail", words), configuration.label, block=block)
        if not others:
            yield Located(Finding("pass", f"{first[1]}, in {1 + len(later)} blocks"), configuration.label)


@run_rule(position=56)
def draft_changes_answers(run: MeasuredRun) -> Iterator[Located]:
    """Speculative decoding changed a greedy answer, which it must not: a draft proposes tokens, and only those that the model
    would have written are to be accepted.

    Limits: Fails if the greedy answer to one prompt is another than the baseline's, of a configuration whose only
    treatment is speculative decoding; no data for any other treatment.

    Remedy: Report it to the engine's project; in 16 bits two nearly equal tokens may change places, so try float32.
    """
    baseline = next((c for c in run.configurations if c.label == run.info.baseline), None)
    for own in run.configurations:
        if not {key.removeprefix("options.") for key in own.treatment} & _SPECULATIVE:
            continue
        answers = [_first_answer(one) for one in (own, baseline)]
        if baseline is None or len(own.treatment) > 1 or None in answers:
            yield Located(Finding("no data", "it differs in more than its draft, or was not asked"), own.label)
        elif answers[0] == answers[1]:
            yield Located(Finding("pass", f"{answers[0]}, as without"), own.label)
        else:
            yield Located(Finding("fail", f"{answers[0]}, and without {answers[1]}"), own.label)


def _first_answer(info: ConfigurationInfo | None) -> str | None:
    """Its text, without the name of the model."""
    answers = sorted(info.answers.items()) if info is not None else []
    return answers[0][1].partition(": ")[2] if answers else None


@run_rule(position=57, spoils="tokens")
def tokenizers_differ(run: MeasuredRun) -> Iterator[Located]:
    """The configuration has another tokenizer than the baseline: a token is another piece of text, and figures per token
    compare tokens of different sizes.

    Limits: Warns if the tokenizers differ; fails if one makes over 1 % more tokens of the same prompts than the other. A
    tokenizer that is not known is judged by these counts alone. No data without either.

    Remedy: Read time and joules per character, as the advice does, or per request with outputs that say the same
    (natural_stop), and not per token.
    """
    baseline = next((c for c in run.configurations if c.label == run.info.baseline), None)
    for own in run.configurations:
        if baseline is not None and own is not baseline:
            yield Located(_compared_tokenizers(run, own, baseline), own.label)


def _compared_tokenizers(run: MeasuredRun, own: ConfigurationInfo, baseline: ConfigurationInfo) -> Finding:
    pair = (own.tokenizer_sha256, baseline.tokenizer_sha256)
    if None not in pair and pair[0] == pair[1]:
        return Finding("pass", "the baseline's tokenizer")
    known = "another tokenizer" if None not in pair else "a tokenizer that is not known"
    counts = [_prompt_tokens(run, one.label) for one in (own, baseline)]
    if not counts[0] or not counts[1]:
        return Finding("no data" if None in pair else "warn", f"{known}, and no prompts that both got as text")
    words = f"{known}: of the same prompts it makes {counts[0]:.1f} tokens on average, the baseline {counts[1]:.1f}"
    if abs(counts[0] / counts[1] - 1) > SIZES_DIFFER:
        return Finding("fail", words)
    return Finding("warn" if None not in pair else "pass", words)


def _prompt_tokens(run: MeasuredRun, label: str) -> float | None:
    """The mean of prompts that were sent as text, by the server's count; None if there is none."""
    own = [
        t
        for t in run.trials
        if t.cell.label == label and all(one.prompts or one.prompt_as != "ids" for one in t.trial.workload.alone)
    ]
    counts = [t.metrics.prompt_tokens[t.metrics.completed] for t in own]
    found = np.concatenate(counts) if counts else np.array([])
    return float(found.mean()) if len(found) and np.isfinite(found).all() else None


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
