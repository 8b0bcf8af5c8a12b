"""Expected against measured speed-up: the bytes and operations of a token at each width, and its TPOT."""

from __future__ import annotations

from dataclasses import dataclass

from base.figures import figure
from reports.analysis.energy.roofline import DecodeCost, decode_cost
from reports.analysis.quantities import OUTPUT_TOKENS_PER_S, TPOT
from reports.analysis.records import Analysis, ConfigurationFigures
from reports.document.blocks import Block, Column, Entry, Plot, Plots, Prose, Row, Section, Table
from reports.document.chart import Axis, Marks, Rule, at_least
from reports.document.wording import ABSENT, PER_CELL, name, times, with_interval
from reports.sections.plots.places import Places
from reports.sections.plots.ratios import points_of
from reports.statistics.ratios import Comparison

_LEDE = (
    "A decoding step reads all weights once and the keys and values of each request, and does two operations a weight and token. "
    "Pruning the MLPs reduces the weights alone. The lines show the speed-up of a token if only bytes or only operations counted; the "
    "marks show the measured one (the baseline's TPOT over the width's own, in pairs within blocks). Marks below the lines mean that "
    "something else takes the time."
)


@dataclass(frozen=True)
class _SpeedUp:
    configuration: ConfigurationFigures
    cost: DecodeCost
    by_bytes: float
    by_flops: float
    measured: Comparison | None  # None for the baseline, and where TPOT could not be compared


def expected_section(analysis: Analysis) -> Section | None:
    """Expected and measured speed-up under every workload; None where the baseline was not measured."""
    if analysis.baseline is None:
        return None
    blocks: list[Block] = [Prose(_LEDE, "lede")]
    plots, tables = [], []
    places = Places.of(analysis)
    for workload in analysis.info.workloads:
        speed_ups = _speed_ups(analysis, workload)
        plots.append(_plot(workload, speed_ups, places))
        if speed_ups:
            tables.append(_table(analysis, workload, speed_ups))
    return Section("expected", "Expected and measured speed-up", [*blocks, Plots(plots), *tables])


def in_flight(analysis: Analysis, workload: str) -> float | None:
    """Requests that share a decoding step: as configured in a closed loop, by Little's law for the baseline in an open one."""
    known = analysis.workloads.get(workload)
    if known is None:
        return None
    if not known.open_loop:
        return known.level
    values = analysis.cell(analysis.info.baseline, workload).values
    rate, tpot = values[OUTPUT_TOKENS_PER_S].median, values[TPOT].median
    return max(1.0, rate * tpot / 1000) if rate and tpot else None


def _speed_ups(analysis: Analysis, workload: str) -> list[_SpeedUp]:
    """The baseline first, then by width; empty if the shape or the data type is unknown."""
    baseline, sharing = analysis.baseline, in_flight(analysis, workload)
    if baseline is None or sharing is None:
        return []
    cell = analysis.cell(baseline.info.label, workload)
    context = (cell.mean_prompt_tokens or 0.0) + (cell.mean_output_tokens or 0.0) / 2
    own = decode_cost(baseline.info, sharing, context)
    if own is None:
        return []
    measured = {p.configuration.info.label: _inverse(p.comparison) for p in points_of(analysis, workload, TPOT)}
    speed_ups = []
    for configuration in sorted(analysis.configurations, key=lambda c: (not c.info.is_baseline, -(c.info.width or 0))):
        cost = decode_cost(configuration.info, sharing, context)
        if cost is not None:
            found = measured.get(configuration.info.label)
            speed_ups.append(_SpeedUp(configuration, cost, own.bytes / cost.bytes, own.flops / cost.flops, found))
    return speed_ups


def _inverse(time: Comparison) -> Comparison:
    """A ratio of times as a ratio of speeds; the verdict is the same."""
    return Comparison(
        ratio=1 / (time.ratio or 1.0),
        low=1 / time.high if time.high else None,
        high=1 / time.low if time.low else None,
        verdict=time.verdict,
        margin=time.margin,
        smallest_effect=time.smallest_effect,
        ratios={block: 1 / ratio for block, ratio in time.ratios.items()},
    )


