"""The study's claims on knowledge, truthfulness and reasoning, judged by its tables and by chance."""

from __future__ import annotations

import itertools

from base.figures import figure, percent
from reports.document.wording import listed, times
from reports.published.claims.judging import (
    ClaimResult,
    Standing,
    all_some,
    below,
    p_value,
    result,
    signed,
    undecidable,
)
from reports.published.facts import Facts
from reports.published.quality import Association, Change, is_instructed
from reports.published.study import Claim


def knowledge_against_truthfulness(claim: Claim, facts: Facts) -> ClaimResult:
    """Whether the correlation is reproduced, also in other models, by ranks, without any one width, and among all pairs."""
    own = next((a for a in facts.associations if a.model == claim.model), None)
    if own is None or own.correlation.pearson is None or own.correlation.pearson_p is None:
        return undecidable(claim, f"{claim.model} lacks one of the two columns.")
    found = own.correlation
    r, p = own.correlation.pearson, own.correlation.pearson_p
    reproduced = (round(r, 3), round(p, 3)) == (claim.figures["r"], claim.figures["p"])
    others = [a for a in facts.associations if a is not own and not is_instructed(a.model)]
    significant = [below(a.correlation.pearson_p) for a in (own, *others)]
    strong = all(significant) and below(found.spearman_p) and own.survives_all_pairs
    standing: Standing = "does not survive"
    if significant[0]:
        standing = "survives" if strong else "survives in part"
    because = [_association(a) for a in facts.associations if a.correlation.pearson is not None]
    because.append(
        f"Of all {own.pairs} pairs of metrics of {own.model}, {own.pairs_surviving} stay significant after Holm's correction; "
        f"this one {'does' if own.survives_all_pairs else 'does not'}."
    )
    because.append("The widths of one model are cut from the same weights: they are not independent observations.")
    return result(claim, standing, "beyond chance", because, reproduced=reproduced, r=r, p=p, n=found.n)


def _association(found: Association) -> str:
    c = found.correlation
    words = f"{found.model}: r = {signed(c.pearson)}, p = {p_value(c.pearson_p)}, n = {c.n}"
    if c.pearson_low is not None and c.pearson_high is not None:
        words += f", 95 % interval {signed(c.pearson_low, 2)} to {signed(c.pearson_high, 2)}"
    words += f"; by ranks rho = {signed(c.spearman, 2)}, p = {p_value(c.spearman_p)}"
    if found.without_one:
        width, p = max(found.without_one.items(), key=lambda item: item[1])
        words += f"; without width {width}, r has p = {p_value(p)}"
    return words + "."


def knowledge_degrades(claim: Claim, facts: Facts) -> ClaimResult:
    """The widths where MMLU and GSM8K fall beyond chance."""
    because, sure, total = [], 0, 0
    for metric in ("mmlu", "gsm8k"):
        found = facts.changes[metric]
        if not found:
            continue
        worse = [c for c in found if c.change < 0 and below(c.p_holm)]
        sure, total = sure + len(worse), total + len(found)
        changes = [c.change for c in found]
        because.append(
            f"{metric}: {percent(min(changes), signed=True)} to {percent(max(changes), signed=True)}, beyond chance in {len(worse)} of {len(found)} widths."
        )
        because += _chance(facts, metric)
    if not total:
        return undecidable(claim, "No pruned width has a score.")
    because.append(_rises(facts.changes["mmlu"]))
    return result(claim, all_some(sure, total), "beyond chance", because, significant=sure, of=total)


def _rises(found: list[Change]) -> str:
    """How often the score rises from one width to the next narrower."""
    steps = [(a, b) for a, b in itertools.pairwise(found) if a.model == b.model]
    up = sum(b.value > a.value for a, b in steps)
    return f"The fall is not monotonic: from one width to the next narrower, mmlu rises in {up} of {len(steps)} steps."


def perplexity_degrades(claim: Claim, facts: Facts) -> ClaimResult:
    """The widths whose perplexity is above the unpruned one by more than the margin, and the steps in which it rises."""
    because, worse, total = [], 0, 0
    for one in facts.perplexities:
        unpruned, *pruned = one.values.values()
        over = sum(value > unpruned * (1 + facts.margin) for value in pruned)
        up = sum(after > before for before, after in itertools.pairwise(one.values.values()))
        worse, total = worse + over, total + len(pruned)
        because.append(
            f"{one.model}, {one.metric}: {figure(unpruned)} unpruned, {figure(min(pruned))} to {figure(max(pruned))}; above the unpruned "
            f"in {over} of {len(pruned)} widths, and it rises in {up} of {len(pruned)} steps to the next narrower."
        )
    if not total:
        return undecidable(claim, "No pruned width has a perplexity.")
    return result(claim, all_some(worse, total), "by means alone", because, worse=worse, of=total)


def reasoning_robust(claim: Claim, facts: Facts) -> ClaimResult:
    """Whether MUSR falls at any width, and whether the unpruned score exceeds guessing."""
    found = facts.changes["musr"]
    if not found:
        return undecidable(claim, "No pruned width has a score.")
    worse = [c for c in found if c.change < 0 and below(c.p_holm)]
    lows = [c.ratio.low for c in found if c.ratio.low is not None]
    changes = [c.change for c in found]
    because = [
        (
            f"MUSR changes by {percent(min(changes), signed=True)} to {percent(max(changes), signed=True)}; in {len(worse)} of {len(found)} widths the fall is beyond "
            f"chance. With {found[0].questions} questions a fall to {times(min(lows))} could remain undetected."
        )
    ]
    guessing = facts.at_chance.get("musr", {})
    unpruned = [m for m, widths in guessing.items() if facts.baselines.get(m) in widths]
    if unpruned:
        because.append(
            f"Unpruned, {listed(unpruned)} {'is' if len(unpruned) == 1 else 'are'} not distinguishable from guessing here, so there was nothing to lose."
        )
    standing: Standing = "does not survive" if worse else "survives in part" if unpruned else "survives"
    return result(
        claim,
        standing,
        "beyond chance" if worse else "not refuted",
        because,
        low=min(changes),
        high=max(changes),
        worse=len(worse),
        of=len(found),
    )


def _chance(facts: Facts, metric: str) -> list[str]:
    guessing = {m: w for m, w in facts.at_chance.get(metric, {}).items() if w}
    return [
        f"{m} is not distinguishable from guessing at {listed([str(w) for w in widths])}."
        for m, widths in guessing.items()
    ]
