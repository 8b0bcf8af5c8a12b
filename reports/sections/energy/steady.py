"""Joules by ML.ENERGY's rule for a steady state, beside those of the window."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from base.figures import figure, percent
from loadgen.metrics.summary import per
from reports.analysis.quantities import JOULES
from reports.analysis.records import Analysis, TrialFigures
from reports.document.blocks import Column, Entry, Prose, Row, Section, Table, note_letter
from reports.document.wording import ABSENT, or_absent

_LEDE = (
    "ML.ENERGY counts from when as many requests as are in flight have had a first token until all but that many and one more have "
    "ended; the window of this report counts whole generations of the loop. Both are of the same trials."
)


def steady_section(analysis: Analysis) -> Section | None:
    """A table for each workload that keeps a batch full; None without one."""
    known = {t.workload for t in analysis.trials if t.steady_state is not None and t.steady_state.batch is not None}
    tables = [_table(analysis, workload) for workload in analysis.info.workloads if workload in known]
    return (
        Section("steady-state", "Steady state by ML.ENERGY's rule", [Prose(_LEDE, "lede"), *tables]) if tables else None
    )


def _table(analysis: Analysis, workload: str) -> Table:
    notes: dict[str, str] = {}
    rows = []
    for info in (c.info for c in analysis.configurations):
        trials = [t for t in analysis.trials if (t.label, t.workload) == (info.label, workload)]
        rows.append(Row([Entry(info.label), *_entries(trials, notes)], is_baseline=info.is_baseline))
    columns = [
        Column("Configuration"), Column("This report's window", "J/output token"), Column("ML.ENERGY's", "J/output token"),
        Column("Apart"), Column("Its time", "s"), Column("Of the window's"),
    ]  # fmt: skip
    return Table(f"{workload}. Medians over trials that have both.", columns, rows, notes)


def _entries(trials: Sequence[TrialFigures], notes: dict[str, str]) -> list[Entry]:
    both = []
    reasons = []
    for trial in trials:
        steady, own = trial.steady_state, trial.values.get(JOULES)
        theirs = None if steady is None else per(steady.joules, steady.output_tokens)
        if steady is None or theirs is None or own is None:
            reasons.append((steady.reason if steady else None) or "not recorded")
            continue
        seconds = ((steady.end_ns or 0) - (steady.start_ns or 0)) / 1e9
        both.append((own, theirs, theirs / own - 1, seconds, seconds / trial.window_s))
    if not both:
        return [Entry(ABSENT, note=note_letter(next(iter(reasons), "no trial"), notes)), *[Entry(ABSENT)] * 4]
    own, theirs, apart, seconds, share = (median(column) for column in zip(*both, strict=True))
    return [
        Entry(figure(own)),
        Entry(figure(theirs)),
        Entry(percent(apart, signed=True)),
        Entry(or_absent(seconds)),
        Entry(percent(share)),
    ]
