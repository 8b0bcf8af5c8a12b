"""Write the files of a report: page, Markdown, pictures, and the table of figures."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from base.files import write_bytes
from energy.carbon import Intensity
from reports.analysis.analyse import analyse_folder
from reports.analysis.records import Analysis
from reports.compare.summary import FILE as SUMMARY
from reports.compare.summary import summarize
from reports.document.blocks import Article
from reports.document.html import render_page
from reports.document.markdown import render_markdown
from reports.document.pictures import NO_CHARTS, WIDTHS, can_draw, draw_picture, draw_png
from reports.document.wording import SIMULATED
from reports.errors import ReportError, require_name
from reports.exports.cells import as_csv, as_json, as_markdown, as_parquet, cell_rows
from reports.runs.loads import Loads, is_load, read_loads
from reports.runs.records.cells import damaged_line
from reports.sections.contents import run_article
from reports.sections.loads.load import load_article
from reports.statistics.ratios import MARGIN

Progress = Callable[[int, int, str], None]  # how many of how many of what are done


def build_report(
    runs: Sequence[Path],
    output: Path | None = None,
    *,
    margin: float = MARGIN,
    png: bool = False,
    notice: Callable[[str], None] = lambda _: None,
    progress: Progress = lambda *_: None,
    analyses: Sequence[Analysis] | None = None,
    intensity: Intensity | None = None,
    options: Sequence[str] = (),
) -> Path:
    """Write the report of one or more runs and return the file to open: the page, or what `write_readable` writes instead.

    Its path is `output`, by default report.html in the first run's folder. The other files lie beside it; their names begin with
    the stem of `output` if that is not "report". If figures are simulated, the page by default is report-simulated.html and
    report.html a link to it. Each file is replaced as a whole. Verdicts are judged at `margin`, a share.
    `notice` receives a line for each damaged trial, which is left out, `progress` each picture that is drawn.
    `analyses`: of the runs, where the caller has them. `intensity`: of the grid, where it is stated now; `options`: what the caller
    was given, for the command in the foot. Raises ReportError naming a path that cannot be read or written.
    """
    if not runs:
        raise ReportError("name at least one run folder")
    require_name(output)
    page = output or (runs[0] / "report.html" if runs[0].is_dir() else runs[0].with_suffix(".html"))
    if any(is_load(run) for run in runs):
        if not all(is_load(run) for run in runs):
            raise ReportError("a report cannot combine runs and single loads")
        made = (_command(runs, margin=margin, png=png, options=options),)
        articles = [
            replace(load_article(_with_carbon(read_loads(run), intensity), f"load-{number}"), commands=made)
            for number, run in enumerate(runs, 1)
        ]
        readable = write_readable(articles, page, png=png, notice=notice, progress=progress)
        return readable if output else _say_simulated(articles, readable)
    analyses = analyses or [analyse_folder(run, margin=margin, intensity=intensity) for run in runs]
    for damaged in [one for analysis in analyses for one in analysis.damaged]:
        notice(damaged_line(damaged))
    stem = page.stem
    cells = "cells" if stem == "report" else f"{stem}-cells"
    report = _command(runs, margin=margin, png=png, options=options)
    articles = []
    for number, (run, analysis) in enumerate(zip(runs, analyses, strict=True), 1):
        again = (
            [("The run", shlex.join(["prunebench", "run", str(run / "experiment.toml")]))]
            if analysis.experiment
            else []
        )
        articles.append(replace(run_article(analysis, f"run-{number}"), commands=[*again, report]))
    readable = write_readable(articles, page, png=png, notice=notice, progress=progress)
    rows = cell_rows(analyses)
    for ending, render in (("csv", as_csv), ("parquet", as_parquet), ("json", as_json), ("md", as_markdown)):
        _write(page.with_name(f"{cells}.{ending}"), render(rows))
    _write(page.with_name(f"{stem}.json"), _render_json(analyses).encode())
    if len(analyses) == 1:
        kept = summarize(analyses[0]).model_dump_json(indent=1) + "\n"
        _write(page.with_name(SUMMARY if stem == "report" else f"{stem}-{SUMMARY}"), kept.encode())
    return readable if output else _say_simulated(articles, readable)


def write_readable(
    articles: Sequence[Article],
    page: Path,
    *,
    png: bool = False,
    notice: Callable[[str], None],
    progress: Progress,
) -> Path:
    """Write articles with `write_articles`; where nothing is installed that draws, as Markdown alone, after a `notice` of it.

    Returns the file to open. Raises ReportError if `png` asks for what cannot be drawn, and naming a path that cannot be written.
    """
    if can_draw():
        write_articles(articles, page, png=png, progress=progress)
        return page
    if png:
        raise ReportError(f"--png: {NO_CHARTS}")
    text = page.with_suffix(".md")
    notice(f"{page.name}: not written: {NO_CHARTS}; {text.name} has all tables")
    _write(text, render_markdown(articles, None).encode("utf-8", "replace"))
    return text


def _say_simulated(articles: Sequence[Article], page: Path) -> Path:
    """Have the name of simulated figures' page say so, and make the usual name a link to it; returns the usual name."""
    if page.suffix == ".html" and any(article.watermark for article in articles):
        named = page.with_stem(f"{page.stem}-{SIMULATED}")
        try:
            page.replace(named)
            page.symlink_to(named.name)
        except OSError as error:
            raise ReportError(f"{named} cannot be written: {error.strerror}") from None
    return page


