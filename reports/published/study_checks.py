"""Our validity checks on the published study: those of `reports.checks` that its data can decide, and three of its own."""

from __future__ import annotations

from collections.abc import Callable

from base.figures import figure, percent
from base.records import Record
from reports.checks.devices import thermal_drift
from reports.checks.energy import idle_drift, modelled_energy, window_too_short
from reports.checks.rules import SEVERITY, Finding, Outcome, Rule, rule_of
from reports.checks.run import too_few_repeats, width_unaligned
from reports.checks.trial import output_length_differs
from reports.document.wording import listed, times
from reports.published.claims.judging import average_change
from reports.published.efficiency import LENGTH
from reports.published.facts import Facts
from reports.published.odd_widths import Alignment

Decide = Callable[[Facts], Finding]

_CHECKS: list[tuple[Rule, Decide]] = []  # in the order of the page
LENGTH_MARGIN = 0.05
FEW = 5  # runs a cell


class StudyCheck(Record):
    """One check of the study."""

    check: str
    outcome: Outcome
    seen: str
    meaning: str
    remedy: str


def check_study(facts: Facts) -> list[StudyCheck]:
    """Every check, worst first. Without the data it needs a check has "no data"."""
    found = [(rule, decide(facts)) for rule, decide in _CHECKS]
    checks = [
        StudyCheck(
            check=rule.name,
            outcome=finding.outcome,
            seen=finding.reason,
            meaning=rule.meaning,
            remedy=rule.remedy,
        )
        for rule, finding in found
    ]
    return sorted(checks, key=lambda c: -SEVERITY[c.outcome])


def _decides(rule: Rule) -> Callable[[Decide], Decide]:
    """Decorate what decides a rule of our own reports from the study's facts."""

    def register(decide: Decide) -> Decide:
        _CHECKS.append((rule, decide))
        return decide

    return register


def _own(decide: Decide) -> Decide:
    """Decorate what decides a rule that only the study has: its docstring has the rule's words, as `rule_of` reads them."""
    return _decides(rule_of(decide))(decide)


_NO_RUNS = Finding("no data", "this requires the raw runs; pass --data")


@_own
def _unit_of_energy(facts: Facts) -> Finding:
    """The energy that figures rest on must be that of the meter: a constant quotient other than 1 means another unit.

    Limits: Fails if claimed and counted energy have the same quotient in every run and it is not 1; warns if it varies.

    Remedy: Take the tracker's energy counters, not what its stop() returns: that is kg of CO2 equivalent.
    """
    unit = facts.unit
    if unit is None:
        return _NO_RUNS
    if unit.is_energy:
        return Finding("pass", f"the claimed kWh are those of the counters in all {unit.runs} runs")
    if not unit.constant:
        return Finding(
            "warn",
            f"claimed kWh over the counters' kWh is {figure(unit.claimed_per_kwh)} on average and spreads by {unit.spread:.2g}",
        )
    inferred = f"; for {listed(unit.models_without)} it is an inference" if unit.models_without else ""
    words = (
        f"claimed kWh are {unit.claimed_per_kwh!r} of the counters' kWh in all {unit.runs} runs (they spread by {unit.spread:.1g}): "
        f"the claimed figure is no energy. The tracker's stop() returns kg of CO2e, and the quotient is a grid's kg per kWh. True J = published J x {unit.factor!r}{inferred}"
    )
    return Finding("fail", words)


@_decides(output_length_differs)
def _output_length_differs(facts: Facts) -> Finding:
    lengths = {c.place: ratio for c in facts.cells if (ratio := c.ratios[LENGTH].ratio) is not None}
    unlike = [place for place, ratio in lengths.items() if abs(ratio - 1) > LENGTH_MARGIN]
    if not unlike:
        return Finding("pass", f"all {len(lengths)} cells generate as many tokens as the unpruned width")
    most = max(unlike, key=lambda place: abs(lengths[place] - 1))
    words = f"{len(unlike)} of {len(lengths)} cells generate over {percent(LENGTH_MARGIN)} more or fewer tokens than the unpruned width"
    return Finding("fail", f"{words}, up to {times(lengths[most])} ({most})")


@_decides(width_unaligned)
def _width_unaligned(facts: Facts) -> Finding:
    together = [a for a in facts.alignment if a.odd is None]
    if not together:
        return Finding("pass", "no odd width has an even one as its next wider")
    harmed = any(max(a.joules.low or 0, a.ms_per_token.low or 0) > 1 for a in together)
    return Finding("fail" if harmed else "pass", "; ".join(_odd_against_even(a) for a in together))


