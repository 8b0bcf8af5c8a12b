"""`prunebench published`: the published study, re-analysed."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.padding import Padding
from rich.text import Text

from prunebench import __version__
from reports.build import write_articles
from reports.document.console import Console
from reports.errors import ReportError, require_name
from reports.published.analysis import StudyAnalysis, analyse_study
from reports.published.article import study_article
from reports.published.study import load_study

_STYLES = {"survives": "green", "survives in part": "yellow", "does not survive": "red", "cannot be decided": "dim"}
_OUTCOMES = {"pass": "green", "warn": "yellow", "fail": "red", "no data": "dim"}


def published_command(
    data: Path | None, *, margin: float, output: Path | None, as_json: bool, console: Console
) -> None:
    """Print what survives and write the report, to published.html unless `output` says otherwise; or print all figures as JSON.

    Raises ReportError naming the option or file to mend.
    """
    require_name(output)
    study = load_study(data)
    analysis = analyse_study(study, margin=margin)
    page = output or (None if as_json else Path("published.html"))
    if page is not None:
        if not page.parent.is_dir():
            raise ReportError(f"--output {page}: there is no folder {page.parent}")
        write_articles([study_article(study, analysis, __version__)], page)
    if as_json:
        sys.stdout.write(analysis.model_dump_json(indent=1) + "\n")
        return
    _print(analysis, console)
    console.print(str(page), highlight=False, soft_wrap=True)


def _print(analysis: StudyAnalysis, console: Console) -> None:
    if not analysis.facts.raw:
        console.print("Published means only: --data DIR adds the raw runs, and with them intervals.\n", highlight=False)
    for claim in analysis.claims:
        console.print(Text(claim.says, style="bold"))
        by = f", judged by: {claim.standard}" if claim.standard else ""
        console.print(Text.assemble("  ", (claim.standing, _STYLES[claim.standing]), by))
        for said in claim.because:
            console.print(Padding(Text(said), (0, 0, 0, 4)))
        console.print()
    console.print(Text("Claims by standard, which ask unlike things and do not add up", style="bold"))
    for judged in analysis.standards:
        console.print(Padding(Text(str(judged)), (0, 0, 0, 4)))
    console.print()
    for check in analysis.checks:
        line = Text.assemble((f"{check.outcome:8}", _OUTCOMES[check.outcome]), (f"{check.check}: ", "bold"), check.seen)
        console.print(line)
    console.print()