def _with_carbon(loads: Loads, intensity: Intensity | None) -> Loads:
    return replace(loads, trials=[replace(one, trial=one.trial.with_carbon(intensity)) for one in loads.trials])


def _command(runs: Sequence[Path], *, margin: float, png: bool, options: Sequence[str]) -> tuple[str, str]:
    """What made a report, as its foot says it."""
    own = [] if margin == MARGIN else ["--margin", f"{100 * margin:g}%"]
    return "This report", shlex.join(["prunebench", "report", *map(str, runs), *own, *["--png"] * png, *options])


def write_articles(
    articles: Sequence[Article], page: Path, *, png: bool = False, progress: Progress = lambda *_: None
) -> None:
    """Write articles as a page, as Markdown beside it, and their plots as SVG in a folder named after the page.

    png: write each plot also as PNG, for slides. Raises ReportError naming a path that cannot be written.
    """
    charts = {
        placed.id: (placed.plot.chart, WIDTHS[placed.abreast], article.watermark)
        for article in articles
        for placed in article.plots()
        if placed.plot.chart
    }
    pictures = {}
    for number, (plot_id, chart) in enumerate(charts.items()):
        progress(number, len(charts), "pictures")
        pictures[plot_id] = draw_picture(*chart)
    files = {f"{plot_id}.svg": picture.svg for plot_id, picture in pictures.items()}
    if png:
        files |= {f"{plot_id}.png": draw_png(*chart) for plot_id, chart in charts.items()}
    folder = page.with_name(f"{page.stem}-plots")
    _write(page, render_page(articles, pictures).encode("utf-8", "replace"))
    _write_folder(folder, files)
    _write(page.with_name(f"{page.stem}.md"), render_markdown(articles, folder.name).encode("utf-8", "replace"))


def _render_json(analyses: Sequence[Analysis]) -> str:
    """`{"schema_version": 1, "runs": [Analysis, …]}`."""
    runs = [analysis.model_dump(mode="json") for analysis in analyses]
    return json.dumps({"schema_version": 1, "runs": runs}, indent=1, allow_nan=False) + "\n"


def _write(path: Path, content: bytes) -> None:
    try:
        write_bytes(path, content)
    except OSError as error:
        raise ReportError(f"{path} cannot be written: {error.strerror}") from None


def _write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Replace a folder by one with exactly these files."""
    partial = folder.with_name(f"{folder.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        for name, content in files.items():
            (partial / name).write_bytes(content)
        shutil.rmtree(folder, ignore_errors=True)
        partial.replace(folder)
    except OSError as error:
        raise ReportError(f"{folder} cannot be written: {error.strerror}") from None
