"""The planned fleet: what a demand requires with each width."""

from __future__ import annotations

from collections.abc import Callable

from base.figures import figure, percent
from reports.analysis.records import Analysis
from reports.document.blocks import Block, Column, Entry, Items, Prose, Row, Section, Table, note_letter
from reports.document.wording import ABSENT, TO
from reports.runs.fleet_plan import Demand, Estimate, FleetPlan, FleetRow

_LEDE = (
    "The fleet that the demand below requires with each width. GPUs, joules and the figures derived from them are simulated, not "
    "measured: a queue in front of a replica with the times and powers that this run measured. The last column shows whether the "
    "capacity was measured. Intervals are over the blocks of the run; the assumptions of the simulation are listed beneath."
)


def fleet_section(analysis: Analysis) -> Section | None:
    """Demand, table and assumptions; None if `prunebench plan` was not run."""
    plan = analysis.plan
    if plan is None:
        return None
    blocks: list[Block] = [
        Prose(_LEDE, "lede"),
        Prose(describe_demand(plan.demand)),
        fleet_table(plan),
        Items(plan.assumptions),
    ]
    return Section("fleet", "Fleet for a demand", blocks)


def describe_demand(demand: Demand) -> str:
    """The demand in a sentence."""
    objectives = [
        f"{title} within {limit:g} ms"
        for title, limit in (("TTFT", demand.slo_ttft_ms), ("TPOT", demand.slo_tpot_ms))
        if limit is not None
    ]
    objective = (
        f"{percent(demand.slo_share)} of them with {' and '.join(objectives)}" if objectives else "no objective stated"
    )
    return (
        f"{figure(demand.requests_per_day)} requests a day ({figure(demand.mean_rate)} a second, {demand.peak:g}x at the peak) of "
        f"{demand.prompt_tokens} prompt and {demand.output_tokens} output tokens, {objective}."
    )


def fleet_table(plan: FleetPlan) -> Table:
    """A row for every configuration; columns without prices or carbon in the demand are left out."""
    demand = plan.demand
    columns: list[tuple[Column, Callable[[FleetRow], Estimate]]] = [
        (Column("Capacity", "requests/s"), lambda row: row.capacity_rps),
        (Column("GPUs"), lambda row: row.gpus),
        (Column("Busy", "%"), lambda row: _scaled(row.busy, 100)),
        (Column("J/request"), lambda row: row.joules_per_request),
        (Column("Site", "MW"), lambda row: row.megawatts),
    ]
    if demand.price_kwh is not None or demand.gpu_hour is not None:
        columns.append((Column("Cost", "a day"), lambda row: row.cost_per_day))
    if demand.carbon_g_per_kwh is not None:
        columns.append((Column("CO2", "kg a day"), lambda row: row.kg_co2_per_day))
    notes: dict[str, str] = {}
    rows = [
        Row(
            [
                Entry(_name(row)),
                *(_entry(of(row), notes) for _, of in columns),
                Entry(row.basis or "simulated, not measured"),
            ],
            is_baseline=row.is_baseline,
        )
        for row in plan.rows
    ]
    caption = "Capacity of a replica, and the fleet for the demand, with 95 % intervals over blocks"
    headings = [Column("Width"), *(column for column, _ in columns), Column("Capacity is")]
    return Table(caption, headings, rows, notes=notes)


def _name(row: FleetRow) -> str:
    return str(row.width) if row.label == f"width-{row.width}" else row.label


def _scaled(estimate: Estimate, factor: float) -> Estimate:
    figures = {key: None if (v := getattr(estimate, key)) is None else v * factor for key in ("value", "low", "high")}
    return estimate.model_copy(update=figures)


def _entry(estimate: Estimate, notes: dict[str, str]) -> Entry:
    if estimate.value is None:
        return Entry(ABSENT, note=note_letter(estimate.reason or "unknown", notes))
    interval = None
    if estimate.low is not None and estimate.high is not None:
        interval = f"({figure(estimate.low)}{TO}{figure(estimate.high)})"
    return Entry(figure(estimate.value), interval)
