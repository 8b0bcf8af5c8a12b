"""Joules before the load that no other figure has: loading the model, and the warm-up."""

from __future__ import annotations

from statistics import median

from base.figures import figure
from energy.records import WindowEnergy
from reports.analysis.records import Analysis
from reports.document.blocks import Column, Entry, Row, Section, Table, note_letter
from reports.document.wording import ABSENT, or_absent

_CAPTION = (
    "Gross joules of this machine's meters while the server started and loaded the model, once, and of a warm-up, the median over "
    "trials. No other figure of this report contains them."
)


def startup_section(analysis: Analysis) -> Section | None:
    """A row for every configuration; None where neither was measured."""
    notes: dict[str, str] = {}
    rows, measured = [], False
    for info in (c.info for c in analysis.configurations):
        warm_ups = [t.warm_up for t in analysis.trials if t.label == info.label and t.warm_up is not None]
        joules = [w.joules for w in warm_ups if w.joules is not None]
        why = next((w.joules_reason for w in warm_ups if w.joules_reason is not None), "not measured")
        loading = _loading(info.load_energy, notes)
        measured |= bool(joules) or loading.note is None
        entries = [
            Entry(info.label),
            loading,
            Entry(or_absent(info.load_s)),
            Entry(figure(median(joules))) if joules else Entry(ABSENT, note=note_letter(why, notes)),
            Entry(figure(median(w.seconds for w in warm_ups)) if warm_ups else ABSENT),
        ]
        rows.append(Row(entries, is_baseline=info.is_baseline))
    columns = [
        Column("Configuration"), Column("Loading the model", "J"), Column("It took", "s"), Column("A warm-up", "J"),
        Column("It took", "s"),
    ]  # fmt: skip
    return Section("startup", "Joules before the load", [Table(_CAPTION, columns, rows, notes)]) if measured else None


def _loading(energy: WindowEnergy | None, notes: dict[str, str]) -> Entry:
    if energy is None or energy.gross_joules is None:
        reason = "not measured" if energy is None else energy.reason or "not measured"
        return Entry(ABSENT, note=note_letter(reason, notes))
    half = energy.gross_joules_uncertainty
    return Entry(figure(energy.gross_joules), None if half is None else f"± {figure(half)}")
