"""The run itself: the order of its trials, every check, failures, and what it takes to reproduce it."""

from __future__ import annotations

from typing import Any

from base.figures import figure, percent
from reports.analysis.order import describe_order, imbalance
from reports.analysis.records import Analysis
from reports.analysis.wall_time import WallTime
from reports.checks.results import CheckResult
from reports.document.blocks import Block, Code, Finding, Findings, Plots, Prose, Section, Table, columns, text_row
from reports.document.wording import ABSENT, duration, engine, or_absent, parameters, treated
from reports.sections.plots.order import order_plot


def order_section(analysis: Analysis) -> Section:
    """Drift over the run."""
    info = analysis.info
    order = describe_order(
        info.order,
        imbalance(analysis.trials, info.baseline),
        blocks=None if info.adaptive else info.blocks,
        configurations=len(info.labels),
    )
    plots = [order_plot(analysis, workload) for workload in info.workloads]
    lede = Prose(f"Order {order}. {measured_share(analysis.wall_time)}", "lede")
    return Section("order", "Order and drift", [lede, Plots(plots)])


def measured_share(wall_time: WallTime) -> str:
    """The share of the run's wall time that is measured windows, in a sentence."""
    if wall_time.wall_s is None or wall_time.measured_share is None:
        return f"The share of wall time that is measured windows is unknown: {wall_time.reason}."
    return (
        f"The run took {duration(wall_time.wall_s)} without this report, of which {percent(round(wall_time.measured_share, 2))} "
        f"is measured windows ({duration(wall_time.window_s)})."
    )


def checks_section(analysis: Analysis) -> Section:
    """Every rule with its outcome."""
    return Section("checks", "Every check", [Findings([_finding(check) for check in analysis.checks], folded=True)])


def _finding(check: CheckResult) -> Finding:
    details = [(o.outcome, ": ".join(part for part in (o.place, o.reason) if part)) for o in check.observations]
    return Finding(check.outcome, check.check, check.summary, check.remedy, check.meaning, details)


def failures_section(analysis: Analysis) -> Section | None:
    """Cells that failed and trials that are damaged; None without any."""
    blocks: list[Block] = []
    if analysis.failures:
        rows = [text_row(f.label, f.workload, str(f.block + 1), f.error) for f in analysis.failures]
        headings = columns("Configuration", "Workload", "Block", "Error")
        blocks.append(Table("Cells that failed and have no figures.", headings, rows, kind="text"))
    if analysis.damaged:
        rows = [text_row(one.name, one.reason) for one in analysis.damaged]
        caption = "Trials that are damaged on disk and left out."
        blocks.append(Table(caption, columns("Trial", "Damage"), rows, kind="text"))
    return Section("failures", "Failures", blocks) if blocks else None


def compared_section(analysis: Analysis) -> Section | None:
    """What each configuration does to the baseline; None where that is pruning alone, which names and tables say."""
    infos = [c.info for c in analysis.configurations]
    if all(info.pruned_alone for info in infos):
        return None
    headings = columns("Configuration", "Treatment", "Width", "Parameters", "Engine")
    rows = [
        text_row(
            info.label,
            "baseline" if info.is_baseline else treated(info),
            or_absent(info.width, "d"),
            ABSENT if info.parameters is None else parameters(info.parameters),
            engine(info),
        )
        for info in infos
    ]
    caption = (
        "Treatment: what was asked to differ from the baseline. A difference that was not asked for fails a check."
    )
    return Section("compared", "What is compared", [Table(caption, headings, rows, kind="text")])


def again_section(analysis: Analysis) -> Section:
    """The experiment file, the served models and the environment."""
    blocks: list[Block] = []
    if analysis.experiment:
        blocks += [
            Prose("Save this as experiment.toml, adapt its paths, and run: prunebench run experiment.toml"),
            Code(analysis.experiment, "toml"),
        ]
    else:
        blocks.append(Prose("This run has no experiment file."))
    blocks.append(_served(analysis))
    rows = [text_row(key, value) for key, value in _environment(analysis.environment)]
    if rows:
        blocks.append(Table("The machine and its software.", columns("Fact", "Value"), rows, kind="text"))
    return Section("again", "How to reproduce it", blocks)


def _served(analysis: Analysis) -> Table:
    rows = [
        text_row(
            info.label,
            info.model or ABSENT,
            engine(info),
            info.dtype or ABSENT,
            " ".join(f"{key}={value}" for key, value in info.engine_options.items()) or ABSENT,
            ABSENT if info.load_s is None else f"{figure(info.load_s)} s{', beside others' * info.started_beside}",
        )
        for info in (c.info for c in analysis.configurations)
    ]
    headings = columns("Configuration", "Model", "Engine", "Data type", "Options", "Loaded in")
    return Table("The served models and their settings.", headings, rows, kind="text")


def _environment(environment: dict[str, Any]) -> list[tuple[str, str]]:
    """Names and values; nested names are joined by dots, unknown values left out."""
    rows: list[tuple[str, str]] = []
    for key, value in environment.items():
        if isinstance(value, dict):
            rows += [(f"{key}.{inner}", text) for inner, text in _environment(value)]
        elif value is not None:
            rows.append((key, str(value)))
    return rows
