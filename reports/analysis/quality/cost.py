"""The cost of the quality tasks: seconds, tokens and joules, summed. A sum that lacks a part is None."""

from __future__ import annotations

import math
from collections.abc import Sequence

from base.records import Record
from reports.runs.records.quality import TaskResult


class SuiteCost(Record):
    """The cost of all finished tasks of one configuration. Joules are measured; modelled joules are separate."""

    tasks: int
    hours: float
    tokens: int | None  # prompt and output tokens, counted by the server
    joules: float | None
    joules_uncertainty: float | None  # half-width of a 95 % interval
    joules_per_token: float | None
    joules_per_token_uncertainty: float | None  # half-width of a 95 % interval, of the meters
    source: str | None
    reason: str | None  # why joules is None
    modelled_joules: float | None
    modelled_basis: str | None


def suite_cost(results: Sequence[TaskResult]) -> SuiteCost:
    """Sum over tasks with scores; the cost of other tasks is unknown."""
    done = [r for r in results if r.scores]
    energies = [r.energy for r in done]
    joules = _total([e.gross_joules if e else None for e in energies])
    tokens = _total([r.tokens for r in done])
    reasons = [e.reason or "energy was not metered" if e else "energy was not metered" for e in energies]
    parts = [e.gross_joules_uncertainty if e else None for e in energies]
    uncertainty = None if joules is None or None in parts else math.hypot(*(p for p in parts if p is not None))
    return SuiteCost(
        tasks=len(done),
        hours=math.fsum(r.seconds for r in done) / 3600,
        tokens=None if tokens is None else round(tokens),
        joules=joules,
        joules_uncertainty=uncertainty,
        joules_per_token=joules / tokens if joules is not None and tokens else None,
        joules_per_token_uncertainty=uncertainty / tokens if uncertainty is not None and tokens else None,
        source="+".join(sorted({e.source for e in energies if e and e.source})) or None,
        reason=None if joules is not None else _first_missing(energies, reasons),
        modelled_joules=_total([e.modelled_joules if e else None for e in energies]),
        modelled_basis=next((e.modelled_basis for e in energies if e and e.modelled_basis), None),
    )


def _total(parts: Sequence[float | None]) -> float | None:
    known = [part for part in parts if part is not None]
    return math.fsum(known) if known and len(known) == len(parts) else None


def _first_missing(energies: Sequence[object], reasons: Sequence[str]) -> str:
    missing = [r for e, r in zip(energies, reasons, strict=True) if getattr(e, "gross_joules", None) is None]
    return missing[0] if missing else "no task was answered"
