"""Power at rest: the mean watts of the machine without requests."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean

from base.figures import figure
from energy.records import IdleWindow, WindowEnergy
from reports.analysis.records import Analysis
from reports.document.blocks import Column, Entry, Row, Section, Table, note_letter
from reports.document.wording import ABSENT


def idle_section(analysis: Analysis) -> Section | None:
    """Mean power in four states, or before and after the load of every block; None if it was not measured."""
    if analysis.idles:
        return _idle_of_visits(analysis)
    infos = [c.info for c in analysis.configurations]
    states = [(i.label, (i.idle_without_model, i.idle, i.idle_after_load, i.idle_again)) for i in infos]
    if not any(idle is not None and idle.gross_joules is not None for _, found in states for idle in found):
        return None
    notes: dict[str, str] = {}
    rows = [
        Row([Entry(label), *(_watts(idle, notes) for idle in found)], is_baseline=label == analysis.info.baseline)
        for label, found in states
    ]
    columns = [
        Column("Configuration"), Column("No model", "W"), Column("Loaded, quiet", "W"), Column("Right after load", "W"),
        Column("Quiet again", "W"),
    ]  # fmt: skip
    table = Table("Mean power without requests; net joules subtract the second figure.", columns, rows, notes)
    return Section("idle", "Power at rest", [table])


def _idle_of_visits(analysis: Analysis) -> Section | None:
    """Means over the blocks, each with the lowest and the highest."""
    notes: dict[str, str] = {}
    rows = []
    for info in (c.info for c in analysis.configurations):
        own = [idle for idle in analysis.idles if idle.label == info.label]
        before = [_mean_watts(idle.before) for idle in own]
        after = [_mean_watts(idle.after) for idle in own]
        changes = [
            late - early for early, late in zip(before, after, strict=True) if early is not None and late is not None
        ]
        entries = [
            Entry(info.label),
            _watts(info.idle_without_model, notes),
            _over_blocks(before),
            _over_blocks(after),
            _watts(info.idle_after_load, notes),
            Entry(f"{max(changes, key=abs):+.2f}" if changes else ABSENT),
        ]
        rows.append(Row(entries, is_baseline=info.label == analysis.info.baseline))
    columns = [
        Column("Configuration"), Column("No model", "W"), Column("Before a load", "W"), Column("After a load", "W"),
        Column("Right after load", "W"), Column("Largest change", "W"),
    ]  # fmt: skip
    caption = (
        "Mean power without requests, before and after the load of each block (mean, lowest and highest). Net joules of a trial subtract "
        "the power interpolated between the two of its block; their 95 % half-width includes the error of the meter, and the noise and drift of idle power."
    )
    return Section("idle", "Power at rest", [Table(caption, columns, rows, notes)])


def _mean_watts(idle: IdleWindow | None) -> float | None:
    if idle is None or idle.whole.gross_joules is None:
        return None
    return idle.whole.gross_joules / ((idle.whole.end_ns - idle.whole.start_ns) / 1e9)


def _over_blocks(watts: Sequence[float | None]) -> Entry:
    known = [each for each in watts if each is not None]
    return Entry(figure(mean(known)), f"{figure(min(known))} to {figure(max(known))}") if known else Entry(ABSENT)


def _watts(idle: WindowEnergy | None, notes: dict[str, str]) -> Entry:
    if idle is not None and idle.gross_joules is not None:
        seconds = (idle.end_ns - idle.start_ns) / 1e9
        half = None if idle.gross_joules_uncertainty is None else idle.gross_joules_uncertainty / seconds
        return Entry(figure(idle.gross_joules / seconds), None if half is None else f"± {figure(half)}")
    reason = "not measured" if idle is None else idle.reason or "not measured"
    return Entry(ABSENT, note=note_letter(reason, notes))
