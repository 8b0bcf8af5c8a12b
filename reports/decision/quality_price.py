"""What the narrower configurations cost in quality, in a few sentences for the first screen."""

from __future__ import annotations

from reports.analysis.records import Analysis, ConfigurationFigures
from reports.decision.quality_evidence import LEAST_KEPT, evidence_of
from reports.document.blocks import Answer
from reports.document.wording import name, names, sentence, times


def quality_price(analysis: Analysis) -> Answer | None:
    """Perplexity and quality tasks against the baseline; None if there is nothing to compare."""
    others = [c for c in analysis.configurations if not c.info.is_baseline]
    if not others:
        return None
    sentences = [*_perplexity(others), *_tasks(analysis, others)]
    return Answer("Price in quality", sentences or ["No quality was compared with the baseline's: measure it first."])


def _perplexity(others: list[ConfigurationFigures]) -> list[str]:
    known = sorted(
        ((c.perplexity_ratio, name(c.info)) for c in others if c.perplexity_ratio is not None), key=lambda pair: pair[0]
    )
    if not known:
        return []
    (low, mildest), (high, hardest) = known[0], known[-1]
    if len(known) == 1:
        return [f"Perplexity is {times(low)} the baseline's at {mildest}."]
    return [f"Perplexity is {times(low)} the baseline's at {mildest} to {times(high)} at {hardest}."]


def _tasks(analysis: Analysis, others: list[ConfigurationFigures]) -> list[str]:
    """How many configurations the quality tasks convict or acquit; an interval that decides nothing is no evidence for either."""
    found = [(c.info, evidence_of(analysis.quality, c.info.label, analysis.info.baseline)) for c in others]
    judged = [(info, evidence) for info, evidence in found if evidence.lost or evidence.kept or evidence.inconclusive]
    if not judged:
        return []
    lost = [info for info, evidence in judged if evidence.lost]
    kept = [info for info, evidence in judged if evidence.kept and not evidence.lost and not evidence.inconclusive]
    parts = []
    if lost:
        parts.append(
            f"{names(lost)} {'is' if len(lost) == 1 else 'are'} shown to keep less than {LEAST_KEPT} of a task's score"
        )
    if kept:
        parts.append(
            f"{names(kept)} {'is' if len(kept) == 1 else 'are'} shown to keep at least {LEAST_KEPT} on every task"
        )
    if open_ := len(judged) - len(lost) - len(kept):
        whose = "every configuration" if open_ == len(judged) else f"{open_} of {len(judged)} configurations"
        parts.append(f"the quality tasks leave {whose} undecided")
    return [sentence("; ".join(parts))]
