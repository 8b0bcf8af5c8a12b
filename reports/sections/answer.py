"""The head of a report: what to do, the evidence for it, and the checks that limit it."""

from __future__ import annotations

from dataclasses import replace

from base.figures import percent
from reports.analysis.family import PURPOSES
from reports.analysis.records import Analysis
from reports.checks.rules import SEVERITY, Outcome
from reports.decision.advice import advice
from reports.decision.answers import answers, progress
from reports.decision.quality_evidence import BEARABLE, LEAST_KEPT
from reports.decision.quality_price import quality_price
from reports.document.blocks import Answer, Answers, Block, Finding, Findings, Prose, Section, Tally
from reports.document.wording import SIMULATED_ALERT, sentence, times
from reports.sections.plots.advised import advised_plot


def answer_section(analysis: Analysis) -> Section:
    """The first screen: the question, an answer in one sentence for each purpose with its picture, the price, and the checks."""
    unfinished = progress(analysis)
    alerts = [*[SIMULATED_ALERT] * analysis.simulated, *[unfinished] * bool(unfinished)]
    blocks: list[Block] = [Prose(text, "alert") for text in alerts if text]
    plots = {f"For {purpose}": advised_plot(analysis, purpose) for purpose in PURPOSES}
    first = [
        replace(answer, sentences=answer.sentences[:1], checks=None, plot=plots.get(answer.topic))
        for answer in advice(analysis) or answers(analysis)
    ]
    price = quality_price(analysis)
    blocks.append(Answers([*first, price] if price else first))
    blocks.append(Tally({outcome: _checks(analysis, outcome) for outcome in ("fail", "warn", "pass", "no data")}))
    return Section("answer", "Which configuration to serve?", blocks)


def evidence_section(analysis: Analysis) -> Section:
    """The whole advice for each purpose, and the rule behind it."""
    return Section("evidence", "Why", [Answers(_advice(analysis)), Prose(_rule(analysis), "fine")])


def _advice(analysis: Analysis) -> list[Answer]:
    """The advice and what concerns all of it; without advice, each workload's verdicts."""
    general = [answer for answer in answers(analysis) if answer.topic not in analysis.info.workloads]
    return [*advice(analysis), *general] or answers(analysis)


def _checks(analysis: Analysis, outcome: Outcome) -> list[str]:
    return [check.check for check in analysis.checks if check.outcome == outcome]


def _rule(analysis: Analysis) -> str:
    text = (
        "Ratios are to the baseline within the same block, averaged as logarithms. Better or worse: the whole interval lies more than "
        f"{percent(analysis.margin)} from 1; equivalent: the whole interval lies within that margin; otherwise undecided. A {analysis.noun} is "
        "recommended if it is better in time or joules and worse in neither, its perplexity is at most "
        f"{times(BEARABLE)} the baseline's, and no quality task is shown to keep less than {LEAST_KEPT} of its score."
    )
    compared = sum(one.comparison.verdict is not None for one in analysis.family)
    if compared:
        text += (
            f" The {compared} intervals behind this advice are simultaneous: all of them hold in 95 of 100 runs, which covers the choice "
            "of the best. A gain is given as its interval, since the best of several looks better than it is. "
            "Other intervals in this report are 95 % per cell, not corrected: about one in twenty misses its true value."
        )
    return text


def limits_section(analysis: Analysis) -> Section:
    """The checks that warn or fail, worst first; before them damaged trials, changes during the run and failed cells."""
    checks = sorted((c for c in analysis.checks if c.outcome in {"warn", "fail"}), key=lambda c: -SEVERITY[c.outcome])
    found = [*_damaged(analysis), *_changed(analysis), *_failed(analysis)]
    found += [Finding(c.outcome, c.check, sentence(c.summary), c.remedy) for c in checks]
    return Section("limits", "What limits it", [Findings(found) if found else Prose("No check warns or fails.")])


def _damaged(analysis: Analysis) -> list[Finding]:
    if not analysis.damaged:
        return []
    total = len(analysis.damaged) + len(analysis.trials)
    seen = f"{len(analysis.damaged)} of {total} are damaged on disk and left out of every figure; see Failures."
    return [Finding("fail", "damaged trials", seen, "Add --resume: each is set aside and measured again.")]


def _changed(analysis: Analysis) -> list[Finding]:
    if not analysis.info.accepted_changes:
        return []
    remedy = "Trials before and after a change are not comparable; rerun the experiment for consistent figures."
    return [Finding("warn", "changed while it ran", f"{'; '.join(analysis.info.accepted_changes)}.", remedy)]


def _failed(analysis: Analysis) -> list[Finding]:
    if not analysis.failures:
        return []
    return [Finding("fail", "failed cells", f"{len(analysis.failures)} could not be measured; see Failures.")]
