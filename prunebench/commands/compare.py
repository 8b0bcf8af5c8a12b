"""`prunebench compare`: two run folders to a verdict and an exit status."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from prunebench.commands.options import share
from prunebench.terminal.command_help import examples
from prunebench.terminal.console import out, print_line
from prunebench.terminal.damaged import analyse_run
from reports.analysis.quantities import QUANTITIES
from reports.compare.page import comparison_page
from reports.compare.runs import DEFAULT_QUANTITIES, compare_runs
from reports.compare.text import TextFormat, outcome, render_comparison
from reports.errors import ReportError


@examples(
    ("Last week and today", "prunebench compare runs/before runs/after"),
    (
        "In CI: fail when anything is worse by more than 5 %",
        "prunebench compare runs/before runs/after --fail-over 5% --format junit --output compare.xml",
    ),
    ("For a pull request", "prunebench compare runs/before runs/after --format markdown"),
)
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
    form: Annotated[Literal["html", TextFormat], typer.Option("--format", help="How to write it.")] = "text",
    output: Annotated[Path | None, typer.Option(help="Write to this file instead of printing.")] = None,
) -> None:
    """Print the comparison, or write it. Exits with 1 on a regression past --fail-over.

    Raises UserError naming the option or folder to fix; also if nothing could be decided though a limit was set, since a
    gate that cannot close must not look open.
    """
    quantities = quantity or []
    for key in quantities:
        if key not in QUANTITIES:
            raise ReportError(f"--quantity {key}: not known; there are {', '.join(QUANTITIES)}")
    runs = analyse_run(before), analyse_run(after)
    comparison = compare_runs(
        *runs,
        margin=share(margin, "--margin"),
        fail_over=None if fail_over is None else share(fail_over, "--fail-over"),
        keys=quantities or DEFAULT_QUANTITIES,
    )
    text = comparison_page(comparison) if form == "html" else render_comparison(comparison, form, out.width)
    if output is None:
        if form == "text":
            print_line(text.rstrip("\n"))
        else:
            sys.stdout.write(text)
    else:
        _write(output, text)
        print_line(outcome(comparison))
    if comparison.regressed and fail_over is not None:
        raise typer.Exit(1)
    if fail_over is not None and not comparison.decidable:
        raise ReportError(
            "--fail-over: no quantity has two trials in both runs, so nothing can be decided; raise protocol.blocks"
        )


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise ReportError(f"--output {path}: cannot be written: {error.strerror}") from None
