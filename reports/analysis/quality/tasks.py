"""The quality tasks of a run: scores, the share that each width keeps, fragile tasks, and the cost of the tasks."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Literal

from base.records import Record
from reports.analysis.quality.cost import SuiteCost, suite_cost
from reports.runs.records.configuration import ConfigurationInfo
from reports.runs.records.quality import EvaluationSettings, TaskResult
from reports.statistics.correlation import Correlation, correlate_all
from reports.statistics.ratios import Comparison, Interval
from reports.statistics.retention import Kept, average, kept, kept_more, slope

ROBUST = 0.01  # a task is robust if it loses less than this share of its score for a tenth of the width, with its whole interval
Group = Literal["fragile", "robust", "undecided"]


class TaskScore(Record):
    """One task on one configuration."""

    value: float | None
    standard_error: float | None = None
    kept: Comparison | None = None  # share of the baseline's score; None for the baseline itself
    reason: str | None = None  # why there is no value, or no comparison
    joules_per_correct: float | None = None  # energy of the task per right answer; None for a perplexity
    joules_per_correct_uncertainty: float | None = None  # half-width of a 95 % interval, of the meters
    joules_reason: str | None = None
    modelled_joules_per_correct: float | None = None


class TaskFigures(Record):
    """One task over all configurations. `loss` is the share of the baseline's score lost for each tenth of the width cut."""

    task: str
    metric: str
    higher_is_better: bool
    version: str | None
    shots: int | None
    items: int
    chance: float | None = None  # the score of guessing; None: unknown, or a perplexity
    scores: dict[str, TaskScore]  # by label
    loss: float | None = None
    loss_low: float | None = None
    loss_high: float | None = None
    loss_reason: str | None = None
    group: Group = "undecided"


class QualityFigures(Record):
    """All quality tasks of a run. `overall` is the mean share kept, over the tasks that every configuration finished."""

    settings: EvaluationSettings | None
    tasks: list[TaskFigures]
    overall: dict[str, Comparison]  # by label, without the baseline
    overall_tasks: list[str]
    fragile: dict[str, Comparison]  # the same over the fragile tasks, where no gain elsewhere can hide a loss
    fragile_tasks: list[str]
    # label -> other label: by how much more of the baseline's scores it keeps than the other, the mean over `overall_tasks`, of which
    # there are n. Of each two only one way round.
    kept_more: dict[str, dict[str, Interval]] = {}
    costs: dict[str, SuiteCost]
    reused: int = 0  # results that an earlier run got
    correlations: dict[str, Correlation]  # "piqa ~ expansion ratio"


def analyse_quality(
    results: Mapping[str, Sequence[TaskResult]],
    configurations: Sequence[ConfigurationInfo],
    baseline: str,
    columns: Mapping[str, Sequence[float | None]],
    margin: float,
) -> QualityFigures | None:
    """Figures of every task that any configuration was given; None without tasks.

    `columns` are further figures of the configurations, in their order, to correlate with the scores.
    """
    labels = [c.label for c in configurations]
    by_task: dict[str, dict[str, TaskResult]] = {}
    for label in labels:
        for result in results.get(label, ()):
            by_task.setdefault(result.task, {})[label] = result
    if not by_task:
        return None
    of_baseline = next((c.width for c in configurations if c.label == baseline), None)
    shares = {task: _shares(own, baseline) for task, own in by_task.items()}
    widths: dict[str, float] | str = "the baseline was not started"
    if baseline in labels and not all(c.pruned_alone and c.width for c in configurations):
        widths = "configurations differ in more than the width, so that there is no line through all of them"
    elif of_baseline:
        widths = {c.label: (c.width or 0) / of_baseline for c in configurations}
        if len(set(widths.values())) < len(widths):
            widths = "several configurations have one width, so that there is no line through all of them"
    tasks = [_task(own, shares[task], labels, widths, margin) for task, own in by_task.items()]
    pruned = [label for label in labels if label != baseline]
    whole = [t for t in by_task if pruned and all(isinstance(shares[t].get(label), Kept) for label in pruned)]
    fragile = [t.task for t in tasks if t.group == "fragile" and t.task in whole]
    return QualityFigures(
        settings=next(r.settings for own in by_task.values() for r in own.values()),
        tasks=tasks,
        overall=_averages(whole, pruned, shares, margin),
        overall_tasks=whole,
        kept_more=_kept_more([by_task[t] for t in whole], labels, baseline),
        fragile=_averages(fragile, pruned, shares, margin),
        fragile_tasks=fragile,
        reused=sum(r.reused for own in by_task.values() for r in own.values()),
        costs={label: suite_cost(results.get(label, ())) for label in labels if results.get(label)},
        correlations=_correlations(tasks, labels, configurations, columns),
    )


