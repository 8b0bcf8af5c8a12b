"""Reading a run for a command that prints its figures."""

from __future__ import annotations

from pathlib import Path

from prunebench.terminal.console import err, print_line
from reports.analysis.analyse import analyse_folder
from reports.analysis.records import Analysis
from reports.runs.records.cells import damaged_line


def analyse_run(run: Path) -> Analysis:
    """The analysis of a run; each trial that is damaged and left out is a line on stderr."""
    analysis = analyse_folder(run)
    for damaged in analysis.damaged:
        print_line(f"prunebench: {damaged_line(damaged)}", err)
    return analysis
