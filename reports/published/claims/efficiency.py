"""The study's claims on efficiency: energy per token, latency of single requests, batches."""

from __future__ import annotations

from collections import Counter

from base.figures import percent
from reports.document.wording import listed, with_interval
from reports.published.claims.judging import ClaimResult, Standard, Standing, all_some, result, signed, undecidable
from reports.published.efficiency import GROSS, LATENCY, LENGTH, NET, REQUEST, TOKEN_MS, Cell, lower_is_better
from reports.published.facts import Facts
from reports.published.study import Claim
from reports.statistics.ratios import Comparison


def energy_per_token(claim: Claim, facts: Facts) -> ClaimResult:
    """The place of the reduction, its certainty, the same gross of idle power, and the unit."""
    best = min(facts.cells, key=lambda c: c.published_change)
    share = claim.figures["reduction"]
    quoted = [c for c in facts.cells if round(-c.published_change, 2) == share]
    counts = _counts(facts.cells, NET, facts.margin)
    saved = lower_is_better(best.ratios[NET], facts.margin) == "better"
    gross = best.ratios[GROSS]
    clean = facts.unit is not None and facts.unit.is_energy and not facts.left_out and gross.verdict == "better"
    standing: Standing = "does not survive"
    if saved:
        standing = "survives" if clean and best.ratios[NET].verdict else "survives in part"
    by_model = [
        min((c for c in facts.cells if c.model == m), key=lambda c: c.published_change)
        for m in dict.fromkeys(c.model for c in facts.cells)
    ]
    because = [
        "The largest reductions of published means: "
        + "; ".join(f"{percent(-c.published_change)} ({c.place}, {c.runs_kept} of {c.runs} runs)" for c in by_model)
        + f". {percent(share)} is "
        + (listed([c.place for c in quoted]) if quoted else "not found in any cell")
        + ".",
        (
            f"Of {len(facts.cells)} cells {counts['better']} take less net J/token, {counts['worse']} take more, "
            f"{counts['equivalent']} are equivalent and {counts['undecided']} undecided{_how(best.ratios[NET])}."
        ),
    ]
    of_all = min(facts.cells, key=lambda c: c.ratios[NET].ratio or 1.0)
    largest_of_all = 1 - (of_all.ratios[NET].ratio or 1.0)
    if of_all is not best:
        because.append(
            f"With no run left out the largest is {percent(largest_of_all)} ({of_all.place}): {with_interval(of_all.ratios[NET])}. The published means "
            f"say {percent(-of_all.published_change)} there: they take {of_all.runs_kept} of {of_all.runs} runs of that width and "
            f"{of_all.unpruned_kept} of the unpruned one."
        )
    if gross.ratio is not None:
        because.append(
            f"At the largest of the published means, net is {with_interval(best.ratios[NET])} and gross of idle {with_interval(gross)}."
        )
    because.append(f"Per prompt instead of per token it is {with_interval(best.ratios[REQUEST])} there.")
    if facts.unit is not None and not facts.unit.is_energy:
        because.append(
            f"The claimed joules are not joules (factor {facts.unit.factor!r}): ratios hold, joule figures do not."
        )
    return result(
        claim,
        standing,
        _standard(facts),
        because,
        reproduced=bool(quoted),
        largest=-best.published_change,
        where=best.place,
        largest_of_all=largest_of_all,
        where_of_all=of_all.place,
        at_the_claimed=[c.place for c in quoted],
        counts=dict(counts),
    )


def single_request_latency(claim: Claim, facts: Facts) -> ClaimResult:
    """Whether a request takes longer because a token does, or because it has more tokens."""
    found = facts.lengthening
    if not found.largest or not found.slower_in_latency:
        return result(
            claim,
            "does not survive",
            _standard(facts),
            ["No single-request cell takes longer than the unpruned width."],
        )
    largest, r = found.largest, found.correlation.pearson
    standing: Standing = "survives in part"
    if found.slower_per_token == 0 and (r or 0) > 0.9:
        standing = "does not survive"
    elif found.slower_per_token * 2 >= found.slower_in_latency:
        standing = "survives"
    because = [
        (
            f"Single requests take longer in {found.slower_in_latency} of {found.cells} cells, a token in {found.slower_per_token}"
            f"{_how(largest.ratios[TOKEN_MS]) or f'; by means alone requests do in {found.slower_by_means}'}."
        ),
        (
            f"The largest, {largest.place}: latency {with_interval(largest.ratios[LATENCY])}, output tokens "
            f"{with_interval(largest.ratios[LENGTH])}, time per token {with_interval(largest.ratios[TOKEN_MS])}."
        ),
    ]
    if r is not None:
        because.append(
            f"Over the cells, latency follows output length (r = {signed(r, 4)} of the logarithms, n = {found.correlation.n}): the "
            "pruned models generate more tokens before they stop, or do not stop."
        )
    return result(
        claim,
        standing,
        _standard(facts),
        because,
        cells=found.cells,
        slower_in_latency=found.slower_in_latency,
        slower_per_token=found.slower_per_token,
        slower_by_means=found.slower_by_means,
        largest=largest.ratios[LATENCY].ratio,
        where=largest.place,
        r=r,
    )


def batch_benefits(claim: Claim, facts: Facts) -> ClaimResult:
    """The number of batch cells that are better, worse or neither."""
    cells = [c for c in facts.cells if c.batch_size > 1]
    if not cells:
        return undecidable(claim, "There is no batch workload.")
    counts = {key: _counts(cells, key, facts.margin) for key in (TOKEN_MS, NET)}
    gains = sum(c["better"] for c in counts.values())
    because = [
        f"{noun}: better in {c['better']}, worse in {c['worse']}, equivalent in {c['equivalent']}, undecided in "
        f"{c['undecided']} of {len(cells)} cells{_how(cells[0].ratios[key])}."
        for (key, c), noun in zip(counts.items(), ("Time per token", "Net J/token"), strict=True)
    ]
    return result(
        claim,
        all_some(gains, 2 * len(cells)),
        _standard(facts),
        because,
        counts={key: dict(c) for key, c in counts.items()},
        cells=len(cells),
    )


def _standard(facts: Facts) -> Standard:
    return "beyond the margin" if facts.raw else "by means alone"


def _counts(cells: list[Cell], key: str, margin: float) -> Counter[str]:
    return Counter(verdict for c in cells if (verdict := lower_is_better(c.ratios[key], margin)))


def _how(found: Comparison) -> str:
    """A note where verdicts are based on means alone; empty where there are intervals."""
    return "" if found.verdict else " (by published means alone: without the raw runs there is no interval)"
