"""What a verdict on a claim is, and how its figures are written."""

from __future__ import annotations

from typing import Any, Literal

from energy.records import Record
from reports.published.study import Claim
from reports.statistics import Interval

ABSENT = "\N{EM DASH}"
Standing = Literal["survives", "survives in part", "does not survive", "cannot be decided"]


class ClaimResult(Record):
    """One claim. `reproduced`: whether its published numbers come out of the published data; None where it names none."""

    id: str
    says: str
    published: dict[str, float]
    reproduced: bool | None
    standing: Standing
    because: list[str]
    figures: dict[str, Any]


def result(
    claim: Claim, standing: Standing, because: list[str], *, reproduced: bool | None = None, **figures: Any
) -> ClaimResult:
    """The verdict on a claim, with its words and published numbers."""
    return ClaimResult(
        id=claim.id,
        says=claim.says,
        published=claim.figures,
        reproduced=reproduced,
        standing=standing,
        because=because,
        figures=figures,
    )


def all_some(found: int, total: int) -> Standing:
    """Whether it holds everywhere, somewhere or nowhere."""
    return "survives" if found == total else "survives in part" if found else "does not survive"


def below(p: float | None) -> bool:
    """Whether a p-value is significant at 5 %."""
    return p is not None and p < 0.05


def signed(value: float | None, digits: int = 3) -> str:
    """With a minus sign that is one."""
    return ABSENT if value is None else f"{value:.{digits}f}".replace("-", "\N{MINUS SIGN}")


def p_value(p: float | None) -> str:
    """A p-value in words."""
    if p is None:
        return ABSENT
    return "below 0.0001" if p < 1e-4 else f"{p:.3f}"


def percent(found: Interval) -> str:
    """A mean ratio as its distance from 1, with its interval: +9.2 % (+6.8 to +11.6)."""
    words = f"{100 * (found.mean - 1):+.1f} %"
    if found.low is not None and found.high is not None:
        words += f" ({100 * (found.low - 1):+.1f} to {100 * (found.high - 1):+.1f})"
    return words
