"""A table of groups of a load's requests, such as turns or parts, with the ratio of each to the baseline's same group."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from statistics import median
from typing import Any

from reports.analysis.records import Analysis, GroupFigures, TrialFigures
from reports.document.blocks import Entry, Row, Table, columns
from reports.document.wording import ABSENT, figure, or_absent, with_interval
from reports.statistics.ratios import compare

Groups = Callable[[TrialFigures], Mapping[Any, GroupFigures]]


def grouped_table(analysis: Analysis, workload: str, heading: str, groups: Groups) -> Table:
    """A row for each configuration and group; `heading` names the groups."""
    rows = []
    labels = [configuration.info.label for configuration in analysis.configurations]
    trials = {label: [t for t in analysis.trials if (t.label, t.workload) == (label, workload)] for label in labels}
    judged = any(each.good_share is not None for trial in analysis.trials for each in groups(trial).values())
    for label in labels:
        for group in dict.fromkeys(key for trial in trials[label] for key in groups(trial)):
            found = [groups(trial)[group] for trial in trials[label] if group in groups(trial)]
            own, base = (_ttft(trials[each], group, groups) for each in (label, analysis.info.baseline))
            ratio = (
                None
                if label == analysis.info.baseline
                else with_interval(compare(own, base, "lower", margin=analysis.margin, looks=analysis.info.looks))
            )
            entries = [
                label,
                f"{group}",
                or_absent(_median(each.prompt_tokens for each in found)),
                _percent(_median(each.cached_share for each in found)),
                or_absent(_median(each.ttft_ms for each in found)),
                ratio or ABSENT,
                or_absent(_median(each.tpot_ms for each in found)),
                *([_percent(_median(each.good_share for each in found))] if judged else []),
                or_absent(_median(each.joules for each in found)),
            ]
            rows.append(Row([Entry(text) for text in entries]))
    titles = ["Configuration", heading, "Prompt tokens", "From the cache", "TTFT, ms", "to the baseline's", "TPOT, ms"]
    return Table(workload, columns(*titles, *(["Met its objectives"] if judged else []), "J/request"), rows, {})


def _ttft(trials: Iterable[TrialFigures], group: Any, groups: Groups) -> dict[int, float]:
    return {
        trial.block: ttft
        for trial in trials
        if not trial.unfit and (own := groups(trial).get(group)) is not None and (ttft := own.ttft_ms) is not None
    }


def _percent(share: float | None) -> str:
    return ABSENT if share is None else f"{figure(100 * share)} %"


def _median(values: Iterable[float | None]) -> float | None:
    found = [value for value in values if value is not None]
    return median(found) if found else None
