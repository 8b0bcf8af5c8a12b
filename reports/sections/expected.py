"""What a width promises against what it gave: bytes and operations a token, and the speed-up that came of them."""

from __future__ import annotations

from dataclasses import dataclass

from reports.analysis.quantities import OUTPUT_TOKENS_PER_S, TPOT
from reports.analysis.records import Analysis, ConfigurationFigures
from reports.analysis.roofline import DecodeCost, decode_cost
from reports.document.blocks import Block, Column, Entry, Plot, Plots, Prose, Row, Section, Table
from reports.document.chart import Axis, Chart, Marks, Rule, at_least
from reports.document.wording import PER_CELL, figure, name, times, with_interval
from reports.sections.plots.ratios import RATIO_AXIS, points_of
from reports.statistics.ratios import Comparison

_LEDE = (
    "While it decodes, a model reads all its weights once a step, and a request its own keys and values; it does two operations a "
    "weight and token. Pruning the MLPs takes from the weights alone. The lines say how much faster a token should come if one of "
    "the two were all that counted; the marks say how much faster it came (the baseline's TPOT over the width's own, in pairs "
    "within blocks). Marks below the lines mean that something else is what takes the time."
)


@dataclass(frozen=True)
class _Promise:
    configuration: ConfigurationFigures
    cost: DecodeCost
    by_bytes: float
    by_flops: float
    realised: Comparison | None  # None for the baseline, and where TPOT could not be compared


def expected_section(analysis: Analysis) -> Section | None:
    """Every workload's promise and outcome; None where the baseline was not measured."""
    if analysis.baseline is None:
        return None
    blocks: list[Block] = [Prose(_LEDE, "lede")]
    plots, tables = [], []
    for workload in analysis.info.workloads:
        promises = _promises(analysis, workload)
        plots.append(_plot(workload, promises))
        if promises:
            tables.append(_table(analysis, workload, promises))
    return Section("expected", "What size promises, and what it gave", [*blocks, Plots(plots), *tables])


def in_flight(analysis: Analysis, workload: str) -> float | None:
    """Requests that share a decoding step: as asked for in a closed loop, by Little's law for the baseline in an open one."""
    known = analysis.workloads.get(workload)
    if known is None:
        return None
    if not known.open_loop:
        return known.level
    values = analysis.cell(analysis.info.baseline, workload).values
    rate, tpot = values[OUTPUT_TOKENS_PER_S].median, values[TPOT].median
    return max(1.0, rate * tpot / 1000) if rate and tpot else None


def _promises(analysis: Analysis, workload: str) -> list[_Promise]:
    """The baseline first, then by width; empty without what the costs are worked out from."""
    baseline, sharing = analysis.baseline, in_flight(analysis, workload)
    if baseline is None or sharing is None:
        return []
    cell = analysis.cell(baseline.info.label, workload)
    context = (cell.mean_prompt_tokens or 0.0) + (cell.mean_output_tokens or 0.0) / 2
    own = decode_cost(baseline.info, sharing, context)
    if own is None:
        return []
    realised = {p.configuration.info.label: _inverse(p.comparison) for p in points_of(analysis, workload, TPOT)}
    promises = []
    for configuration in sorted(analysis.configurations, key=lambda c: (not c.info.is_baseline, -c.info.width)):
        cost = decode_cost(configuration.info, sharing, context)
        if cost is not None:
            found = realised.get(configuration.info.label)
            promises.append(_Promise(configuration, cost, own.bytes / cost.bytes, own.flops / cost.flops, found))
    return promises


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


def _plot(workload: str, promises: list[_Promise]) -> Plot:
    title = f"{workload}: promised and realised"
    compared = [p for p in promises if p.realised is not None]
    if not promises:
        return Plot(title, "", "", None, "the model's shape or the served data type is not known")
    if not compared:
        return Plot(title, "", "", None, "no width's TPOT could be compared with the baseline's")
    ordered = sorted(promises, key=lambda p: p.configuration.info.expansion_ratio)
    x = [p.configuration.info.expansion_ratio for p in ordered]
    marks = [
        Marks(x, [p.by_bytes for p in ordered], "by bytes read", "muted", line="solid", width=2),
        Marks(x, [p.by_flops for p in ordered], "by operations", "ink", line="dot", width=2),
        _realised(compared),
    ]
    drawn = [end for p in compared for end in (p.realised.low, p.realised.ratio, p.realised.high) if end]  # type: ignore[union-attr]
    drawn += [p.by_bytes for p in promises] + [p.by_flops for p in promises]
    said = [
        f"{name(p.configuration.info)}: promised {times(p.by_bytes)} by bytes, realised {with_interval(p.realised)}"
        for p in compared
        if p.realised
    ]
    axis = Axis("speed-up of a token", at_least(0.9, 1.1, drawn), form="ratio")
    return Plot(title, "", f"{title}. {'; '.join(said)}.", Chart(RATIO_AXIS, axis, marks, [Rule(1.0)]))


def _realised(compared: list[_Promise]) -> Marks:
    found = [(p, p.realised) for p in compared if p.realised is not None]
    return Marks(
        [p.configuration.info.expansion_ratio for p, _ in found],
        [c.ratio or 1.0 for _, c in found],
        "realised, with 95 % interval",
        "accent",
        "circle",
        size=10,
        low=[c.low for _, c in found],
        high=[c.high for _, c in found],
        hover=[
            f"{name(p.configuration.info)}\nrealised {with_interval(c)}\npromised {times(p.by_bytes)} by bytes, "
            f"{times(p.by_flops)} by operations"
            for p, c in found
        ],
    )


def _table(analysis: Analysis, workload: str, promises: list[_Promise]) -> Table:
    columns = [
        Column("Width"), Column("Read a token", "MB"), Column("Operations a token", "MFLOP"), Column("Promised", "by bytes"),
        Column("Promised", "by operations"), Column("Realised", "by TPOT"), Column("Read while decoding", "GB/s"),
    ]  # fmt: skip
    rows = []
    for p in promises:
        info = p.configuration.info
        tpot = analysis.cell(info.label, workload).values[TPOT].median
        entries = [
            Entry(name(info).removeprefix("width ") if name(info).startswith("width ") else name(info)),
            Entry(figure(p.cost.bytes / 1e6)),
            Entry(figure(p.cost.flops / 1e6)),
            Entry("—" if info.is_baseline else times(p.by_bytes)),
            Entry("—" if info.is_baseline else times(p.by_flops)),
            Entry((with_interval(p.realised) if p.realised else None) or "—"),
            Entry(figure(p.cost.step_bytes / 1e6 / tpot) if tpot else "—"),
        ]
        rows.append(Row(entries, info.is_baseline))
    sharing = in_flight(analysis, workload) or 1.0
    remark = (
        f"Worked out from config.json for {figure(sharing)} request{'s' * (sharing != 1)} in flight at the middle of an answer. Read "
        f"while decoding: a step's bytes over TPOT; hold it against your memory's bandwidth. {PER_CELL}"
    )
    return Table(f"{workload}: what a token costs", columns, rows, remarks=[remark])
