"""The end of a run: the report of its finished trials, and what is printed of it."""

from __future__ import annotations

from pathlib import Path

from prunebench.terminal.console import out, print_line
from prunebench.terminal.progress import Steps
from reports.analysis.analyse import analyse_folder
from reports.build import build_report
from reports.document.wording import treated
from reports.errors import ReportError
from reports.runs.run_folder import RunFolder
from reports.sections.run import measured_share
from reports.sections.workloads import terminal_tables


def report_finished(folder: Path) -> bool:
    """Write the report of the finished trials; False if it could not be written, which must hide no other failure."""
    try:
        if RunFolder(folder).trial_folders():
            with Steps(out, "report") as steps:
                analysis = analyse_folder(folder)
                page = build_report([folder], notice=print_line, progress=steps.reach, analyses=[analysis])
            for table in terminal_tables(analysis):
                out.print(table)
            for info in (c.info for c in analysis.configurations if not c.info.pruned_alone):
                print_line(f"{info.label}: {treated(info)}")
            print_line(measured_share(analysis.wall_time))
            print_line(str(page))
    except ReportError as error:
        print_line(f"no report: {error}")
        return False
    return True
