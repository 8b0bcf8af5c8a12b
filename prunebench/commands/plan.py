"""`prunebench plan`: what a demand would take with each width of a run."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from base.files import write_record
from base.quantities import PER_DAY
from prunebench.commands.options import GpuHour, Json, OutputTokens, PriceKwh, PromptTokens, Slo, cost_option, quantity
from prunebench.load.workload_options import objectives
from prunebench.terminal.command_help import examples
from prunebench.terminal.console import err, out, print_line
from prunebench.terminal.damaged import analyse_run
from prunebench.terminal.progress import Steps
from reports.build import build_report
from reports.document.terminal import terminal_table
from reports.errors import ReportError
from reports.fleet.fleet import plan_fleet
from reports.runs.fleet_plan import PLAN_NAME, Demand
from reports.sections.fleet import describe_demand, fleet_table


def _no_experiment(run: Path) -> Path:
    """Raises ReportError for an experiment file, whose run has another plan."""
    if run.suffix == ".toml":
        raise ReportError(
            f"RUN {run}: takes the folder of a run; what this experiment would take: `prunebench run {run} --dry-run`"
        )
    return run


_demand_option = partial(typer.Option, rich_help_panel="Demand")


@examples(
    (
        "A hundred million requests a day",
        "prunebench plan runs/a --requests-per-day 1e8 --prompt-tokens 512 --output-tokens 128",
    ),
    (
        "A million, nine of ten with a first token within 200 ms",
        "prunebench plan runs/a --requests-per-day 1e6 --prompt-tokens 512 --output-tokens 128 --slo ttft=200ms",
    ),
)
def plan(
    run: Annotated[
        Path,
        typer.Argument(callback=_no_experiment, help="A run folder with single, batch or concurrency workloads."),
    ],
    requests_per_day: Annotated[float, quantity(PER_DAY, "E.g. 1e9, or 100/s.", least=1)],
    prompt_tokens: PromptTokens,
    output_tokens: OutputTokens,
    slo: Slo = None,
    slo_share: Annotated[float, typer.Option(min=0.01, max=0.99, help="Of the requests, that meet it.")] = 0.9,
    peak: Annotated[float, _demand_option(min=1, help="Rate of the busiest hour over the day's mean.")] = 2.0,
    pue: Annotated[float, cost_option(min=1, help="Energy of the site over that of what is metered.")] = 1.2,
    price_kwh: PriceKwh = None,
    gpu_hour: GpuHour = None,
    carbon: Annotated[float | None, cost_option(min=0, help="Grams of CO2 for a kWh.")] = None,
    gpus_per_replica: Annotated[int, _demand_option(min=1, help="GPUs that one server of the model takes.")] = 1,
    seed: Annotated[int, _demand_option(help="Of the simulated queue.")] = 0,
    as_json: Json = False,
) -> None:
    """Plan the fleet, save the plan in the run folder, write the report again with it, and print it."""
    demand = _demand(
        requests_per_day=requests_per_day,
        prompt_tokens=prompt_tokens,
        output_tokens=output_tokens,
        slo_share=slo_share,
        peak=peak,
        pue=pue,
        price_kwh=price_kwh,
        gpu_hour=gpu_hour,
        carbon_g_per_kwh=carbon,
        gpus_per_replica=gpus_per_replica,
        seed=seed,
        **objectives(slo, ("ttft", "tpot")),
    )
    found = plan_fleet(analyse_run(run), demand, lambda label: print_line(f"planning: {label}", err))
    write_record(run / PLAN_NAME, found)
    with Steps(err, "report") as steps:
        page = build_report([run], notice=lambda line: print_line(line, err), progress=steps.reach)
    if as_json:
        out.print_json(found.model_dump_json())
        return
    out.print(terminal_table(fleet_table(found), run.resolve().name))
    for line in (describe_demand(demand), *found.assumptions, str(page)):
        print_line(line)


def _demand(**options: object) -> Demand:
    """Raises ReportError naming the option that does not fit."""
    try:
        return Demand.model_validate(options)
    except ValidationError as error:
        first = error.errors()[0]
        option = "--" + str(first["loc"][0]).replace("_", "-")
        raise ReportError(f"{option}: {first['msg'].removeprefix('Value error, ')}") from None
