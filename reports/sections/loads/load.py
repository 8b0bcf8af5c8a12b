"""The report of a load outside a run: the folder of `prunebench load`, a sweep, or an imported result."""

from __future__ import annotations

from dataclasses import replace

from base.figures import figure, percent
from energy.records import WindowEnergy
from loadgen.metrics.metrics import TrialMetrics
from loadgen.metrics.request_joules import RequestJoules, share_joules
from loadgen.records.schema import Trial
from reports.analysis.groups import group_figures
from reports.analysis.quantities import OF_REASONING, QUANTITIES
from reports.analysis.windows import window_words
from reports.checks.findings import find_in_trial
from reports.checks.rules import RULES, SEVERITY
from reports.document.blocks import (
    Article,
    Block,
    Entry,
    Finding,
    Findings,
    Prose,
    Row,
    Section,
    Table,
    columns,
    note_letter,
)
from reports.document.wording import SIMULATED, SIMULATED_ALERT, or_absent, sentence
from reports.runs.loads import Load, Loads
from reports.sections.loads.beside import beside_blocks
from reports.sections.loads.grouped import LATENCIES, OBJECTIVES, RATES, TURNS, group_table, shared_joules
from reports.sections.loads.latency import trial_percentile_table
from reports.sections.loads.sweep import sweep_section


def load_article(loads: Loads, article_id: str) -> Article:
    """The trials of one path, after the sweep that they belong to, if any."""
    first = loads.trials[0].trial
    simulated = any(load.trial.simulated for load in loads.trials)
    sections = [sweep_section(loads.sweep)] if loads.sweep else []
    for number, load in enumerate(loads.trials, 1):
        sections.append(_trial_section(load, f"trial-{number}"))
    if simulated:
        sections[0] = replace(sections[0], blocks=[Prose(SIMULATED_ALERT, "alert"), *sections[0].blocks])
    name = loads.path.resolve().name
    return Article(
        id=article_id,
        title=f"{name} ({SIMULATED})" if simulated else name,
        kicker="prunebench load",
        subtitle=f"{first.model} at {first.url}, {first.started_at or 'at a time not recorded'}",
        sections=sections,
        watermark=SIMULATED if simulated else "",
    )


def _groups(trial: Trial, metrics: TrialMetrics, shared: RequestJoules) -> list[Block]:
    """Turns of sessions, or parts of a mix."""
    groups = group_figures(trial, metrics, shared)
    if not groups:
        return []
    noun = "part" if trial.workload.part_names else "turn"
    joules = shared_joules(noun, [shared.shared_by] if shared.shared_by else [])
    if noun == "turn":
        return [group_table(f"Turns of sessions. {joules}", noun, groups, TURNS)]
    tables = [group_table(f"Parts of the mix. {joules}", noun, groups, (*RATES, *LATENCIES))]
    if any(metrics.objectives):
        tables.append(group_table("Parts of the mix: objectives.", noun, groups, OBJECTIVES))
    return [*tables]


def _shares(energy: WindowEnergy, shared: RequestJoules) -> str:
    idle = "" if shared.active_reason is None else f" {sentence(shared.active_reason)}"
    empty = (shared.unattributed_joules or 0.0) / (energy.gross_joules or 1.0)
    return (
        f"A request's joules are its equal share of idle power and, by {shared.shared_by}, of the active joules; "
        f"{percent(empty)} of the joules are of the time with nothing in flight.{idle}"
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
    left_out = () if metrics.reasoning_share is not None else OF_REASONING
    for quantity in (quantity for key, quantity in QUANTITIES.items() if key not in left_out):
        value, reason = quantity.of(trial, metrics)
        letter = None if value is not None else note_letter(reason or "not measured", notes)
        rows.append(Row([Entry(f"{quantity.title}, {quantity.unit}"), Entry(or_absent(value), note=letter)]))
    blocks: list[Block] = [Prose(text, "lede"), Table("Figures", columns("Quantity", "Value"), rows, notes)]
    shared = share_joules(trial.energy, metrics)
    if shared.shared_by is not None:
        blocks.append(Prose(sentence(_shares(trial.energy, shared))))
    blocks += beside_blocks(load)
    blocks += _groups(trial, metrics, shared)
    if percentiles := trial_percentile_table(metrics):
        blocks.append(percentiles)
    found = sorted(find_in_trial(trial, metrics).items(), key=lambda item: -SEVERITY[item[1].outcome])
    checks = [Finding(f.outcome, name, f.reason, RULES[name].remedy, RULES[name].meaning) for name, f in found]
    return Section(section_id, load.name, [*blocks, Findings(checks, folded=True)])
