"""The study's claims on instruction following, judged by its IFEval scores and by chance."""

from __future__ import annotations

from base.figures import percent
from reports.document.wording import listed
from reports.published.claims.judging import ClaimResult, Standing, below, p_value, result, undecidable
from reports.published.facts import Facts
from reports.published.quality import Change, is_instructed
from reports.published.study import Claim
from reports.statistics.correlation import holm


def instruction_following(claim: Claim, facts: Facts) -> ClaimResult:
    """The gains beyond chance, the cells of the published range, and the changes of the instructed model."""
    base = [c for c in facts.changes["ifeval"] if not is_instructed(c.model)]
    tuned = [c for c in facts.changes["ifeval"] if is_instructed(c.model)]
    if not base:
        return undecidable(claim, "No pruned width of a base model has an IFEval score.")
    quoted = {key: [c for c in base if round(c.change, 2) == value] for key, value in claim.figures.items()}
    sure = [c for c in base if c.change > 0 and below(c.p_holm)]
    fallen = _fallen(tuned)
    standing: Standing = "does not survive"
    if sure:
        standing = "survives" if len(sure) == len(base) and not fallen else "survives in part"
    low, high = min(c.change for c in base), max(c.change for c in base)
    because = [
        f"Over the pruned widths of the base models IFEval changes by {percent(low, signed=True)} to {percent(high, signed=True)}; {len(sure)} of {len(base)} "
        f"changes exceed chance with {base[0].questions} questions (Holm-corrected)"
        + (f": {listed([_place(c) for c in sure])}." if sure else ".")
    ]
    because += [
        f"{percent(value, signed=True)} is {listed([f'{_place(c)} (corrected p = {p_value(c.p_holm)})' for c in quoted[key]])}."
        for key, value in claim.figures.items()
        if quoted[key]
    ]
    because += _instructed(tuned)
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


def instructions_at_one_ratio(claim: Claim, facts: Facts) -> ClaimResult:
    """The gains at the named width of each model, corrected for these widths alone and for all that were measured."""
    base = [c for c in facts.changes["ifeval"] if not is_instructed(c.model)]
    tuned = [c for c in facts.changes["ifeval"] if is_instructed(c.model)]
    named = [c for c in base if claim.widths.get(c.model) == c.width]
    if not named or len(named) < len(claim.widths):
        return undecidable(claim, "Not every named width has an IFEval score.")
    alone = holm([c.p for c in named])
    gained = [c for c, p in zip(named, alone, strict=True) if c.change > 0 and below(p)]
    among_all = [c for c in named if c.change > 0 and below(c.p_holm)]
    standing: Standing = "does not survive"
    if gained:
        standing = "survives" if len(among_all) == len(named) and not _fallen(tuned) else "survives in part"
    because = [
        f"{_place(c)}: {c.baseline:.4f} to {c.value:.4f}, {_points(c):+.1f} points, {percent(c.change, signed=True)}; p = {p_value(c.p)}, corrected for the "
        f"{len(named)} named widths {p_value(p)}, for all {len(base)} widths of the base models {p_value(c.p_holm)}."
        for c, p in zip(named, alone, strict=True)
    ]
    because.append(
        f"Beyond chance are {len(gained)} of {len(named)} corrected for the named widths, and {len(among_all)} corrected for all, as a ratio "
        "needs that was named after the scores were known."
    )
    best = [max((c for c in base if c.model == one.model), key=lambda c: c.change) for one in named]
    because.append(
        f"The largest gains are at {listed([f'{_place(c)} ({percent(c.change, signed=True)})' for c in best])}."
    )
    return result(
        claim,
        standing,
        "beyond chance",
        [*because, *_instructed(tuned)],
        reproduced=all(
            (round(c.change, 2), round(_points(c), 1)) == (claim.figures[c.model], claim.figures[f"{c.model} points"])
            for c in named
        ),
        beyond_chance=len(gained),
        beyond_chance_of_all=len(among_all),
        of=len(named),
    )


def both_sizes(claim: Claim, facts: Facts) -> ClaimResult:
    """Of each base model, the widths where IFEval rises and where MMLU and GSM8K fall beyond chance."""
    tuned = [c for c in facts.changes["ifeval"] if is_instructed(c.model)]
    models = [m for m in dict.fromkeys(c.model for c in facts.changes["ifeval"]) if not is_instructed(m)]
    if len(models) < 2:
        return undecidable(claim, "There is one base model with an IFEval score.")
    because, everywhere, somewhere = [], True, True
    for model in models:
        gains = [c for c in facts.changes["ifeval"] if c.model == model]
        falls = [c for metric in ("mmlu", "gsm8k") for c in facts.changes[metric] if c.model == model]
        if not falls:
            return undecidable(claim, f"{model} has no score of knowledge.")
        up = sum(c.change > 0 and below(c.p_holm) for c in gains)
        down = len(_fallen(falls))
        everywhere = everywhere and (up, down) == (len(gains), len(falls))
        somewhere = somewhere and up > 0 and down > 0
        musr = [c.change for c in facts.changes["musr"] if c.model == model]
        because.append(
            f"{model}: beyond chance IFEval rises in {up} of {len(gains)} widths, MMLU and GSM8K fall in {down} of {len(falls)} scores"
            + (
                f"; MUSR changes by {percent(min(musr), signed=True)} to {percent(max(musr), signed=True)}."
                if musr
                else "."
            )
        )
    standing: Standing = "survives" if everywhere else "survives in part" if somewhere else "does not survive"
    return result(claim, standing, "beyond chance", [*because, *_instructed(tuned)])


def _instructed(tuned: list[Change]) -> list[str]:
    """The scores of each instructed model by width, a sentence a model."""
    found = []
    for model in dict.fromkeys(c.model for c in tuned):
        own = [c for c in tuned if c.model == model]
        scores = ", ".join(f"{c.value:.3f} at {c.width}" for c in own)
        found.append(
            f"{model}: {own[0].baseline:.3f} unpruned, {scores}; the fall is beyond chance in {len(_fallen(own))} of {len(own)} widths."
        )
    return found


def _fallen(changes: list[Change]) -> list[Change]:
    return [c for c in changes if c.change < 0 and below(c.p_holm)]


def _points(change: Change) -> float:
    """The change of a share, in percentage points."""
    return 100 * (change.value - change.baseline)


def _place(change: Change) -> str:
    return f"{change.model} at {change.width}"