def _averages(
    tasks: Sequence[str], labels: Sequence[str], shares: Mapping[str, Mapping[str, Kept | str]], margin: float
) -> dict[str, Comparison]:
    if not tasks:
        return {}
    kept_by = {label: [one for t in tasks if isinstance(one := shares[t][label], Kept)] for label in labels}
    return {label: average(known).comparison(margin) for label, known in kept_by.items()}


def _kept_more(
    tasks: Sequence[Mapping[str, TaskResult]], labels: Sequence[str], baseline: str
) -> dict[str, dict[str, Interval]]:
    found: dict[str, dict[str, Interval]] = {}
    for own, other in itertools.combinations(labels, 2):
        gaps = [kept_more(task[own], task[other], task[baseline]) for task in tasks]
        known = [gap for gap in gaps if isinstance(gap, Kept)]
        if known and len(known) == len(gaps):
            mean = average(known) if len(known) > 1 else known[0]
            low, high = mean.interval() or (None, None)
            found.setdefault(own, {})[other] = Interval(mean=mean.share, low=low, high=high, n=len(known))
    return found


def _shares(own: Mapping[str, TaskResult], baseline: str) -> dict[str, Kept | str]:
    reference = own.get(baseline)
    found: dict[str, Kept | str] = {}
    for label, result in own.items():
        if label == baseline or not result.scores:
            continue
        found[label] = kept(result, reference) if reference and reference.scores else "the baseline has no score"
    return found


def _task(
    own: Mapping[str, TaskResult],
    shares: Mapping[str, Kept | str],
    labels: Sequence[str],
    widths: Mapping[str, float] | str,
    margin: float,
) -> TaskFigures:
    """`widths` are relative to the baseline's, or why there is no line through them."""
    shown = next((r for r in own.values() if r.scores), next(iter(own.values())))
    first = shown.scores[0] if shown.scores else None
    line: Kept | str
    if isinstance(widths, str):
        line = widths
    else:
        line = slope([(widths[label], one) for label, one in shares.items() if isinstance(one, Kept)])
    ends = line.interval() if isinstance(line, Kept) else None
    low, high = (ends[0] / 10, ends[1] / 10) if ends else (None, None)
    return TaskFigures(
        task=shown.task,
        metric=first.metric if first else "",
        higher_is_better=first.higher_is_better if first else True,
        version=shown.version,
        shots=shown.shots,
        items=shown.items,
        chance=shown.chance,
        scores={label: _score(own.get(label), shares.get(label), margin) for label in labels},
        loss=line.share / 10 if isinstance(line, Kept) else None,
        loss_low=low,
        loss_high=high,
        loss_reason=line if isinstance(line, str) else None,
        group=_group(low, high),
    )


def _group(low: float | None, high: float | None) -> Group:
    if low is None or high is None:
        return "undecided"
    return "robust" if high < ROBUST else "fragile" if low > 0 else "undecided"


def _score(result: TaskResult | None, share: Kept | str | None, margin: float) -> TaskScore:
    if result is None:
        return TaskScore(value=None, reason="it was not asked")
    if not result.scores:
        return TaskScore(value=None, reason=result.reason)
    first, energy = result.scores[0], result.energy
    right = math.fsum(result.values) if result.statistic == "mean" else 0.0
    joules = energy.gross_joules if energy else None
    uncertainty = energy.gross_joules_uncertainty if energy else None
    modelled = energy.modelled_joules if energy else None
    return TaskScore(
        value=first.value,
        standard_error=first.standard_error,
        kept=share.comparison(margin) if isinstance(share, Kept) else None,
        reason=share if isinstance(share, str) else None,
        joules_per_correct=joules / right if joules is not None and right > 0 else None,
        joules_per_correct_uncertainty=uncertainty / right
        if joules and uncertainty is not None and right > 0
        else None,
        joules_reason=_why_no_joules(result, right),
        modelled_joules_per_correct=modelled / right if modelled is not None and right > 0 else None,
    )


def _why_no_joules(result: TaskResult, right: float) -> str | None:
    if result.statistic != "mean":
        return "it has no right answers to count"
    if right <= 0:
        return "no answer is right"
    if result.energy is None or result.energy.gross_joules is None:
        return (result.energy and result.energy.reason) or "energy was not metered"
    return None


def _correlations(
    tasks: Sequence[TaskFigures],
    labels: Sequence[str],
    configurations: Sequence[ConfigurationInfo],
    further: Mapping[str, Sequence[float | None]],
) -> dict[str, Correlation]:
    """Correlate every pair of tasks, and every task with each further column, over the configurations; corrected together."""
    scores: dict[str, Sequence[float | None]] = {t.task: [t.scores[label].value for label in labels] for t in tasks}
    others: dict[str, Sequence[float | None]] = {
        "expansion ratio": [c.expansion_ratio for c in configurations],
        **further,
    }
    names = list(scores)
    pairs = [(a, b) for i, a in enumerate(names) for b in [*others, *names[i + 1 :]]]
    return {f"{a} ~ {b}": found for (a, b), found in correlate_all({**others, **scores}, pairs).items()}
