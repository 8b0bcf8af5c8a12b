"""A plan's section: a letter for every reason that a figure is missing."""

from __future__ import annotations

from reports.document.blocks import note_letter
from reports.runs.fleet_plan import Demand, Estimate, FleetPlan, FleetRow
from reports.sections.fleet import fleet_table


def row(width: int) -> FleetRow:
    missing = [Estimate(value=None, reason=f"reason {width}-{n}") for n in range(5)]
    unasked = Estimate(value=None, reason="not asked")
    return FleetRow(
        label=f"width-{width}",
        width=width,
        is_baseline=width == 1024,
        capacity_rps=missing[0],
        gpus=missing[1],
        busy=missing[2],
        joules_per_request=missing[3],
        megawatts=missing[4],
        cost_per_day=unasked,
        kg_co2_per_day=unasked,
    )


def test_more_reasons_than_the_alphabet_has_letters_are_all_listed():
    rows = [row(width) for width in range(1024, 1030)]
    demand = Demand(requests_per_day=1000, prompt_tokens=8, output_tokens=8)
    table = fleet_table(FleetPlan(demand=demand, rows=rows, assumptions=[]))
    assert len(table.notes) == 30
    assert list(table.notes)[:2] + list(table.notes)[25:28] == ["a", "b", "z", "aa", "ab"]
    assert table.notes[table.rows[5].entries[1].note] == "reason 1029-0"


def test_a_reason_keeps_its_letter():
    notes: dict[str, str] = {}
    assert [note_letter(reason, notes) for reason in ("one", "two", "one", None)] == ["a", "b", "a", None]
    assert notes == {"a": "one", "b": "two"}
