"""`prunebench plan`: what a demand would take with each width of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError
from rich.table import Table

from prunebench.commands.compare import say_damaged
from prunebench.load.trial import objectives
from prunebench.run.run_writer import write_record
from reports.analysis.cells import analyse_folder
from reports.build import build_report
from reports.document.console import Console
from reports.errors import ReportError
from reports.fleet.fleet import plan_fleet
from reports.fleet.records import PLAN_NAME, Demand, FleetPlan
from reports.sections.fleet import asked, fleet_table


def plan_command(run: Path, demand: dict[str, Any], slo: str | None, *, as_json: bool, console: Console) -> None:
    """Plan, keep the plan in the run folder, make the report anew with it, and print it."""
    try:
        wanted = Demand.model_validate({**demand, **objectives(slo)})
    except ValidationError as error:
        first = error.errors()[0]
        option = "--" + str(first["loc"][0]).replace("_", "-")
        raise ReportError(f"{option}: {first['msg'].removeprefix('Value error, ')}") from None
    progress = Console(stderr=True)
    analysis = analyse_folder(run)
    say_damaged([analysis])
    found = plan_fleet(
        analysis, wanted, lambda label: progress.print(f"planning: {label}", highlight=False, markup=False)
    )
    write_record(run / PLAN_NAME, found)
    page = build_report([run])
    if as_json:
        console.print_json(found.model_dump_json())
        return
    console.print(_drawn(found))
    for line in (asked(wanted), *found.assumptions, str(page)):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _drawn(plan: FleetPlan) -> Table:
    table = fleet_table(plan)
    drawn = Table(box=None, pad_edge=False)
    for column in table.columns:
        drawn.add_column(f"{column.heading}{f', {column.unit}' if column.unit else ''}", justify="right")
    for row in table.rows:
        drawn.add_row(*(f"{e.text} {e.change or ''}{f'[{e.note}]' if e.note else ''}".strip() for e in row.entries))
    for letter, text in table.notes.items():
        drawn.add_row(f"[{letter}] {text}")
    return drawn
