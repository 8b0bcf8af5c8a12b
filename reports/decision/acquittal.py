"""What the quality tasks of a run show of a configuration: that it lost too much, that it kept its score, or neither.

That a loss is not shown does not show that there is none. A task acquits a configuration only if the whole interval of the share
it keeps lies above what is bearable, and if there was something to lose: both scores must lie beyond guessing. Of a few answers, or of
a task at chance level, nothing is shown.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import scipy

from reports.analysis.quality import QualityFigures, TaskFigures, TaskScore
from reports.document.wording import listed, with_interval
from reports.statistics.confidence import CONFIDENCE
from reports.statistics.ratios import Comparison

BEARABLE = 1.05  # of the baseline's perplexity; and the inverse, of its score
_MOST = 3  # tasks named in a sentence


@dataclass
class Evidence:
    """Of every task that is compared with the baseline, in one of three ways."""

    lost: dict[str, Comparison] = field(default_factory=dict)  # shown to keep less than 1 / BEARABLE
    kept: list[str] = field(default_factory=list)  # shown to keep more
    silent: dict[str, str] = field(default_factory=dict)  # neither is shown, and why

    @property
    def decides(self) -> bool:
        """Whether any task shows anything."""
        return bool(self.lost or self.kept)

    def words(self) -> list[str]:
        """What is shown, then what is not: parts of a sentence."""
        said = []
        if self.lost:
            worst = min(self.lost, key=lambda task: self.lost[task].ratio or 0.0)
            said.append(f"keeps {with_interval(self.lost[worst])} of its score on {worst}")
        if self.kept:
            said.append(f"keeps at least {1 / BEARABLE:.0%} of its score on {_some(self.kept)}")
        if self.silent and not self.lost:
            reasons = _some([f"{task} ({why})" for task, why in self.silent.items()])
            total = len(self.kept) + len(self.silent)
            said.append(
                f"{len(self.silent)} of {total} quality tasks show neither a loss nor that there is none: {reasons}"
            )
        return said


def evidence_of(quality: QualityFigures | None, label: str, baseline: str) -> Evidence:
    """What the tasks show of one configuration."""
    found = Evidence()
    for task in quality.tasks if quality else ():
        own, reference = task.scores.get(label), task.scores.get(baseline)
        if own is None or own.kept is None or own.kept.ratio is None or reference is None:
            continue
        kept = own.kept
        if (kept.high is not None and kept.high < 1 / BEARABLE) or _keeps_nothing(task, own, reference):
            found.lost[task.task] = kept
        elif why := _why_silent(task, own, reference):
            found.silent[task.task] = why
        else:
            found.kept.append(task.task)
    return found


def _keeps_nothing(task: TaskFigures, own: TaskScore, reference: TaskScore) -> bool:
    """Whether no answer is right, of so many that it is no chance: the exact upper end of 0 of n against the lower end of the baseline's."""
    if own.value != 0 or not reference.value or reference.standard_error is None or not task.items:
        return False
    most = 1 - ((1 - CONFIDENCE) / 2) ** (1 / task.items)
    return bool(most < (reference.value - _z() * reference.standard_error) / BEARABLE)


def _why_silent(task: TaskFigures, own: TaskScore, reference: TaskScore) -> str | None:
    """Why a task that shows no loss does not show either that there is none; None if it does."""
    kept = own.kept
    if kept is None or kept.low is None:
        return "its spread is not known"
    if task.higher_is_better:
        if task.chance is None:
            return "what guessing scores is not recorded"
        for whose, score in (("the baseline", reference), ("it", own)):
            if _is_guessing(score, task.chance):
                return f"{whose} cannot be told from guessing, {task.chance:.0%}"
    if kept.low < 1 / BEARABLE:
        return f"it keeps {with_interval(kept)}"
    return None


def _is_guessing(score: TaskScore, chance: float) -> bool:
    """Whether a score's 95 % interval reaches down to chance."""
    return score.value is None or score.standard_error is None or score.value - _z() * score.standard_error <= chance


def _z() -> float:
    return float(scipy.stats.norm.ppf((1 + CONFIDENCE) / 2))


def _some(names: list[str]) -> str:
    more = len(names) - _MOST
    return listed(names if more <= 1 else [*names[:_MOST], f"{more} more"])