def _plot(workload: str, speed_ups: list[_SpeedUp], places: Places) -> Plot:
    title = f"{workload}: expected and measured speed-up"
    compared = [p for p in speed_ups if p.measured is not None]
    if not speed_ups:
        return Plot(title, absent="the model's shape or the served data type is not known")
    if not compared:
        return Plot(title, absent="no width's TPOT could be compared with the baseline's")
    ordered = sorted(speed_ups, key=lambda p: places.at[p.configuration.info.label])
    x = [places.at[p.configuration.info.label] for p in ordered]
    marks = [
        Marks(x, [p.by_bytes for p in ordered], "by bytes read", "muted", line="solid", width=2),
        Marks(x, [p.by_flops for p in ordered], "by operations", "ink", line="dot", width=2),
        _measured(compared, places),
    ]
    drawn = [end for p in compared for end in (p.measured.low, p.measured.ratio, p.measured.high) if end]  # type: ignore[union-attr]
    drawn += [p.by_bytes for p in speed_ups] + [p.by_flops for p in speed_ups]
    summary = [
        f"{name(p.configuration.info)}: expected {times(p.by_bytes)} by bytes, measured {with_interval(p.measured)}"
        for p in compared
        if p.measured
    ]
    axis = Axis("speed-up of a token", at_least(0.9, 1.1, drawn), form="ratio")
    return Plot(title, "", f"{title}. {'; '.join(summary)}.", places.chart(axis, marks, Rule(1.0)))


def _measured(compared: list[_SpeedUp], places: Places) -> Marks:
    found = [(p, p.measured) for p in compared if p.measured is not None]
    return Marks(
        [places.at[p.configuration.info.label] for p, _ in found],
        [c.ratio or 1.0 for _, c in found],
        "measured, with 95 % interval",
        "accent",
        "circle",
        size=10,
        low=[c.low for _, c in found],
        high=[c.high for _, c in found],
        hover=[
            f"{name(p.configuration.info)}\nmeasured {with_interval(c)}\nexpected {times(p.by_bytes)} by bytes, "
            f"{times(p.by_flops)} by operations"
            for p, c in found
        ],
    )


def _table(analysis: Analysis, workload: str, speed_ups: list[_SpeedUp]) -> Table:
    columns = [
        Column("Width"), Column("Read a token", "MB"), Column("Operations a token", "MFLOP"), Column("Expected", "by bytes"),
        Column("Expected", "by operations"), Column("Measured", "by TPOT"), Column("Read while decoding", "GB/s"),
    ]  # fmt: skip
    rows = []
    for p in speed_ups:
        info = p.configuration.info
        tpot = analysis.cell(info.label, workload).values[TPOT].median
        entries = [
            Entry(name(info).removeprefix("width ") if name(info).startswith("width ") else name(info)),
            Entry(figure(p.cost.bytes / 1e6)),
            Entry(figure(p.cost.flops / 1e6)),
            Entry(ABSENT if info.is_baseline else times(p.by_bytes)),
            Entry(ABSENT if info.is_baseline else times(p.by_flops)),
            Entry((with_interval(p.measured) if p.measured else None) or ABSENT),
            Entry(figure(p.cost.step_bytes / 1e6 / tpot) if tpot else ABSENT),
        ]
        rows.append(Row(entries, info.is_baseline))
    sharing = in_flight(analysis, workload) or 1.0
    remark = (
        f"Computed from config.json for {figure(sharing)} request{'s' * (sharing != 1)} in flight at the middle of an answer. Read "
        f"while decoding: a step's bytes over TPOT; compare it with your memory's bandwidth. {PER_CELL}"
    )
    return Table(f"{workload}: what a token costs", columns, rows, remarks=[remark])
