"""`prunebench report`: one report of one or several runs, or their trials in another tool's format."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Literal

import typer

from prunebench.commands.options import CarbonIntensity, CarbonSource, GpuHour, Margin, PriceKwh, intensity, share
from prunebench.terminal.command_help import examples
from prunebench.terminal.console import err, print_line
from prunebench.terminal.progress import Steps
from reports.build import build_report
from reports.card import build_card
from reports.compare.index_page import build_index
from reports.errors import ReportError
from reports.exports.sinks import send_runs
from reports.exports.trials import TrialFormat, export
from reports.runs.run_folder import RunFolder

_POLL_S = 0.5
_START_S = 120.0  # --wait gives up on a prepared run that no runner takes up within this time


@examples(
    ("The newest run under runs/", "prunebench report runs"),
    ("Three runs in one page", "prunebench report runs/a runs/b runs/c --output three.html"),
    ("Every run of a folder on one page, to sort and filter", "prunebench report runs --index"),
    ("The decision on one picture", "prunebench report runs/a --card --price-kwh 0.30"),
    ("Wait for a run that another process does, then report it", "prunebench report runs/a --wait"),
)
def report(
    runs: Annotated[
        list[Path],
        typer.Argument(
            help="Run folders (of a folder of runs, the newest), folders of `load`, or results of vLLM's bench, guidellm or aiperf."
        ),
    ],
    output: Annotated[
        Path | None, typer.Option(help="The file; default report.html, or the format's name, in the folder.")
    ] = None,
    form: Annotated[
        Literal["html", TrialFormat],
        typer.Option(
            "--format", help="html with Markdown, CSV and JSON beside it; or every trial in another tool's format."
        ),
    ] = "html",
    wait: Annotated[
        bool,
        typer.Option("--wait", help="Wait until the run's runner has ended; exit 1 if the run is not complete."),
    ] = False,
    margin: Margin = "1%",
    png: Annotated[bool, typer.Option("--png", help="The plots as PNG too, for slides.")] = False,
    index: Annotated[
        bool,
        typer.Option(
            "--index",
            help="One page of many runs instead, a row each, with links to their reports.",
            rich_help_panel="Many runs",
        ),
    ] = False,
    card: Annotated[
        bool,
        typer.Option(
            "--card",
            help="The decision on one picture instead, as PNG and SVG, for a chat or a slide.",
            rich_help_panel="Card",
        ),
    ] = False,
    price_kwh: PriceKwh = None,
    gpu_hour: GpuHour = None,
    carbon: CarbonIntensity = None,
    carbon_source: CarbonSource = None,
    sink: Annotated[
        list[str] | None,
        typer.Option(
            help="Send the figures to mlflow:URI or prometheus:FILE too; repeatable.", rich_help_panel="Other tools"
        ),
    ] = None,
) -> None:
    """Write the report and print its path. With --wait it may be another process or container than the run."""
    if index:
        given = {"--format": form != "html", "--wait": wait, "--png": png, "--card": card, "--sink": bool(sink)}
        given |= {
            "--price-kwh": price_kwh is not None,
            "--gpu-hour": gpu_hour is not None,
            "--carbon": carbon is not None,
        }
        if option := next((option for option, there in given.items() if there), None):
            raise typer.BadParameter(f"{option} does not go with --index")
        _report_index(runs, output, share(margin, "--margin"))
        return
    stated = intensity(carbon, carbon_source)
    if stated is not None and (card or form != "html"):
        raise typer.BadParameter(f"--carbon does not go with {'--card' if card else f'--format {form}'}")
    folders = [_newest_run(run) for run in runs]
    if card:
        given = {"--format": form != "html", "--png": png, "--sink": bool(sink), "a second run": len(folders) > 1}
        if option := next((option for option, there in given.items() if there), None):
            raise typer.BadParameter(f"{option} does not go with --card")
    elif price_kwh is not None or gpu_hour is not None:
        raise typer.BadParameter(f"{'--price-kwh' if price_kwh is not None else '--gpu-hour'} belongs to --card")
    problems = [problem for run in folders if wait and (problem := _wait_for_run(run))]
    if card:
        *_, written = build_card(
            folders[0], output, margin=share(margin, "--margin"), price_kwh=price_kwh, gpu_hour=gpu_hour
        )
    elif form == "html":
        with Steps(err, "report") as steps:
            written = build_report(
                folders,
                output,
                margin=share(margin, "--margin"),
                png=png,
                notice=_print_notice,
                progress=steps.reach,
                intensity=stated,
                options=_carbon_options(carbon, carbon_source),
            )
    else:
        written = export(folders, form, output)
    print_line(str(written))
    send_runs(folders, sink or [], margin=share(margin, "--margin"))
    for problem in problems:
        _print_notice(problem)
    raise typer.Exit(1 if problems else 0)


def _carbon_options(carbon: str | None, source: str | None) -> list[str]:
    return [] if carbon is None else ["--carbon", carbon, *([] if source is None else ["--carbon-source", source])]


def _report_index(given: list[Path], output: Path | None, margin: float) -> None:
    """Of the runs, and of all runs in the folders of runs."""
    folders = [run for path in given for run in _runs_in(path) or [path]]
    page = output or (given[0] if len(given) == 1 and folders != given else folders[0].absolute().parent) / "index.html"
    with Steps(err, "index", len(folders)) as steps:
        build_index(folders, page, margin=margin, notice=_print_notice, progress=steps.reach)
    print_line(str(page))


def _runs_in(path: Path) -> list[Path]:
    return [] if (path / "run.json").exists() else sorted(file.parent for file in path.glob("*/run.json"))


def _print_notice(line: str) -> None:
    print_line(f"prunebench: {line}", err)


def _newest_run(path: Path) -> Path:
    """`path` itself if it is a run folder, else the newest run in it, if there is one."""
    if (path / "run.json").exists():
        return path
    return max(_runs_in(path), key=lambda run: RunFolder(run).info().created_at, default=path)


def _wait_for_run(path: Path) -> str | None:
    """Wait until no runner works on a run; return what is wrong with the run then, None if it is complete.

    Raises ReportError if it never began.
    """
    folder = RunFolder(path)
    deadline = time.monotonic() + _START_S
    while folder.has_runner() or folder.info().status == "prepared":
        if folder.has_runner():
            deadline = time.monotonic() + _START_S
        elif time.monotonic() > deadline:
            raise ReportError(f"{path}: the run was prepared but not started; start it with `prunebench run --resume`")
        time.sleep(_POLL_S)
    match folder.info().status:
        case "complete":
            return None
        case "running":  # the runner had no time to record why
            return f"{path}: the runner was killed; continue with `prunebench run --resume`"
        case status:
            failed = "".join(f"; {one.label}, {one.workload}: {one.error}" for one in folder.failures()[:3])
            return f"{path}: the run is {status}{failed}"
