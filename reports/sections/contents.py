"""What a run's report says, in its order: `SECTIONS` is the list to add to, `reports.document.blocks` says how."""

from __future__ import annotations

from collections.abc import Callable

from reports.analysis.order import describe_order, imbalance
from reports.analysis.quantities import JOULES, MODELLED_JOULES, OUTPUT_TOKENS_PER_S, QUANTITIES, TPOT, TTFT
from reports.analysis.records import Analysis
from reports.checks.results import CheckResult
from reports.decision.acquittal import BEARABLE
from reports.decision.advice import advice
from reports.decision.answers import answers, progress
from reports.document.blocks import (
    Answers,
    Article,
    Block,
    Code,
    Column,
    Entry,
    Finding,
    Findings,
    Fold,
    Heading,
    Items,
    Plot,
    Plots,
    Prose,
    Row,
    Section,
    Table,
)
from reports.document.wording import PER_CELL, sentence, times
from reports.sections.alignment import alignment_section
from reports.sections.curves import curves_section
from reports.sections.energy.model import energy_model_section, idle_section
from reports.sections.energy.power import timeline_section
from reports.sections.expected import expected_section
from reports.sections.fleet import fleet_section
from reports.sections.latency import percentile_table
from reports.sections.plots.ratios import DISTRIBUTIONS, distribution_plot, order_plot, quality_plot, ratio_plot
from reports.sections.quality import tasks_section
from reports.sections.run import environment_rows, limits, subtitle, summary, where
from reports.sections.workloads import workload_tables

Builder = Callable[[Analysis], Section | None]


def run_article(analysis: Analysis, article_id: str) -> Article:
    """A run's report."""
    built = (build(analysis) for build in SECTIONS)
    return Article(
        id=article_id,
        title=analysis.info.name,
        kicker=f"prunebench {analysis.info.prunebench_version}",
        subtitle=subtitle(analysis),
        sections=[section for section in built if section is not None],
    )


def answer_section(analysis: Analysis) -> Section:
    """What to do, first of all."""
    blocks: list[Block] = []
    unfinished = progress(analysis)
    if unfinished:
        blocks.append(Prose(unfinished, "alert"))
    whole = [answer for answer in answers(analysis) if answer.topic not in analysis.info.workloads]
    blocks.append(Answers([*advice(analysis), *whole] or answers(analysis)))
    together = sum(one.comparison.verdict is not None for one in analysis.family)
    said = (
        "Ratios are to the baseline within the same block, averaged as logarithms. Better or worse: the "
        f"whole interval lies more than {100 * analysis.margin:.3g} % from 1; equivalent: all of it lies within that; otherwise "
        "undecided. A width is advised if it is better in time or joules, worse in neither, its perplexity is at most "
        f"{times(BEARABLE)} the baseline's, and no quality task is shown to keep less than {1 / BEARABLE:.0%} of its score."
    )
    if together:
        said += (
            f" The {together} intervals behind this advice are simultaneous: in 95 of 100 runs all of them hold, so the one chosen for being "
            f"best is covered. A gain is given as its interval, since the best of several looks better than it is. "
            "Other intervals in this report are 95 % per cell, not corrected: about one in twenty misses its truth."
        )
    return Section("answer", "The answer", [*blocks, Prose(said, "fine")])


def limits_section(analysis: Analysis) -> Section:
    """The checks that warn or fail."""
    found = [Finding(c.outcome, c.check, sentence(summary(c)), c.remedy) for c in limits(analysis)]
    if analysis.failures:
        failed = Finding("fail", "failed cells", f"{len(analysis.failures)} could not be measured; see Failures.")
        found.insert(0, failed)
    if analysis.info.accepted_changes:
        changed = Finding(
            "warn",
            "changed while it ran",
            f"{'; '.join(analysis.info.accepted_changes)}.",
            "Trials before and after a change are not alike; run the experiment anew for figures of one kind.",
        )
        found.insert(0, changed)
    if analysis.damaged:
        kept = Finding(
            "fail",
            "damaged trials",
            f"{len(analysis.damaged)} of {len(analysis.damaged) + len(analysis.trials)} are damaged on disk and left out of every figure; see Failures.",
            "Add --resume: each is set aside and measured again.",
        )
        found.insert(0, kept)
    blocks: list[Block] = [Findings(found)] if found else [Prose("No check warns or fails.")]
    return Section("limits", "What limits it", blocks)


def workloads_section(analysis: Analysis) -> Section | None:
    """Every workload's table and ratios."""
    blocks: list[Block] = []
    said = {answer.topic: answer.sentences for answer in answers(analysis)}
    for table in workload_tables(analysis):
        ratios = [ratio_plot(analysis, table.workload, key) for key in (OUTPUT_TOKENS_PER_S, TTFT, TPOT)]
        blocks += [
            Heading(table.workload),
            Prose(sentence(table.description), "lede"),
            Prose(" ".join(said[table.workload])),
            table.block,
            Plots(ratios, abreast=3),
        ]
    return Section("workloads", "What was measured", blocks) if blocks else None


