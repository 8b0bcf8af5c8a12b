"""What the quality tasks of a run show about a configuration: too large a loss, a score that is kept, or neither.

Absence of evidence for a loss is no evidence of absence. A task acquits a configuration only if the whole interval of the share that
it keeps lies above the limit, and if both scores lie above guessing. A few answers, or a task at chance level, show nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from base.distributions import normal_quantile
from base.figures import percent
from reports.analysis.quality.tasks import QualityFigures, TaskFigures, TaskScore
from reports.document.wording import from_to, listed, with_interval
from reports.statistics.confidence import CONFIDENCE
from reports.statistics.ratios import Comparison

BEARABLE = 1.05  # highest accepted ratio to the baseline's perplexity; its inverse: lowest accepted share of a score
LEAST_KEPT = percent(round(1 / BEARABLE, 2))  # in words
_MOST = 3  # tasks named in a sentence


@dataclass
class Evidence:
    """Every task that is compared with the baseline, in one of three groups."""

    lost: dict[str, Comparison] = field(
        default_factory=dict
    )  # the whole interval of the share kept lies below 1 / BEARABLE
    kept: list[str] = field(default_factory=list)  # the whole interval lies above it
    inconclusive: dict[str, str] = field(default_factory=dict)  # neither, with the reason

    @property
    def decides(self) -> bool:
        """Whether any task shows a loss or its absence."""
        return bool(self.lost or self.kept)

    def words(self) -> list[str]:
        """Parts of a sentence: what is shown, then what is not."""
        parts = []
        if self.lost:
            worst = min(self.lost, key=lambda task: self.lost[task].ratio or 0.0)
            parts.append(f"keeps {with_interval(self.lost[worst])} of its score on {worst}")
        if self.kept:
            parts.append(f"keeps at least {LEAST_KEPT} of its score on {_some(self.kept)}")
        if self.inconclusive and not self.lost:
            reasons = _some([f"{task} ({why})" for task, why in self.inconclusive.items()])
            total = len(self.kept) + len(self.inconclusive)
            parts.append(
                f"{len(self.inconclusive)} of {total} quality tasks show neither a loss nor its absence: {reasons}"
            )
        return parts


def evidence_of(quality: QualityFigures | None, label: str, baseline: str) -> Evidence:
    """The evidence of all tasks about one configuration."""
    found = Evidence()
    for task in quality.tasks if quality else ():
        own, reference = task.scores.get(label), task.scores.get(baseline)
        if own is None or own.kept is None or own.kept.ratio is None or reference is None:
            continue
        kept = own.kept
        if (kept.high is not None and kept.high < 1 / BEARABLE) or _keeps_nothing(task, own, reference):
            found.lost[task.task] = kept
        elif why := _why_inconclusive(task, own, reference):
            found.inconclusive[task.task] = why
        else:
            found.kept.append(task.task)
    return found


def _keeps_nothing(task: TaskFigures, own: TaskScore, reference: TaskScore) -> bool:
    """Whether no answer is right, beyond chance: the exact upper limit for 0 of n lies below the baseline's lower limit over `BEARABLE`."""
    if own.value != 0 or not reference.value or reference.standard_error is None or not task.items:
        return False
    upper = 1 - ((1 - CONFIDENCE) / 2) ** (1 / task.items)
    return bool(upper < (reference.value - _z() * reference.standard_error) / BEARABLE)


def _why_inconclusive(task: TaskFigures, own: TaskScore, reference: TaskScore) -> str | None:
    """Why a task without a loss does not show its absence either; None if it does."""
    kept = own.kept
    if kept is None or kept.low is None:
        return "its spread is not known"
    if task.higher_is_better:
        if task.chance is None:
            return "the score of guessing is not recorded"
        if guessing := why_guessing(task, own, reference):
            return guessing
    if kept.low < 1 / BEARABLE:
        return f"{from_to(kept)} kept"
    return None


def why_guessing(task: TaskFigures, own: TaskScore, reference: TaskScore) -> str | None:
    """Why a share of the baseline's score is a ratio of noise; None if both scores lie above guessing, or it is not known."""
    if task.chance is None:
        return None
    for whose, score in (("the baseline", reference), ("it", own)):
        if _is_guessing(score, task.chance):
            return f"{whose} is not distinguishable from guessing, {percent(task.chance)}"
    return None


def guessed_tasks(quality: QualityFigures, baseline: str) -> list[str]:
    """The tasks on which the baseline itself is not distinguishable from guessing, so that every share of its score is noise."""
    found = []
    for task in quality.tasks:
        reference = task.scores.get(baseline)
        if reference and reference.value is not None and why_guessing(task, reference, reference):
            found.append(task.task)
    return found


def _is_guessing(score: TaskScore, chance: float) -> bool:
    """Whether a score's 95 % interval reaches down to chance."""
    return score.value is None or score.standard_error is None or score.value - _z() * score.standard_error <= chance


def _z() -> float:
    return normal_quantile((1 + CONFIDENCE) / 2)


def _some(names: list[str]) -> str:
    more = len(names) - _MOST
    return listed(names if more <= 1 else [*names[:_MOST], f"{more} more"])
