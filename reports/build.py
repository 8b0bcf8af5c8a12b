"""From run folders to report.html, report.md, cells.csv and report.json."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from reports.analysis import Analysis, analyse_folder
from reports.cells import render_cells
from reports.errors import ReportError
from reports.markdown import render_markdown
from reports.page import render_page
from reports.sections import run_article

__all__ = ["ReportError", "build_report"]


def build_report(runs: Sequence[Path], output: Path | None = None) -> Path:
    """Write the report of one or more runs, one after another, and return the HTML file.

    It goes to `output`, by default report.html in the first run's folder; the Markdown, CSV and JSON go beside it, under
    their usual names, or under the stem of `output` if that is another one. Each file appears whole or not at all. Raises
    ReportError naming a path that cannot be read or written.
    """
    if not runs:
        raise ReportError("name at least one run folder")
    analyses = [analyse_folder(run) for run in runs]
    page = output or runs[0] / "report.html"
    stem = page.stem
    cells = "cells.csv" if stem == "report" else f"{stem}-cells.csv"
    articles = [run_article(analysis, f"run-{number}") for number, analysis in enumerate(analyses, 1)]
    _write(page, render_page(articles))
    _write(page.with_name(f"{stem}.md"), render_markdown(articles))
    _write(page.with_name(cells), render_cells(analyses))
    _write(page.with_name(f"{stem}.json"), _render_json(analyses))
    return page


def _render_json(analyses: Sequence[Analysis]) -> str:
    """`{"schema_version": 1, "runs": [Analysis, …]}`."""
    runs = [analysis.model_dump(mode="json") for analysis in analyses]
    return json.dumps({"schema_version": 1, "runs": runs}, indent=1, allow_nan=False) + "\n"


def _write(path: Path, text: str) -> None:
    partial = path.with_name(f"{path.name}.partial")
    try:
        partial.write_text(text, "utf-8")
        partial.replace(path)
    except OSError as error:
        raise ReportError(f"{path} cannot be written: {error.strerror}") from None