def energy_section(analysis: Analysis) -> Section:
    """Measured for every workload, present or absent with the reason; modelled ones only where there are any."""
    title = QUANTITIES[JOULES].title
    names = analysis.info.workloads
    plots = [ratio_plot(analysis, w, JOULES, title=f"{w}: {title}, measured") for w in names]
    modelled = {c.workload for c in analysis.cells if c.values[MODELLED_JOULES].median is not None}
    plots += [
        ratio_plot(analysis, w, MODELLED_JOULES, title=f"{w}: {title}, modelled, not measured")
        for w in names
        if w in modelled
    ]
    lede = (
        "Joules over the load window divided by the output tokens that arrived in it, gross of idle power. " + PER_CELL
    )
    blocks: list[Block] = [Prose(lede, "lede")]
    if analysis.energy_remedies:
        blocks.append(Items([f"To measure it: {remedy}." for remedy in analysis.energy_remedies]))
    return Section("energy", "Energy", [*blocks, Plots(plots)])


def latency_section(analysis: Analysis) -> Section | None:
    """Latencies request by request."""
    plots = [distribution_plot(analysis, w, key) for w in analysis.info.workloads for key in DISTRIBUTIONS]
    lede = (
        "What share of the requests took no longer than so many milliseconds, over the requests of all trials: further left is faster, "
        "a long tail leans to the right. The heavy line is the baseline; from blue to red: ever narrower widths."
    )
    tables = [table for w in analysis.info.workloads if (table := percentile_table(analysis, w))]
    blocks: list[Block] = [Prose(lede, "lede"), Plots(plots, abreast=3)]
    if tables:
        blocks.append(Fold("Percentiles with their intervals", tables))
    return Section("latency", "Latency, request by request", blocks)


def quality_section(analysis: Analysis) -> Section:
    """Perplexity against cost."""
    qualities = [c.info.quality for c in analysis.configurations if c.info.quality and c.info.quality.perplexity]
    blocks: list[Block] = []
    if qualities:
        read = f"Perplexity over {qualities[0].tokens:,} tokens of held-out text: {qualities[0].text}."
        blocks.append(Prose(read, "lede"))
    plots = [quality_plot(analysis, workload) for workload in analysis.info.workloads]
    return Section("quality", "Perplexity against cost", [*blocks, Plots(plots)])


def order_section(analysis: Analysis) -> Section:
    """Drift over the run."""
    plots: list[Plot] = [order_plot(analysis, workload) for workload in analysis.info.workloads]
    info = analysis.info
    found = describe_order(
        info.order,
        imbalance(analysis.trials, info.baseline),
        blocks=info.blocks,
        configurations=len(info.labels),
    )
    return Section("order", "Order and drift", [Prose(f"Order {found}.", "lede"), Plots(plots)])


def checks_section(analysis: Analysis) -> Section:
    """Every rule with its outcome."""
    return Section("checks", "Every check", [Findings([_finding(check) for check in analysis.checks], folded=True)])


def _finding(check: CheckResult) -> Finding:
    details = [(o.outcome, ": ".join(part for part in (where(o), o.reason) if part)) for o in check.observations]
    return Finding(check.outcome, check.check, summary(check), check.remedy, check.meaning, details)


def failures_section(analysis: Analysis) -> Section | None:
    """What could not be measured, and what was and is damaged."""
    blocks: list[Block] = []
    if analysis.failures:
        rows = [_row(f.label, f.workload, str(f.block + 1), f.error) for f in analysis.failures]
        columns = [Column(heading) for heading in ("Configuration", "Workload", "Block", "Error")]
        blocks.append(Table("Cells that were tried and gave nothing to keep.", columns, rows, kind="text"))
    if analysis.damaged:
        rows = [_row(one.name, one.reason) for one in analysis.damaged]
        caption = "Trials that are damaged on disk and left out."
        blocks.append(Table(caption, [Column("Trial"), Column("Damage")], rows, kind="text"))
    return Section("failures", "Failures", blocks) if blocks else None


def again_section(analysis: Analysis) -> Section:
    """The experiment file, what was served, and where."""
    blocks: list[Block] = []
    if analysis.experiment:
        blocks += [
            Prose("Save this as experiment.toml, mend its paths, and run: prunebench run experiment.toml"),
            Code(analysis.experiment, "toml"),
        ]
    else:
        blocks.append(Prose("This run has no experiment file."))
    blocks.append(_served(analysis))
    rows = [_row(key, value) for key, value in environment_rows(analysis.environment)]
    if rows:
        columns = [Column("Fact"), Column("Value")]
        blocks.append(Table("The machine and its software.", columns, rows, kind="text"))
    return Section("again", "How to make it again", blocks)


def _served(analysis: Analysis) -> Table:
    headings = ("Configuration", "Model", "Engine", "Data type", "Options", "Pruned by", "Loaded in")
    rows = []
    for info in (c.info for c in analysis.configurations):
        m = info.manifest
        rows.append(
            _row(
                info.label,
                info.model,
                f"{info.engine} {info.engine_version or ''}".strip(),
                info.dtype or "—",
                " ".join(f"{key}={value}" for key, value in info.engine_options.items()) or "—",
                f"{m.criterion}, {m.target}, multiple of {m.multiple_of}, ties {m.tie_break}" if m else "—",
                "—" if info.load_s is None else f"{info.load_s:.1f} s",
            )
        )
    return Table("What was served, and how.", [Column(heading) for heading in headings], rows, kind="text")


def _row(*texts: str) -> Row:
    return Row([Entry(text) for text in texts])


SECTIONS: tuple[Builder, ...] = (
    answer_section,
    limits_section,
    workloads_section,
    energy_section,
    timeline_section,
    energy_model_section,
    idle_section,
    latency_section,
    curves_section,
    tasks_section,
    quality_section,
    expected_section,
    alignment_section,
    fleet_section,
    order_section,
    checks_section,
    failures_section,
    again_section,
)
