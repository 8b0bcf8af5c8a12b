"""What dominates what: one configuration is better than another on both of two axes, each shown by its whole interval.

Any two are compared as each is with the baseline: loads in pairs within blocks, perplexity in pairs of windows of the same text,
scores of tasks item by item. Intervals are 95 % for each pair and axis. Both must leave out 1, or for scores 0, so that of two
which are equal on an axis one is called dominated in at most 2.5 of 100 pairs.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from reports.analysis.quality.perplexity import compare_perplexity
from reports.analysis.quantities import E2E, JOULES, OUTPUT_TOKENS_PER_S, QUANTITIES, TPOT
from reports.analysis.records import Analysis, ConfigurationFigures
from reports.checks.rules import RULES
from reports.statistics.ratios import Comparison, Direction, Interval, compare

PERPLEXITY = "perplexity"
SCORES = "mean share of scores kept"
_OF_QUALITY: dict[str, Direction] = {PERPLEXITY: "lower", SCORES: "higher"}

# A ratio of two configurations; of scores, by how much more of the baseline's the first keeps.
Gap = Comparison | Interval


@dataclass(frozen=True)
class Axes:
    """Two keys of quantities, the second may be `PERPLEXITY` or `SCORES`."""

    first: str
    second: str

    @property
    def keys(self) -> tuple[str, str]:
        """Both."""
        return self.first, self.second


@dataclass(frozen=True)
class Dominance:
    """`better` dominates `worse`, two labels; the gaps are of the better to the worse, by axis, the first a ratio."""

    better: str
    worse: str
    gaps: tuple[Comparison, Gap]


def axes_of(analysis: Analysis, workload: str) -> list[Axes]:
    """Cost and quality, time and throughput: joules where they are measured; an open loop's throughput is its rate, and no axis."""
    is_open = analysis.workloads[workload].open_loop
    speed = analysis.quantity(TPOT if is_open else OUTPUT_TOKENS_PER_S)
    cost = analysis.quantity(JOULES) if analysis.has_values(workload, JOULES) else speed
    axes = [Axes(cost, PERPLEXITY)] if any(c.perplexity for c in analysis.configurations) else []
    axes += [Axes(cost, SCORES)] if analysis.quality and analysis.quality.kept_more else []
    return axes if is_open else [*axes, Axes(analysis.quantity(E2E), speed)]


def dominances(analysis: Analysis, workload: str, axes: Axes) -> list[Dominance]:
    """Every pair of which one dominates the other; configurations that a failed check spoils are left out."""
    usable = [c for c in analysis.configurations if not _is_spoiled(analysis, c.info.label, workload, axes.keys)]
    found = []
    for pair in itertools.combinations(usable, 2):
        for better, worse in (pair, pair[::-1]):
            first = _ratio(analysis, workload, axes.first, better, worse)
            second = _gap(analysis, workload, axes.second, better, worse)
            if all(beats(gap, _direction(key)) for gap, key in zip((first, second), axes.keys, strict=True)):
                found.append(Dominance(better.info.label, worse.info.label, (first, second)))
                break
    return found


def beats(gap: Gap, better: Direction) -> bool:
    """Whether the whole interval of a ratio lies on the better side of 1, or that of a difference on the better side of 0."""
    if gap.low is None or gap.high is None:
        return False
    even = 1 if isinstance(gap, Comparison) else 0
    return gap.high < even if better == "lower" else gap.low > even


def dominated_by(found: Sequence[Dominance], label: str) -> list[Dominance]:
    """What dominates a configuration, the largest gain on the first axis first."""
    return sorted((one for one in found if one.worse == label), key=lambda one: one.gaps[0].distance, reverse=True)


def _gap(analysis: Analysis, workload: str, key: str, own: ConfigurationFigures, other: ConfigurationFigures) -> Gap:
    if key == PERPLEXITY:
        return compare_perplexity(own.info, other.info.quality).perplexity or Comparison()
    if key == SCORES:
        return _scores_gap(analysis, own.info.label, other.info.label)
    return _ratio(analysis, workload, key, own, other)


def _scores_gap(analysis: Analysis, own: str, other: str) -> Gap:
    known = analysis.quality.kept_more if analysis.quality else {}
    if found := known.get(own, {}).get(other):
        return found
    if not (turned := known.get(other, {}).get(own)):
        return Comparison()
    low, high = (None if end is None else -end for end in (turned.high, turned.low))
    return Interval(mean=-turned.mean, low=low, high=high, n=turned.n)


def _ratio(
    analysis: Analysis, workload: str, key: str, own: ConfigurationFigures, other: ConfigurationFigures
) -> Comparison:
    ours, others = (analysis.by_block(one.info.label, workload, key) for one in (own, other))
    return compare(ours, others, QUANTITIES[key].better, margin=0.0, looks=analysis.info.looks)


def _direction(key: str) -> Direction:
    return _OF_QUALITY.get(key) or QUANTITIES[key].better


def _is_spoiled(analysis: Analysis, label: str, workload: str, keys: tuple[str, str]) -> bool:
    """A failed check, or failed requests: a latency of those that remain says little."""
    if analysis.cell(label, workload).failed_requests:
        return True
    return any(label in labels or None in labels for key in keys for labels in _failing(analysis, workload, key))


def _failing(analysis: Analysis, workload: str, key: str) -> Iterator[set[str | None]]:
    for check in analysis.checks:
        if key not in _OF_QUALITY and RULES[check.check].spoils_quantity(key):
            yield {o.label for o in check.observations if o.outcome == "fail" and o.workload in {workload, None}}
