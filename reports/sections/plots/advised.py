"""What the advice for one purpose rests on: every configuration's ratios to the baseline with their simultaneous intervals."""

from __future__ import annotations

from reports.analysis.family import FamilyComparison, Purpose
from reports.analysis.quantities import JOULES_KEYS, QUANTITIES
from reports.analysis.records import Analysis, ConfigurationFigures
from reports.decision.withheld import Withheld, usable
from reports.document.blocks import SIGNS, Plot
from reports.document.chart import Axis, Chart, Marks, Rule, Symbol, at_least
from reports.document.wording import in_words, is_named_by_width, name, times, with_interval
from reports.statistics.ratios import Verdict

_COLOURS: dict[Verdict | None, str] = {
    "better": "better", "worse": "worse", "equivalent": "same", "undecided": "same", None: "same",
}  # fmt: skip
_LEDE = "Blue: better; orange: worse; grey: neither. Simultaneous 95\u00a0% intervals."


def advised_plot(analysis: Analysis, purpose: Purpose) -> Plot | None:
    """A row for each configuration, the baseline at the top; None if no ratio is usable."""
    found, withheld = usable(analysis, purpose)
    if not found:
        return None
    rows = {c.info.label: row for row, c in enumerate(reversed(analysis.configurations))}
    keys = dict.fromkeys(one.quantity for one in found)
    # One quantity is in the title, a legend distinguishes several.
    marks = [Marks([], [], _legend(key), "ink", _symbol(key)) for key in keys if len(keys) > 1]
    for key in keys:
        for colour in dict.fromkeys(_COLOURS.values()):
            own = [one for one in found if one.quantity == key and _COLOURS[one.comparison.verdict] == colour]
            if own:
                marks.append(_marks(analysis, own, rows, colour, shift=0.14 if len(keys) > 1 else 0.0))
    marks.append(_without(analysis, withheld, rows, found))
    ends = [end for m in marks for side in (m.x, m.x_low or (), m.x_high or ()) for end in side if end is not None]
    chart = Chart(
        Axis("ratio to the baseline", at_least(0.9, 1.1, ends), form="ratio"),
        Axis("", (-0.6, len(rows) - 0.4), names=[_row(c) for c in reversed(analysis.configurations)], grid=False),
        marks,
        [Rule(1.0, "x")],
        height=60 + 30 * len(rows),
    )
    said = [f"{_named(analysis, one)}: {_found(one)}" for one in found]
    shown = "ratio to the baseline" if len(keys) > 1 else _legend(found[0].quantity)
    return Plot(f"{found[0].workload}: {shown}", _LEDE, f"{'; '.join(said)}.", chart)


def _marks(
    analysis: Analysis, own: list[FamilyComparison], rows: dict[str, int], colour: str, *, shift: float
) -> Marks:
    """Ratios of one quantity and colour; speed lies above the middle of a row, joules below."""
    below = own[0].quantity in JOULES_KEYS
    return Marks(
        [one.comparison.ratio or 1.0 for one in own],
        [rows[one.label] + (-shift if below else shift) for one in own],
        colour=colour,
        symbol=_symbol(own[0].quantity),
        size=10,
        x_low=[one.comparison.low for one in own],
        x_high=[one.comparison.high for one in own],
        hover=[f"{_named(analysis, one)}\n{_found(one)}" for one in own],
    )


def _without(analysis: Analysis, withheld: Withheld, rows: dict[str, int], found: list[FamilyComparison]) -> Marks:
    """Words in the rows that have no ratio."""
    shown = {analysis.info.baseline, *(one.label for one in found)}
    why = {one.label: "failed" for one in analysis.failures}
    why |= {one.label: f"left out: {check} fails" for check, left in withheld.items() for one in left}
    empty = {row: why.get(label, "not compared") for label, row in rows.items() if label not in shown}
    return Marks([1.0] * len(empty), list(empty), texts=list(empty.values()))


def _row(configuration: ConfigurationFigures) -> str:
    """The name of a row, with the price in quality beneath it."""
    info = configuration.info
    named = str(info.width) if is_named_by_width(info) else info.label
    if info.is_baseline:
        return f"{named}\nbaseline"
    ratio = configuration.perplexity_ratio
    return named if ratio is None else f"{named}\n{times(ratio)} perplexity"


def _named(analysis: Analysis, one: FamilyComparison) -> str:
    info = next(c.info for c in analysis.configurations if c.info.label == one.label)
    return f"{name(info)}, {QUANTITIES[one.quantity].title}"


def _found(one: FamilyComparison) -> str:
    sign = f" {SIGNS[one.comparison.verdict]} {in_words(one.comparison)}" if one.comparison.verdict else ""
    return f"{with_interval(one.comparison)}{sign}"


def _legend(key: str) -> str:
    return f"{QUANTITIES[key].title}, {QUANTITIES[key].better} is better"


def _symbol(key: str) -> Symbol:
    return "diamond" if key in JOULES_KEYS else "circle"
