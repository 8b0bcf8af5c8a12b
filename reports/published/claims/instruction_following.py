"""The study's claims on instruction following, judged by its IFEval scores and by chance."""

from __future__ import annotations

from reports.document.wording import listed
from reports.published.claims.judging import ClaimResult, Standing, below, p_value, result, undecidable
from reports.published.facts import Facts
from reports.published.quality import Change, is_instructed
from reports.published.study import Claim


def instruction_following(claim: Claim, facts: Facts) -> ClaimResult:
    """The gains beyond chance, the cells of the published range, and the changes of the instructed model."""
    base = [c for c in facts.changes["ifeval"] if not is_instructed(c.model)]
    tuned = [c for c in facts.changes["ifeval"] if is_instructed(c.model)]
    if not base:
        return undecidable(claim, "No pruned width of a base model has an IFEval score.")
    quoted = {key: [c for c in base if round(c.change, 2) == value] for key, value in claim.figures.items()}
    sure = [c for c in base if c.change > 0 and below(c.p_holm)]
    fallen = [c for c in tuned if c.change < 0 and below(c.p_holm)]
    standing: Standing = "does not survive"
    if sure:
        standing = "survives" if len(sure) == len(base) and not fallen else "survives in part"
    low, high = min(c.change for c in base), max(c.change for c in base)
    because = [
        f"Over the pruned widths of the base models IFEval changes by {low:+.0%} to {high:+.0%}; {len(sure)} of {len(base)} "
        f"changes exceed chance with {base[0].questions} questions (Holm-corrected)"
        + (f": {listed([_place(c) for c in sure])}." if sure else ".")
    ]
    because += [
        f"{value:+.0%} is {listed([f'{_place(c)} (corrected p = {p_value(c.p_holm)})' for c in quoted[key]])}."
        for key, value in claim.figures.items()
        if quoted[key]
    ]
    if tuned:
        falls = [c.change for c in tuned]
        because.append(
            f"The instructed model changes by {min(falls):+.0%} to {max(falls):+.0%}; in {len(fallen)} of {len(tuned)} widths "
            "the fall is beyond chance."
        )
    return result(
        claim,
        standing,
        "beyond chance",
        because,
        reproduced=all(quoted.values()),
        low=low,
        high=high,
        significant=len(sure),
        of=len(base),
        gains={f"{c.model} {c.width}": c.change for c in [*base, *tuned]},
    )


def _place(change: Change) -> str:
    return f"{change.model} at {change.width}"
