"""A sweep over rates: throughput against latency."""

from __future__ import annotations

from base.figures import figure
from loadgen.sweeps.points import Sweep, SweepPoint
from reports.document.blocks import Plot, Plots, Prose, Section, Table, columns, text_row
from reports.document.chart import Axis, Chart, Marks, Rule
from reports.document.wording import or_absent, sentence


def sweep_section(sweep: Sweep) -> Section:
    """Knee, goodput and saturation, latency over throughput, and every rate."""
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
    headings = columns(
        ("Offered", "requests/s"),
        ("Completed", "requests/s"),
        ("Output", "tokens/s"),
        ("TTFT", "ms"),
        ("TTFT p99", "ms"),
        ("TPOT", "ms"),
        ("E2E", "ms"),
        "Verdict",
    )
    rows = [text_row(*map(or_absent, _figures(p)), p.verdict) for p in points]
    plots = [
        _curve(points, sweep, "mean_e2e_ms", "E2E latency, ms"),
        _curve(points, sweep, "median_ttft_ms", "TTFT, ms"),
    ]
    return Section(
        "sweep",
        "Throughput against latency",
        [Prose(" ".join(answers), "lede"), Plots(plots), Table("Rates", headings, rows)],
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
