"""`prunebench load --workload sweep`: a trial for every rate, each in its own folder, and the conclusions from all of them."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table

from base.figures import figure, percent
from base.files import write_text
from loadgen.sweeps.points import Sweep, SweepPoint, judge
from loadgen.sweeps.rate_search import conclude, rates_to_try
from loadgen.workloads.sweep import SweepLoad
from prunebench.load.trial import TrialRunner
from prunebench.terminal.console import out, print_line
from reports.document.wording import SIMULATED_ALERT
from reports.statistics.confidence import needed_for


def run_sweep(runner: TrialRunner, workload: SweepLoad, seed: int, *, as_json: bool) -> int:
    """Try rates until the search ends. `sweep.json` is replaced after every rate, so an interrupted sweep keeps its results.

    Returns the exit status: 1 if no request was completed at any rate.
    """
    output, tried = runner.output, list[SweepPoint]()
    search = rates_to_try(workload)
    rate = next(search)
    while True:
        before = sum(point.rate == rate for point in tried)
        folder = f"rate-{rate:.6g}{f'-{before + 1}' if before else ''}"
        point = _try(runner, workload, rate, folder, seed=seed + len(tried))
        tried.append(point)
        _write(output, conclude(workload, tried, complete=False))
        if not as_json:
            print_line(_line(point))
        try:
            rate = search.send(point)
        except StopIteration:
            break
    sweep = conclude(workload, tried, complete=True)
    _write(output, sweep)
    if as_json:
        out.print_json(sweep.model_dump_json())
    else:
        out.print(_table(sweep))
        alerts = [SIMULATED_ALERT] if runner.engine == "synthetic" else []
        for line in [*alerts, *_conclusions(sweep), str(output)]:
            print_line(line)
    return 0 if any(point.achieved_rate for point in tried) else 1


def _try(runner: TrialRunner, sweep: SweepLoad, rate: float, folder: str, seed: int) -> SweepPoint:
    """Measure one rate. Every trial has its own prompts, or the last one's would be in the prefix cache."""
    workload = sweep.at_rate(rate)
    result, _ = runner.run(workload, seed, runner.output / folder)
    return judge(sweep, folder, result.trial, result.metrics, p99_takes=needed_for(99))


def _write(output: Path, sweep: Sweep) -> None:
    write_text(output / "sweep.json", sweep.model_dump_json(indent=1) + "\n")


def _line(point: SweepPoint) -> str:
    return f"{point.rate:.4g} requests/s: {figure(point.output_tokens_per_s)} output tokens/s, {point.verdict}"


def _table(sweep: Sweep) -> Table:
    table = Table(title="sweep", title_justify="left")
    for heading in (
        "requests/s",
        "completed/s",
        "tokens/s",
        "TTFT ms",
        "p99",
        "TPOT ms",
        "E2E ms",
        "J/token",
        "SLO",
        "",
    ):
        table.add_column(heading, justify="right")
    for p in sorted(sweep.points, key=lambda point: point.rate):
        figures = [p.achieved_rate, p.output_tokens_per_s, p.median_ttft_ms, p.p99_ttft_ms, p.median_tpot_ms]
        figures += [p.mean_e2e_ms, p.joules_per_output_token]
        share = "-" if p.slo_share is None else percent(p.slo_share)
        mark = p.verdict.partition(":")[0]
        table.add_row(f"{p.rate:.4g}", *("-" if value is None else figure(value) for value in figures), share, mark)
    return table


def _conclusions(sweep: Sweep) -> list[str]:
    what = "highest rate kept up with"
    if sweep.workload.has_objectives:
        what = f"goodput, {percent(sweep.workload.slo_share)} of requests within the objectives"
    few = [point for point in sweep.points if point.p99_reason]
    lines = [f"p99 takes {needed_for(99)} requests in a rate's window; {len(few)} rates had fewer"] if few else []
    lines += (
        [] if sweep.knee_rate is None else [f"knee (most throughput per latency): {sweep.knee_rate:.4g} requests/s"]
    )
    if sweep.goodput_rate is not None:
        beyond = f", not at {sweep.goodput_below:.4g}" if sweep.goodput_below else ""
        lines.append(f"{what}: {sweep.goodput_rate:.4g} requests/s{beyond}")
    if sweep.bracket is not None:
        lines.append(
            f"saturated between {sweep.bracket.low:.4g} and {sweep.bracket.high:.4g} requests/s: {sweep.bracket.words}"
        )
    elif sweep.saturation_rate is not None:
        lines.append(f"saturated at {sweep.saturation_rate:.4g} requests/s")
    return [*lines, *([sweep.reason] if sweep.reason else [])]