def _odd_against_even(one: Alignment) -> str:
    words = (
        f"at batch {one.batch_size}, of {one.pairs} odd widths against the wider even one, {one.hungrier} take more J/token "
        f"({average_change(one.joules)}) and {one.slower} more time per token ({average_change(one.ms_per_token)})"
    )
    if one.joules_between and one.ms_between:
        words += (
            f", and against the line between both even neighbours J/token is {average_change(one.joules_between)} and time per token "
            f"{average_change(one.ms_between)}"
        )
    if one.even_joules:
        words += f"; an even width after an even one: J/token {average_change(one.even_joules)}"
    return words


@_own
def _runs_left_out(facts: Facts) -> Finding:
    """Some runs are missing from the mean. A rule that depends on the value biases the mean towards the expected one.

    Limits: Fails at the first.

    Remedy: Keep every run; let the interval show the spread.
    """
    if not facts.left_out:
        return Finding("pass", "every run is in its mean")
    parts = []
    for one in facts.left_out:
        words = f"{one.model} {one.workload} at {one.width} keeps {one.kept} of {one.made}"
        if one.all_joules_per_token and one.kept_joules_per_token:
            words += f" ({figure(one.kept_joules_per_token)} for {figure(one.all_joules_per_token)} claimed J/token)"
        parts.append(words)
    moved = [c for c in facts.cells if c.change_of_all is not None and abs(c.change_of_all - c.published_change) > 1e-9]
    if moved:
        most = max(moved, key=lambda c: abs((c.change_of_all or 0) - c.published_change))
        parts.append(
            f"{most.place} changes by {percent(most.published_change, signed=True)} instead of {percent(most.change_of_all or 0.0, signed=True)}"
        )
    return Finding("fail", "; ".join(parts))


@_decides(too_few_repeats)
def _too_few_repeats(facts: Facts) -> Finding:
    kept = [c.runs_kept for c in facts.cells]
    if min(kept) >= FEW:
        return Finding("pass", f"{min(kept)} runs a cell at least")
    return Finding("warn", f"{min(kept)} to {max(kept)} runs a cell, and no interval was published")


@_decides(modelled_energy)
def _modelled_energy(facts: Facts) -> Finding:
    if not facts.powers:
        return _NO_RUNS
    modelled = [p for p in facts.powers if p.constant]
    if not modelled:
        return Finding("pass", "every counter's power varies as a meter's does")
    parts = listed([f"{p.part} at {p.watts:.2f} W, within {percent(p.spread)}" for p in modelled])
    share = sum(p.share for p in modelled)
    return Finding("warn", f"constant powers, not measured: {parts}, together {percent(share)} of the counters' energy")


@_decides(window_too_short)
def _window_too_short(facts: Facts) -> Finding:
    seen = facts.metering
    if seen.window_s is None:
        return _NO_RUNS
    words = f"{seen.short_windows} of {seen.runs} energy windows are below 30 s, the shortest {seen.window_s[0]:.1f} s"
    return Finding("warn" if seen.short_windows else "pass", words)


@_own
def _window_holds_more(facts: Facts) -> Finding:
    """The energy window holds work that is no generation (loading prompts, warm-up), and its joules are divided by other tokens.

    Limits: Warns if more than 1 % of any window lies outside the generating loop.

    Remedy: Cut the energy to the load window.
    """
    seen = facts.metering.outside_loop
    if seen is None:
        return _NO_RUNS
    words = f"{percent(seen[0])} of the energy window, up to {percent(seen[1])}, lies outside the generating loop, which itself holds the warm-up"
    return Finding("warn" if seen[1] > 0.01 else "pass", words)


@_decides(thermal_drift)
def _thermal_drift(facts: Facts) -> Finding:
    seen = facts.metering.temperature_c
    if seen is None:
        return _NO_RUNS
    words = f"the GPU ended its runs at {seen[0]:.0f} to {seen[1]:.0f} °C"
    return Finding("warn" if seen[1] - seen[0] > 3 else "pass", words)


@_decides(idle_drift)
def _idle_drift(facts: Facts) -> Finding:
    seen, parts = facts.metering, []
    if seen.temperature_c:
        parts = [
            f"{model}: idle power was taken at {idle:.0f} °C, {seen.temperature_c[0] - idle:.0f} to {seen.temperature_c[1] - idle:.0f} °C "
            "cooler than the runs whose energy it is subtracted from"
            for model, idle in seen.idle_temperature_c.items()
            if seen.temperature_c[0] - idle > 3
        ]
    for model, recorded in seen.idle_watts_recorded.items():
        applied = seen.idle_watts_applied.get(model)
        if applied is not None and abs(applied / recorded - 1) > 0.01:
            parts.append(
                f"{model}: {figure(applied)} claimed W idle were applied where {figure(recorded)} were recorded"
            )
    if seen.idle_share is not None:
        parts.append(
            f"idle is {percent(seen.idle_share)} of the gross energy (median), so a net saving is smaller by that share in gross"
        )
    if not parts:
        return Finding("no data", "idle power was not recorded")
    return Finding("warn", "; ".join(parts))
