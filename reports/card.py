"""A run's decision on one picture: the answers with their intervals, the price in quality, machine, date, and what tokens cost."""

from __future__ import annotations

from pathlib import Path

from base.figures import figure
from base.files import write_bytes
from reports.analysis.analyse import analyse_folder
from reports.analysis.family import PURPOSES, Purpose, workload_of
from reports.analysis.quantities import JOULES, MODELLED_JOULES, OUTPUT_TOKENS_PER_S
from reports.analysis.records import Analysis, ConfigurationFigures
from reports.compare.summary import summarize
from reports.decision.advice import advice
from reports.decision.answers import answers, failed_configurations, progress
from reports.decision.quality_price import quality_price
from reports.document.blocks import Answer
from reports.document.card import Card, CardColumn, draw_card
from reports.document.pictures import NO_CHARTS, can_draw
from reports.document.wording import SIMULATED, name
from reports.errors import ReportError
from reports.runs.records.configuration import gpus_of
from reports.sections.plots.advised import advised_plot
from reports.statistics.ratios import MARGIN

_JOULES_PER_KWH = 3.6e6
_TOKENS = 1e6  # to which a cost refers


def build_card(
    run: Path, output: Path | None = None, *, margin: float = MARGIN, price_kwh: float | None, gpu_hour: float | None
) -> list[Path]:
    """Write the card as SVG and as PNG and return their paths: `output`'s, by default card in the run folder.

    The name of simulated figures' card says so. Prices are in a currency of the user's; without one there are none. Raises
    ReportError if nothing is installed that draws, and naming a path that cannot be read or written.
    """
    if not can_draw():
        raise ReportError(f"--card: {NO_CHARTS}")
    analysis = analyse_folder(run, margin=margin)
    card = card_of(analysis, price_kwh=price_kwh, gpu_hour=gpu_hour)
    stem = output or run / (f"card-{SIMULATED}" if analysis.simulated else "card")
    written = []
    for form in ("svg", "png"):
        file = stem.with_suffix(f".{form}")
        try:
            write_bytes(file, draw_card(card, form))
        except OSError as error:
            raise ReportError(f"{file} cannot be written: {error.strerror}") from None
        written.append(file)
    return written


def card_of(analysis: Analysis, *, price_kwh: float | None = None, gpu_hour: float | None = None) -> Card:
    """What stands on it."""
    run = summarize(analysis)
    found = advice(analysis) or answers(analysis)
    purposes = {f"For {purpose}": purpose for purpose in PURPOSES}
    columns = [_column(analysis, answer, purposes.get(answer.topic)) for answer in found[:2]]
    price = quality_price(analysis)
    lines = [f"{price.topic}: {' '.join(price.sentences)}"] if price else []
    lines += _costs(analysis, found, price_kwh, gpu_hour)
    checks = [f"{sum(c.outcome == outcome for c in analysis.checks)} {outcome}" for outcome in ("pass", "warn", "fail")]
    unfinished = progress(analysis)
    footer = [run.machine, run.engine, f"{analysis.info.created_at:.10}", f"checks: {', '.join(checks)}"]
    if failed := failed_configurations(analysis):
        footer.append(
            f"failed: {len(failed)} of {len(analysis.info.labels)} configurations, {len(analysis.failures)} cells"
        )
    return Card(
        kicker=f"{analysis.folder} · {run.model}",
        title="Which configuration to serve?",
        columns=columns,
        lines=[*([unfinished] if unfinished else []), *lines],
        footer=" · ".join([*footer, "prunebench"]),
        watermark=SIMULATED if analysis.simulated else "",
    )


def _column(analysis: Analysis, answer: Answer, purpose: Purpose | None) -> CardColumn:
    plot = advised_plot(analysis, purpose) if purpose else None
    choice, why = answer.choice, answer.sentences
    return CardColumn(
        answer.topic, choice or why[0], " ".join(why[:1] if choice else why[1:2]), None if plot is None else plot.chart
    )


def _costs(analysis: Analysis, found: list[Answer], price_kwh: float | None, gpu_hour: float | None) -> list[str]:
    """What a million output tokens take, of the baseline and of what is chosen, under the load for batch work or the lightest."""
    workload = next((w for p in reversed(PURPOSES) if (w := workload_of(analysis.workloads, p)) is not None), None)
    if workload is None:
        return []
    chosen = [
        c for c in analysis.configurations if c.info.is_baseline or any(name(c.info) in (a.choice or "") for a in found)
    ]
    parts = [f"{name(c.info)} {cost}" for c in chosen if (cost := _cost(analysis, c, workload, price_kwh, gpu_hour))]
    if not parts:
        return []
    prices = [
        f"{figure(price)} a {unit}" for price, unit in ((price_kwh, "kWh"), (gpu_hour, "GPU hour")) if price is not None
    ]
    at = f", at {' and '.join(prices)}" if prices else ""
    return [f"A million output tokens under {workload}: {'; '.join(parts)}{at}."]


def _cost(
    analysis: Analysis,
    configuration: ConfigurationFigures,
    workload: str,
    price_kwh: float | None,
    gpu_hour: float | None,
) -> str:
    values = analysis.cell(configuration.info.label, workload).values
    measured, modelled, speed = (values[key].median for key in (JOULES, MODELLED_JOULES, OUTPUT_TOKENS_PER_S))
    joules = measured if measured is not None else modelled
    kwh = None if joules is None else joules * _TOKENS / _JOULES_PER_KWH
    gpus = gpus_of(configuration.info.resolved_options or {})
    money = [
        None if price_kwh is None else None if kwh is None else kwh * price_kwh,
        None if gpu_hour is None else None if not speed else _TOKENS / speed / 3600 * gpus * gpu_hour,
    ]
    parts = [] if kwh is None else [f"{figure(kwh)} kWh{'' if measured is not None else ' (modelled)'}"]
    given = [price for price in (price_kwh, gpu_hour) if price is not None]
    known = [amount for amount in money if amount is not None]
    parts += [f"costs {figure(sum(known))}"] if given and len(known) == len(given) else []
    return ", ".join(parts)
