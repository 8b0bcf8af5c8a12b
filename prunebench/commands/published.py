"""`prunebench published`: the published study, re-analysed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.padding import Padding
from rich.text import Text

from prunebench import __version__
from prunebench.commands.options import Json, Margin, share
from prunebench.terminal.command_help import examples
from prunebench.terminal.console import err, out, print_line
from prunebench.terminal.progress import Steps
from reports.build import write_readable
from reports.errors import ReportError, require_name
from reports.published.analysis import StudyAnalysis, analyse_study
from reports.published.article import study_article
from reports.published.study import load_study

_STYLES = {"survives": "green", "survives in part": "yellow", "does not survive": "red", "cannot be decided": "dim"}
_OUTCOMES = {"pass": "green", "warn": "yellow", "fail": "red", "no data": "dim"}


@examples(
    ("From the published means", "prunebench published"),
    ("With the raw runs, which give intervals", "prunebench published --data ./study --output study.html"),
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
    """Print what survives and write the report; or print all figures as JSON.

    Raises ReportError naming the option or file to fix.
    """
    require_name(output)
    study = load_study(data)
    analysis = analyse_study(study, margin=share(margin, "--margin"))
    page = output or (None if as_json else Path("published.html"))
    if page is not None:
        if not page.parent.is_dir():
            raise ReportError(f"--output {page}: there is no folder {page.parent}")
        article = study_article(study, analysis, __version__)
        with Steps(err, "published") as steps:
            page = write_readable(
                [article], page, notice=lambda line: print_line(f"prunebench: {line}", err), progress=steps.reach
            )
    if as_json:
        sys.stdout.write(analysis.model_dump_json(indent=1) + "\n")
        return
    _print(analysis)
    print_line(str(page))


def _print(analysis: StudyAnalysis) -> None:
    if not analysis.facts.raw:
        out.print("Published means only: --data DIR adds the raw runs, and with them intervals.\n", highlight=False)
    for claim in analysis.claims:
        out.print(Text(claim.says, style="bold"))
        by = f", judged by: {claim.standard}" if claim.standard else ""
        by += f" · {claim.in_versions(analysis.versions)}" if claim.fate else ""
        out.print(Text.assemble("  ", (claim.standing, _STYLES[claim.standing]), by))
        for said in claim.because:
            out.print(Padding(Text(said), (0, 0, 0, 4)))
        out.print()
    out.print(Text("Claims by standard, which ask unlike things and do not add up", style="bold"))
    for judged in analysis.standards:
        out.print(Padding(Text(str(judged)), (0, 0, 0, 4)))
    out.print()
    for check in analysis.checks:
        line = Text.assemble((f"{check.outcome:8}", _OUTCOMES[check.outcome]), (f"{check.check}: ", "bold"), check.seen)
        out.print(line)
    out.print()
