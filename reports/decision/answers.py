"""Each workload's verdicts on the widths in plain sentences, with their cost in quality."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from base.figures import percent
from reports.analysis.quantities import (
    CHARACTER_JOULES,
    CHARACTER_MS,
    JOULES,
    MODELLED_JOULES,
    OUTPUT_CHARACTERS_PER_S,
    OUTPUT_TOKENS_PER_S,
    QUANTITIES,
    TPOT,
)
from reports.analysis.records import Analysis, ConfigurationFigures
from reports.checks.rules import RULES
from reports.document.blocks import Answer
from reports.document.wording import listed, name, names, sentence, smallest_effect, times, with_interval
from reports.statistics.ratios import Comparison, Verdict

ONLY_BASELINE = "only the baseline was measured"


@dataclass(frozen=True)
class _Phrases:
    """The words for one quantity."""

    verb: str
    noun: str
    better: str
    worse: str


_PHRASES = {
    OUTPUT_TOKENS_PER_S: _Phrases("gives", "the tokens/s", "faster", "slower"),
    TPOT: _Phrases("takes", "the time per output token", "faster", "slower"),
    JOULES: _Phrases("takes", "the J/output token", "lower in joules", "higher in joules"),
    OUTPUT_CHARACTERS_PER_S: _Phrases("gives", "the characters/s", "faster", "slower"),
    CHARACTER_MS: _Phrases("takes", "the time per output character", "faster", "slower"),
    CHARACTER_JOULES: _Phrases("takes", "the J/output character", "lower in joules", "higher in joules"),
}


@dataclass(frozen=True)
class _Compared:
    configuration: ConfigurationFigures
    comparison: Comparison


def answers(analysis: Analysis) -> list[Answer]:
    """One answer a workload, then one on energy if no joules were measured."""
    found = [_workload_answer(analysis, workload) for workload in analysis.info.workloads]
    energy = _energy_absence(analysis)
    return [*found, Answer("Energy", energy)] if energy else found


def speed_quantity(analysis: Analysis, workload: str) -> str:
    """The quantity that shows speed. An open loop's throughput is the offered rate, so TPOT replaces it."""
    known = analysis.workloads.get(workload)
    return analysis.quantity(TPOT if known and known.open_loop else OUTPUT_TOKENS_PER_S)


def progress(analysis: Analysis) -> str | None:
    """A sentence for a run that is not complete."""
    info = analysis.info
    if info.status == "complete":
        return None
    after = f" after {analysis.stopped_after:%Y-%m-%d %H:%M} UTC" if analysis.stopped_after else ""
    resume = "" if info.status in {"prepared", "running"} else " Add --resume to continue it."
    failed = "".join(f"; {one}" for one in failed_configurations(analysis))
    return f"This run {info.state}{after}: {len(analysis.trials)} of {info.planned_trials} trials are finished{failed}.{resume}"


def failed_configurations(analysis: Analysis) -> list[str]:
    """Each configuration of which cells failed, in words: "int8 failed in all 16 of its cells"."""
    info, named = analysis.info, {c.info.label: name(c.info) for c in analysis.configurations}
    found = []
    for label, failed in Counter(one.label for one in analysis.failures).items():
        planned = len(info.workloads) * info.blocks_of(label)
        share = f"all {failed} of its cells" if failed >= planned else f"{failed} of its {planned} cells"
        found.append(f"{named.get(label, label)} failed in {share}")
    return found


def _workload_answer(analysis: Analysis, workload: str) -> Answer:
    sentences = [sentence(_verdicts(analysis, workload, speed_quantity(analysis, workload)))]
    if analysis.has_values(workload, JOULES):
        sentences.append(sentence(_verdicts(analysis, workload, analysis.quantity(JOULES))))
    failing = _failing_checks(analysis, workload)
    if failing:
        sentences.append(f"Note that {listed(failing)}.")
    return Answer(workload, sentences)


def _failing_checks(analysis: Analysis, workload: str) -> list[str]:
    """The checks that fail for this workload and spoil a verdict, with the number of trials."""
    measured = sum(trial.workload == workload for trial in analysis.trials)
    failing = []
    for check in analysis.checks:
        failed = [o for o in check.observations if o.outcome == "fail" and o.workload in {workload, None}]
        spoils = RULES[check.check].spoils
        if failed and spoils is not None and not (spoils == "tokens" and analysis.per_character):
            trials = sum(observation.trials for observation in failed)
            failing.append(f"{check.check} fails" + (f" in {trials} of {measured} trials" if trials else ""))
    return failing


