"""How narrowly the ratios are known that decide a run's number of blocks, and how the run ended."""

from __future__ import annotations

from reports.analysis.precision import Goal
from reports.analysis.quantities import QUANTITIES
from reports.analysis.records import Analysis, Precision
from reports.document.blocks import Block, Prose, Row, Section, Table, columns, text_row
from reports.document.wording import ABSENT, around, name, sentence, with_interval
from reports.runs.records.run import Extension, RunInfo

_ENDINGS = {
    "reached": "it ended when every ratio was known that narrowly",
    "failed": "it ended because what was not known that narrowly had failed in every block",
    "max_blocks": "it ended at the number of blocks that it was allowed (max_blocks)",
    "max_hours": "it ended because another block would have taken it past its time (max_hours)",
    None: "it has not ended by itself",
}
_HOLD = (
    "Intervals of ratios are sequential: in 95 of 100 runs those of this table hold together and at every look, whatever made the run end "
    "when it did. Those of medians and percentiles do not allow for looks."
)


def precision_section(analysis: Analysis) -> Section | None:
    """None for a run whose number of blocks no result could decide."""
    info = analysis.info
    if not info.looks:
        return None
    blocks: list[Block] = [Prose(_HOLD, "lede")] if info.adaptive is None else []
    blocks += [Prose(sentence(_extension(one))) for one in info.extended()]
    if info.adaptive is not None:
        blocks += [Prose(_ending(info), "lede"), Prose(_HOLD), _table(analysis)]
    return Section("precision", "How its number of blocks was decided", blocks)


def _extension(one: Extension) -> str:
    return f"it was extended from {one.before} to {one.after} blocks{f' at {one.at}' if one.at else ''}, when results could be seen"


def _ending(info: RunInfo) -> str:
    assert info.adaptive is not None  # noqa: S101 - its section alone asks
    settled = info.adaptive.settled
    left_out = {blocks for blocks in settled.values() if blocks < info.blocks}
    words = (
        f" A configuration was left out once its ratios were known, the first after {min(left_out)}."
        if left_out
        else ""
    )
    return (
        f"The run went on until {info.adaptive.until}: {_ENDINGS[info.adaptive.ended]}, after {info.blocks} blocks; "
        f"{len(settled)} of {len(info.labels) - 1} configurations are known.{words}"
    )


def _table(analysis: Analysis) -> Table:
    assert analysis.info.adaptive is not None  # noqa: S101
    goal = Goal.parse(analysis.info.adaptive.until)
    names = {c.info.label: name(c.info) for c in analysis.configurations}
    rows = [_row(one, names.get(one.label, one.label), goal) for one in analysis.precision]
    headings = columns("Configuration", "Workload", "Quantity", "Ratio", "Half-width", "Blocks", "")
    caption = f"Ratios to the baseline with their sequential intervals; wanted: {around(goal.within)}."
    return Table(caption, headings, rows, kind="text")


def _row(one: Precision, label: str, goal: Goal) -> Row:
    half = one.half_width
    return text_row(
        label,
        one.workload,
        QUANTITIES[one.quantity].title,
        with_interval(one.comparison) or ABSENT,
        ABSENT if half is None else around(half),
        str(one.blocks),
        "known" if half is not None and half <= goal.within else one.comparison.reason or "wider",
    )
