"""`prunebench compare`: two run folders to a verdict and an exit status."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from reports.analysis.cells import Analysis, analyse_folder
from reports.analysis.quantities import QUANTITIES
from reports.compare.runs import DEFAULT_QUANTITIES, compare_runs
from reports.compare.text import outcome, render_comparison
from reports.document.console import Console
from reports.errors import ReportError
from reports.runs.run_folder import damaged_line


def compare_command(
    before: Path,
    after: Path,
    *,
    margin: str,
    fail_over: str | None,
    quantities: Sequence[str],
    style: str,
    output: Path | None,
    console: Console,
) -> int:
    """Print the comparison, or write it. Returns 1 on a regression past `fail_over`, else 0.

    Raises ReportError naming the option or folder to mend; also if nothing could be decided though a limit was set, since a
    gate that cannot close must not look open.
    """
    for key in quantities:
        if key not in QUANTITIES:
            raise ReportError(f"--quantity {key}: not known; there are {', '.join(QUANTITIES)}")
    runs = analyse_folder(before), analyse_folder(after)
    say_damaged(runs)
    comparison = compare_runs(
        *runs,
        margin=share(margin, "--margin"),
        fail_over=None if fail_over is None else share(fail_over, "--fail-over"),
        keys=quantities or DEFAULT_QUANTITIES,
    )
    text = render_comparison(comparison, style, console.width)
    if output is None:
        sys.stdout.write(text)
    else:
        _write(output, text)
        console.print(outcome(comparison), highlight=False, soft_wrap=True)
    if comparison.regressed and fail_over is not None:
        return 1
    if fail_over is not None and not comparison.decidable:
        raise ReportError(
            "--fail-over: no quantity has two trials in both runs, so nothing can be decided; raise protocol.blocks"
        )
    return 0


def say_damaged(runs: Sequence[Analysis]) -> None:
    """A line on stderr for each trial that is damaged and left out."""
    for damaged in [one for run in runs for one in run.damaged]:
        line = f"prunebench: {damaged_line(damaged)}"
        Console(stderr=True).print(line, highlight=False, markup=False, soft_wrap=True)


def share(text: str, option: str) -> float:
    """A percentage such as 5%, or a share such as 0.05."""
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1:
        raise ReportError(f"{option} {text}: must be a percentage below 100, such as 5%, or a share, such as 0.05")
    return value


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise ReportError(f"--output {path}: cannot be written: {error.strerror}") from None
