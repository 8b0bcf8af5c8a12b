"""The report of a load outside a run: the folder of `prunebench load`, a sweep, or an imported result."""

from __future__ import annotations

from loadgen.sweeps.points import Sweep, SweepPoint
from reports.analysis.quantities import QUANTITIES
from reports.analysis.windows import window_words
from reports.checks.findings import find_in_trial
from reports.checks.rules import RULES, SEVERITY
from reports.document.blocks import (
    Article,
    Block,
    Column,
    Entry,
    Finding,
    Findings,
    Plot,
    Plots,
    Prose,
    Row,
    Section,
    Table,
    columns,
    note_letter,
)
from reports.document.chart import Axis, Chart, Marks, Rule
from reports.document.wording import figure, or_absent, sentence
from reports.runs.loads import Load, Loads
from reports.sections.latency import trial_percentile_table


def load_article(loads: Loads, article_id: str) -> Article:
    """The trials of one path, after the sweep that they belong to, if any."""
    first = loads.trials[0].trial
    sections = [_sweep_section(loads.sweep)] if loads.sweep else []
    for number, load in enumerate(loads.trials, 1):
        sections.append(_trial_section(load, f"trial-{number}"))
    return Article(
        id=article_id,
        title=loads.path.resolve().name,
        kicker="prunebench load",
        subtitle=f"{first.model} at {first.url}, {first.started_at or 'at a time not recorded'}",
        sections=sections,
    )


def _trial_section(load: Load, section_id: str) -> Section:
    trial, metrics = load.trial, load.metrics
    done = int(metrics.completed.sum())
    text = (
        f"{sentence(trial.workload.describe())} {done:,} of {metrics.requests:,} requests completed; figures are of a window "
        f"of {figure(metrics.window_s)} s: {window_words(trial)}."
    )
    if trial.workload.open_loop:
        text += f" Offered: {figure(metrics.offered_rate)} requests/s."
        text += " The server was saturated." if metrics.saturated else ""
    notes: dict[str, str] = {}
    rows = []
    for quantity in QUANTITIES.values():
        value, reason = quantity.of(trial, metrics)
        letter = None if value is not None else note_letter(reason or "not measured", notes)
        rows.append(Row([Entry(f"{quantity.title}, {quantity.unit}"), Entry(or_absent(value), note=letter)]))
    blocks: list[Block] = [Prose(text, "lede"), Table("Figures", columns("Quantity", "Value"), rows, notes)]
    if percentiles := trial_percentile_table(metrics):
        blocks.append(percentiles)
    found = sorted(find_in_trial(trial, metrics).items(), key=lambda item: -SEVERITY[item[1].outcome])
    checks = [Finding(f.outcome, name, f.reason, RULES[name].remedy, RULES[name].meaning) for name, f in found]
    return Section(section_id, load.name, [*blocks, Findings(checks, folded=True)])


def _sweep_section(sweep: Sweep) -> Section:
    points = sorted(sweep.points, key=lambda point: point.rate)
    answers = [
        f"Knee (most throughput for its latency): {_rate(sweep.knee_rate)}.",
        f"Highest rate that kept up with the load and met the objectives: {_rate(sweep.goodput_rate)}.",
        f"Saturated {_saturation(sweep)}.",
    ]
    if sweep.reason:
        answers.append(sentence(sweep.reason))
    if any(p.p99_reason for p in points):
        answers.append("The p99 is withheld where too few requests count.")
    if not sweep.complete:
        answers.append("The sweep was interrupted: a complete one may find more.")
    heads = [Column("Offered", "requests/s"), Column("Completed", "requests/s"), Column("Output", "tokens/s")]
    heads += [
        Column("TTFT", "ms"),
        Column("TTFT p99", "ms"),
        Column("TPOT", "ms"),
        Column("E2E", "ms"),
        Column("Verdict"),
    ]
    rows = [Row([*(Entry(or_absent(v)) for v in _figures(p)), Entry(p.verdict)]) for p in points]
    plots = [
        _curve(points, sweep, "mean_e2e_ms", "E2E latency, ms"),
        _curve(points, sweep, "median_ttft_ms", "TTFT, ms"),
    ]
    return Section(
        "sweep",
        "Throughput against latency",
        [Prose(" ".join(answers), "lede"), Plots(plots), Table("Rates", heads, rows)],
    )


def _figures(p: SweepPoint) -> list[float | None]:
    return [
        p.rate,
        p.achieved_rate,
        p.output_tokens_per_s,
        p.median_ttft_ms,
        p.p99_ttft_ms,
        p.median_tpot_ms,
        p.mean_e2e_ms,
    ]


def _saturation(sweep: Sweep) -> str:
    if sweep.bracket is None:
        return f"at: {_rate(sweep.saturation_rate)}"
    return f"between {figure(sweep.bracket.low)} and {_rate(sweep.bracket.high)}: {sweep.bracket.words}"


def _rate(rate: float | None) -> str:
    return "none found" if rate is None else f"{figure(rate)} requests/s"


def _curve(points: list[SweepPoint], sweep: Sweep, key: str, title: str) -> Plot:
    shown = [(p, value) for p in points if (value := getattr(p, key)) is not None]
    objective = sweep.workload.slo_ttft_ms if key == "median_ttft_ms" else None
    if not shown:
        return Plot(title, absent="no request was completed at any rate")
    marks = Marks(
        x=[p.achieved_rate for p, _ in shown],
        y=[value for _, value in shown],
        line="solid",
        symbol="circle",
        hover=[f"{figure(p.rate)} requests/s offered: {figure(value)} ms" for p, value in shown],
    )
    alt = "; ".join(f"{figure(p.achieved_rate)} requests/s: {figure(value)} ms" for p, value in shown)
    rules = [Rule(objective)] if objective else []
    chart = Chart(x=Axis("requests completed/s"), y=Axis(title, log=True), marks=[marks], rules=rules)
    return Plot(title, "Each point is one rate.", alt, chart)