def _verdicts(analysis: Analysis, workload: str, key: str) -> str:
    """The verdicts of one quantity: the best width, the mildest better one, then the others by verdict."""
    phrases = _PHRASES[key]
    compared, uncompared = _compare(analysis, workload, key)
    if not compared:
        reason = next((reason for reason in uncompared.values() if reason), ONLY_BASELINE)
        return f"no {analysis.noun} can be compared: {reason}"
    better, worse = _with_verdict(compared, "better"), _with_verdict(compared, "worse")
    equivalent, undecided = _with_verdict(compared, "equivalent"), _with_verdict(compared, "undecided")
    single = _with_verdict(compared, None)
    parts = []
    if better:
        parts += _best_and_mildest(better, phrases, analysis.cut)
    elif len(single) < len(compared):
        parts.append(f"no {analysis.noun} is shown to be {phrases.better} than the baseline")
    if worse:
        parts.append(f"{_names(worse)} {_is(worse)} {phrases.worse}")
    if equivalent:
        parts.append(f"{_names(equivalent)} {_is(equivalent)} equivalent to it within {percent(analysis.margin)}")
    if undecided:
        effect = max(c.comparison.smallest_effect or 1.0 for c in undecided)
        parts.append(f"{_names(undecided)} {_is(undecided)} undecided ({smallest_effect(effect)})")
    if single:
        parts.append(f"{_names(single)} {_has(single)} a single block and so no interval")
    if uncompared:
        parts.append(f"{listed(list(uncompared))} could not be compared")
    return "; ".join(parts)


def _best_and_mildest(better: list[_Compared], phrases: _Phrases, cut: str) -> list[str]:
    best = max(better, key=lambda c: c.comparison.distance)
    parts = [f"{name(best.configuration.info)} {_gain(best, phrases)}"]
    kept = [c for c in better if c.configuration.perplexity_ratio is not None]
    mildest = min(kept, key=lambda c: c.configuration.perplexity_ratio or 0.0, default=best)
    if mildest is not best:
        parts.append(
            f"the mildest {cut} that is {phrases.better}, {name(mildest.configuration.info)}, {_gain(mildest, phrases)}"
        )
    return parts


def _gain(compared: _Compared, phrases: _Phrases) -> str:
    ratio = compared.configuration.perplexity_ratio
    quality = f"at {times(ratio)} the perplexity" if ratio is not None else "(its quality was not compared)"
    return f"{phrases.verb} {with_interval(compared.comparison)} {phrases.noun} {quality}"


def _compare(analysis: Analysis, workload: str, key: str) -> tuple[list[_Compared], dict[str, str | None]]:
    """The pruned configurations with a ratio; the names of the others, each with its reason."""
    compared, uncompared = [], {}
    for configuration in analysis.configurations:
        if configuration.info.is_baseline:
            continue
        value = analysis.cell(configuration.info.label, workload).values[key]
        if value.comparison and value.comparison.ratio is not None:
            compared.append(_Compared(configuration, value.comparison))
        else:
            uncompared[name(configuration.info)] = value.why_missing
    return compared, uncompared


def _energy_absence(analysis: Analysis) -> list[str]:
    """Why there are no measured joules, and a note on modelled ones; empty if joules were measured."""
    if any(analysis.has_values(workload, JOULES) for workload in analysis.info.workloads):
        return []
    reasons = [c.values[JOULES].reason for c in analysis.cells if c.trials and c.values[JOULES].reason]
    sentences = [sentence(f"joules were not measured: {reasons[0]}")] if reasons else []
    if any(analysis.has_values(workload, MODELLED_JOULES) for workload in analysis.info.workloads):
        sentences.append(f"{QUANTITIES[MODELLED_JOULES].title} is an assumption and is reported separately.")
    return sentences


def _with_verdict(compared: list[_Compared], verdict: Verdict | None) -> list[_Compared]:
    return [c for c in compared if c.comparison.verdict == verdict]


def _names(compared: list[_Compared]) -> str:
    return names([c.configuration.info for c in compared])


def _is(compared: list[_Compared]) -> str:
    return "is" if len(compared) == 1 else "are"


def _has(compared: list[_Compared]) -> str:
    return "has" if len(compared) == 1 else "have"
