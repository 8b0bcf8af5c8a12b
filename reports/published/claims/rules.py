"""Judge the study's claims by its figures: whether a published number is reproduced, and whether it survives our checks.

No standing is fixed in the code: a claim consists of its words and numbers as published, and its standing follows from the facts.
"""

from __future__ import annotations

from collections.abc import Callable

from reports.published.claims.efficiency import batch_benefits, energy_per_token, single_request_latency
from reports.published.claims.instruction_following import both_sizes, instruction_following, instructions_at_one_ratio
from reports.published.claims.judging import ClaimResult, fate_of, undecidable
from reports.published.claims.quality import (
    knowledge_against_truthfulness,
    knowledge_degrades,
    perplexity_degrades,
    reasoning_robust,
)
from reports.published.facts import Facts
from reports.published.study import Claim, Version


def judge_claims(claims: list[Claim], versions: list[Version], facts: Facts) -> list[ClaimResult]:
    """The results in the order of the table; a claim without a rule cannot be decided."""
    return [
        _RULES.get(claim.id, _undecided)(claim, facts).model_copy(update={"fate": fate_of(claim, versions)})
        for claim in claims
    ]


def _undecided(claim: Claim, _facts: Facts) -> ClaimResult:
    return undecidable(claim, "There is no rule for this claim.")


_RULES: dict[str, Callable[[Claim, Facts], ClaimResult]] = {
    "knowledge-against-truthfulness": knowledge_against_truthfulness,
    "instruction-following": instruction_following,
    "instruction-following-at-one-ratio": instructions_at_one_ratio,
    "both-sizes": both_sizes,
    "knowledge-degrades": knowledge_degrades,
    "perplexity-degrades": perplexity_degrades,
    "reasoning-robust": reasoning_robust,
    "energy-per-token": energy_per_token,
    "single-request-latency": single_request_latency,
    "batch-benefits": batch_benefits,
}
