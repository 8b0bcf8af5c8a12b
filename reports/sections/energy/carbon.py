"""Grams of CO2 equivalent, where the user stated an intensity of the grid."""

from __future__ import annotations

from statistics import median

from base.figures import figure
from energy.units import kilowatt_hours
from reports.analysis.quantities import JOULES
from reports.analysis.records import Analysis
from reports.document.blocks import Column, Entry, Prose, Row, Section, Table, note_letter
from reports.document.wording import ABSENT, TIMES

_TOKENS = 1e6


def carbon_section(analysis: Analysis) -> Section | None:
    """A table for each workload; None where no intensity was stated."""
    stated = [t.carbon for t in analysis.trials if t.carbon is not None]
    if not stated:
        return None
    known = [c.g_per_kwh for c in stated if c.g_per_kwh is not None]
    low, high = (figure(min(known)), figure(max(known))) if known else (ABSENT, ABSENT)
    amount = low if low == high else f"{low} to {high}"
    sources = ", ".join(dict.fromkeys(c.source for c in stated))
    lede = (
        f"Gross joules {TIMES} the grid's intensity, {amount} g/kWh, as stated: {sources}. It is of the meters that the joules are of, "
        "without what they do not cover, and without making the machine."
    )
    return Section(
        "carbon", "Carbon", [Prose(lede, "lede"), *(_table(analysis, name) for name in analysis.info.workloads)]
    )


def _table(analysis: Analysis, workload: str) -> Table:
    notes: dict[str, str] = {}
    rows = []
    for info in (c.info for c in analysis.configurations):
        trials = [t for t in analysis.trials if (t.label, t.workload) == (info.label, workload)]
        each = [t.carbon.grams for t in trials if t.carbon is not None and t.carbon.grams is not None]
        tokens = [
            kilowatt_hours(t.values[JOULES]) * _TOKENS * t.carbon.g_per_kwh
            for t in trials
            if t.carbon is not None and t.carbon.g_per_kwh is not None and JOULES in t.values
        ]
        reason = next((t.carbon.reason for t in trials if t.carbon and t.carbon.reason), "not stated")
        grams = Entry(figure(median(each))) if each else Entry(ABSENT, note=note_letter(reason, notes))
        per_tokens = Entry(figure(median(tokens))) if tokens else Entry(ABSENT)
        rows.append(Row([Entry(info.label), per_tokens, grams], is_baseline=info.is_baseline))
    columns = [Column("Configuration"), Column("A million output tokens", "g CO2e"), Column("A window", "g CO2e")]
    return Table(f"{workload}. Medians over trials.", columns, rows, notes)
