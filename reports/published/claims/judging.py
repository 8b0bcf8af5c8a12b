"""The standings and standards of claims, and the format of their figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

from base.records import Record
from reports.document.wording import ABSENT
from reports.published.study import Claim, Version
from reports.statistics.ratios import Interval

Standing = Literal["survives", "survives in part", "does not survive", "cannot be decided"]
STANDINGS: tuple[Standing, ...] = ("survives", "survives in part", "does not survive")
Fate = Literal["kept", "gone", "new"]  # in the last version of the paper, as against those before it
Standard = Literal["beyond chance", "beyond the margin", "by means alone", "not refuted"]
STANDARDS: dict[Standard, str] = {
    "beyond chance": "p below 0.05, corrected by Holm where several are tested",
    "beyond the margin": "the whole 95 % interval of a ratio lies beyond the margin",
    "by means alone": "a ratio of published means lies beyond the margin; there is no interval",
    "not refuted": "no fall beyond chance was found, which does not show that there is none",
}


class ClaimResult(Record):
    """One claim. `reproduced`: whether its published numbers follow from the published data; None if it states none.

    `standard`: the criterion of the standing; None where it cannot be decided. `stated`: by version, how that makes the claim;
    `fate`: what became of it, None where no paper is known to make it.
    """

    id: str
    says: str
    published: dict[str, float]
    reproduced: bool | None
    standing: Standing
    standard: Standard | None
    because: list[str]
    figures: dict[str, Any]
    stated: dict[str, str] = {}
    fate: Fate | None = None

    def in_versions(self, versions: Sequence[Version]) -> str:
        """The papers that make the claim, and whether the last one does: "v1, v2; gone from v3"."""
        papers = [version.id for version in versions if version.kind == "paper"]
        there = ", ".join(paper for paper in papers if paper in self.stated)
        return f"{there}; gone from {papers[-1]}" if self.fate == "gone" else there


class Judged(Record):
    """How many claims of one standard have each standing. Standards differ in their requirements, so they are not added up."""

    standard: Standard
    asks: str
    standings: dict[Standing, int]

    def __str__(self) -> str:
        counts = ", ".join(f"{number} {standing}" for standing, number in self.standings.items())
        return f"{self.standard} ({self.asks}): {counts}"


def count_by_standard(claims: Sequence[ClaimResult]) -> list[Judged]:
    """Every standard by which a claim was judged, in the order of `STANDARDS`."""
    counts = {standard: Counter(c.standing for c in claims if c.standard == standard) for standard in STANDARDS}
    return [Judged(standard=s, asks=STANDARDS[s], standings=dict(found)) for s, found in counts.items() if found]


def fate_of(claim: Claim, versions: Sequence[Version]) -> Fate | None:
    """Whether the last paper makes the claim, and whether one before it did."""
    made = [version.id in claim.stated for version in versions if version.kind == "paper"]
    if not any(made):
        return None
    return "gone" if not made[-1] else "kept" if any(made[:-1]) else "new"


def undecidable(claim: Claim, why: str) -> ClaimResult:
    """The result for a claim that the data cannot decide."""
    return result(claim, "cannot be decided", None, [why])


def result(
    claim: Claim,
    standing: Standing,
    standard: Standard | None,
    because: list[str],
    *,
    reproduced: bool | None = None,
    **figures: Any,
) -> ClaimResult:
    """The result for a claim, with its words and published numbers."""
    return ClaimResult(
        id=claim.id,
        says=claim.says,
        published=claim.figures,
        reproduced=reproduced,
        standing=standing,
        standard=standard,
        because=because,
        figures=figures,
        stated=claim.stated,
    )


def all_some(found: int, total: int) -> Standing:
    """The standing of a claim that holds in `found` of `total` cells."""
    return "survives" if found == total else "survives in part" if found else "does not survive"


def below(p: float | None) -> bool:
    """Whether a p-value is significant at 5 %."""
    return p is not None and p < 0.05


def signed(value: float | None, digits: int = 3) -> str:
    """A figure with a typographic minus sign."""
    return ABSENT if value is None else f"{value:.{digits}f}".replace("-", "\N{MINUS SIGN}")


def p_value(p: float | None) -> str:
    """A p-value in words."""
    if p is None:
        return ABSENT
    return "below 0.0001" if p < 1e-4 else f"{p:.3f}"


def average_change(found: Interval) -> str:
    """A mean ratio as its distance from 1, with its interval: +9.2 % (+6.8 to +11.6)."""
    words = f"{100 * (found.mean - 1):+.1f} %"
    if found.low is not None and found.high is not None:
        words += f" ({100 * (found.low - 1):+.1f} to {100 * (found.high - 1):+.1f})"
    return words
