"""Where configurations stand on an axis: at their expansion ratio, or in a row each, where they differ in more than pruning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reports.analysis.records import Analysis
from reports.document.chart import Axis, Chart, Marks, Rule
from reports.document.wording import name
from reports.runs.records.configuration import ConfigurationInfo


@dataclass(frozen=True)
class Places:
    """The places of a run's configurations, by label."""

    at: Mapping[str, float]
    names: Sequence[str]  # of the rows, the lowest first; empty: the places are expansion ratios

    @classmethod
    def of(cls, analysis: Analysis) -> Places:
        """Expansion ratios if pruning alone makes the difference, else rows in the order of the run, the first at the top."""
        infos = [c.info for c in analysis.configurations]
        if differ_in_pruning_alone(infos):
            return cls({i.label: i.expansion_ratio or 0.0 for i in infos}, ())
        upwards = infos[::-1]
        return cls({i.label: float(row) for row, i in enumerate(upwards)}, [name(i) for i in upwards])

    def chart(self, y: Axis, marks: Sequence[Marks], rule: Rule) -> Chart:
        """The marks, whose x are places, over the expansion ratio; or turned by a quarter, so that long names are read."""
        if not self.names:
            return Chart(Axis("expansion ratio"), y, marks, [rule])
        rows = Axis("", (-0.6, len(self.names) - 0.4), names=self.names, grid=False)
        turned = [Rule(rule.at, "x", rule.dash)]
        return Chart(y, rows, [_turned(m) for m in marks], turned, height=66 + 22 * len(self.names))


def differ_in_pruning_alone(infos: Sequence[ConfigurationInfo]) -> bool:
    """Whether pruning distinguishes them by the expansion ratio and by nothing else."""
    return all(info.pruned_alone and info.expansion_ratio is not None for info in infos)


def _turned(marks: Marks) -> Marks:
    """With x and y exchanged, and without the line between points that have no order."""
    return Marks(
        marks.y, marks.x, marks.name, marks.colour, marks.symbol or "circle", marks.size,
        x_low=marks.low, x_high=marks.high, hover=marks.hover, faint=marks.faint,
    )  # fmt: skip
