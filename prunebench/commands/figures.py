"""The commands about what was measured."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from prunebench.commands.options import Json, err, out


class ReportFormat(StrEnum):
    """What --format takes."""

    html = "html"
    vllm_json = "vllm-json"
    guidellm_json = "guidellm-json"
    csv = "csv"


class ComparisonFormat(StrEnum):
    """What compare --format takes."""

    text = "text"
    markdown = "markdown"
    junit = "junit"
    json = "json"


Margin = Annotated[
    str, typer.Option(help="Differences up to this count as equivalent, e.g. 1% or 0.01; 0: any that is not chance.")
]


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(
            help="Run folders (of a folder of runs, the newest), folders of `load`, or results of `vllm bench serve`."
        ),
    ],
    output: Annotated[
        Path | None, typer.Option(help="The file; default report.html, or the format's name, in the folder.")
    ] = None,
    form: Annotated[
        ReportFormat,
        typer.Option(
            "--format", help="html with Markdown, CSV and JSON beside it; or every trial in another tool's format."
        ),
    ] = ReportFormat.html,
    wait: Annotated[
        bool, typer.Option("--wait", help="Until the runner at work on it ends; exit 1 if the run is not complete.")
    ] = False,
    margin: Margin = "1%",
    png: Annotated[bool, typer.Option("--png", help="The plots as PNG too, for slides.")] = False,
    sink: Annotated[
        list[str] | None, typer.Option(help="Send the figures to mlflow:URI or prometheus:FILE too; repeatable.")
    ] = None,
) -> None:
    """Turn runs into a report: HTML and Markdown with pictures, and its figures as CSV, Parquet and JSON."""
    from prunebench.commands.compare import share
    from prunebench.run.waiting import newest_run, wait_for_run
    from reports.build import build_report
    from reports.exports.sinks import send_runs

    def say(line: str) -> None:
        err.print(f"prunebench: {line}", highlight=False, markup=False, soft_wrap=True)

    folders = [newest_run(run) for run in runs]
    missing = [problem for run in folders if wait and (problem := wait_for_run(run))]
    if form == ReportFormat.html:
        written = build_report(folders, output, margin=share(margin, "--margin"), png=png, notice=say)
    else:
        from reports.exports.trials import export

        written = export(folders, form.value, output)
    out.print(str(written), highlight=False, soft_wrap=True)
    send_runs(folders, sink or [], margin=share(margin, "--margin"))
    for problem in missing:
        say(problem)
    raise typer.Exit(1 if missing else 0)


def compare(
    before: Annotated[Path, typer.Argument(help="A run folder, the one to compare with.")],
    after: Annotated[Path, typer.Argument(help="Another run folder.")],
    margin: Annotated[str, typer.Option(help="How far from 1 a ratio's whole interval must lie for a verdict.")] = "2%",
    fail_over: Annotated[
        str | None, typer.Option(help="Exit 1 if a quantity's whole 95 % interval is worse by more than this, e.g. 5%.")
    ] = None,
    quantity: Annotated[
        list[str] | None, typer.Option(help="A key of report.json to compare; repeatable; default: the table's.")
    ] = None,
    style: Annotated[ComparisonFormat, typer.Option("--format", help="How to write it.")] = ComparisonFormat.text,
    output: Annotated[Path | None, typer.Option(help="Write to this file instead of printing.")] = None,
) -> None:
    """Compare two runs width by width: another GPU, another engine, last week."""
    from prunebench.commands.compare import compare_command

    raise typer.Exit(
        compare_command(
            before,
            after,
            margin=margin,
            fail_over=fail_over,
            quantities=quantity or [],
            style=style.value,
            output=output,
            console=out,
        )
    )


def plan(
    run: Annotated[Path, typer.Argument(help="A run folder with single, batch or concurrency workloads.")],
    requests_per_day: Annotated[float, typer.Option(min=1, help="E.g. 1e9.")],
    prompt_tokens: Annotated[str, typer.Option(help="A number, or e.g. lognormal:512,256.")],
    output_tokens: Annotated[str, typer.Option(help="As --prompt-tokens.")],
    slo: Annotated[str | None, typer.Option(help="E.g. ttft=300ms,tpot=50ms.")] = None,
    slo_share: Annotated[float, typer.Option(min=0.01, max=0.99, help="Of the requests, that meet it.")] = 0.9,
    peak: Annotated[float, typer.Option(min=1, help="Rate of the busiest hour over the day's mean.")] = 2.0,
    pue: Annotated[float, typer.Option(min=1, help="Energy of the site over that of what is metered.")] = 1.2,
    price_kwh: Annotated[float | None, typer.Option(min=0, help="Price of a kWh, in your currency.")] = None,
    gpu_hour: Annotated[float | None, typer.Option(min=0, help="Price of a GPU for an hour.")] = None,
    carbon: Annotated[float | None, typer.Option(min=0, help="Grams of CO2 for a kWh.")] = None,
    gpus_per_replica: Annotated[int, typer.Option(min=1)] = 1,
    seed: Annotated[int, typer.Option()] = 0,
    as_json: Json = False,
) -> None:
    """Turn a run into GPUs, megawatts, cost and CO2 for a demand, by simulating the queue of every width."""
    from prunebench.commands.plan import plan_command

    plan_command(
        run,
        {
            "requests_per_day": requests_per_day,
            "prompt_tokens": prompt_tokens,
            "output_tokens": output_tokens,
            "slo_share": slo_share,
            "peak": peak,
            "pue": pue,
            "price_kwh": price_kwh,
            "gpu_hour": gpu_hour,
            "carbon_g_per_kwh": carbon,
            "gpus_per_replica": gpus_per_replica,
            "seed": seed,
        },
        slo,
        as_json=as_json,
        console=out,
    )


def published(
    data: Annotated[
        Path | None, typer.Option(help="A folder with the study's raw runs, llama-3.2-efficiency-runs.csv.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="The report's HTML file; default published.html, with --json none.")
    ] = None,
    margin: Margin = "1%",
    as_json: Json = False,
) -> None:
    """Re-analyse the published study's figures: which of its claims survive our checks."""
    from prunebench.commands.compare import share
    from prunebench.commands.published import published_command

    published_command(data, margin=share(margin, "--margin"), output=output, as_json=as_json, console=out)
