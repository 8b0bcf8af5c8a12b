"""Joules before the load that no other figure has: loading the model, and the warm-up."""

from __future__ import annotations

from statistics import median

from reports.analysis.records import Analysis
from reports.document.blocks import Column, Entry, Row, Section, Table, note_letter
from reports.document.wording import ABSENT, figure

_CAPTION = (
    "Gross joules of this machine's meters while the server started and loaded the model, once, and of a warm-up, the median over "
    "trials. No other figure of this report contains them."
)


def startup_section(analysis: Analysis) -> Section | None:
    """A row for every configuration; None where neither was measured."""
    notes: dict[str, str] = {}
    rows, measured = [], False
    for info in (c.info for c in analysis.configurations):
        loading, seconds = info.load_energy, info.load_s
        warm_ups = [t.warm_up for t in analysis.trials if t.label == info.label and t.warm_up is not None]
        joules = [w.joules for w in warm_ups if w.joules is not None]
        measured |= bool(joules) or (loading is not None and loading.gross_joules is not None)
        why = "not measured" if loading is None else loading.reason or "not measured"
        reasons = [w.joules_reason for w in warm_ups if w.joules_reason is not None]
        rows.append(
            Row(
                [
                    Entry(info.label),
                    _joules(
                        loading.gross_joules if loading else None,
                        loading and loading.gross_joules_uncertainty,
                        why,
                        notes,
                    ),
                    Entry(ABSENT if seconds is None else figure(seconds)),
                    _joules(median(joules) if joules else None, None, next(iter(reasons), "not measured"), notes),
                    Entry(figure(median(w.seconds for w in warm_ups)) if warm_ups else ABSENT),
                ],
                is_baseline=info.is_baseline,
            )
        )
    columns = [
        Column("Configuration"), Column("Loading the model", "J"), Column("It took", "s"), Column("A warm-up", "J"),
        Column("It took", "s"),
    ]  # fmt: skip
    return Section("startup", "Joules before the load", [Table(_CAPTION, columns, rows, notes)]) if measured else None


def _joules(joules: float | None, half: float | None, reason: str, notes: dict[str, str]) -> Entry:
    if joules is None:
        return Entry(ABSENT, note=note_letter(reason, notes))
    return Entry(figure(joules), None if half is None else f"± {figure(half)}")
