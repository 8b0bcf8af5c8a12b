"""Numbers, ratios and names as text, the same in tables, sentences and plots. No figure has more than three significant digits."""

from __future__ import annotations

from datetime import timedelta

from base.figures import figure, percent
from reports.runs.records.configuration import ConfigurationInfo
from reports.statistics.ratios import Comparison, Interval

# For every table and plot whose intervals are not the simultaneous ones of `reports.analysis.family`.
PER_CELL = "Intervals are 95 % per cell, not corrected for their number."

# Of every verdict of a run whose results could decide how many blocks it has.
LOOKED = "intervals allow for every look after which the run could have ended"

TIMES, TO = "\N{MULTIPLICATION SIGN}", "\N{EN DASH}"
ABSENT = "\N{EM DASH}"  # stands for a missing figure
SIMULATED = "simulated"  # in the titles, names and watermarks of what the synthetic engine served
SIMULATED_WHY = "the synthetic engine's times and joules are settings, not measurements. They decide nothing."
SIMULATED_ALERT = f"Simulated: {SIMULATED_WHY}"


def around(share: float) -> str:
    """A half-width: 0.02 -> "±2 %"."""
    return f"\N{PLUS-MINUS SIGN}{percent(round(share, 4))}"


def or_absent(value: float | None, form: str | None = None) -> str:
    """A figure, in a format of its own if `form` is given; a dash if it is missing."""
    if value is None:
        return ABSENT
    return format(value, form) if form else figure(value)


def counted(number: int, what: str) -> str:
    """A number of things: 1 -> "1 workload", 2 -> "2 workloads"."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    """Hours, minutes and seconds: 361.4 -> "0:06:01"."""
    return str(timedelta(seconds=round(seconds)))


def times(ratio: float) -> str:
    """A ratio, such as 1.31x: two decimals from 0.1 to 10, three significant digits elsewhere."""
    return _ratio(ratio) + TIMES


def _ratio(ratio: float, decimals: int = 2) -> str:
    """Three decimals are shown below 1 alone, where they are significant digits."""
    if not 0.1 <= ratio < 9.995:
        return figure(ratio)
    return f"{ratio:.{min(decimals, 2 if ratio >= 0.9995 else 3)}f}"


def _decimals(low: float, high: float, margin: float | None) -> int:
    """Two or three decimals: as many as show on which side of the margin each end lies, where three digits can."""
    if margin is None:
        return 2
    apart = min(abs(end - limit) for end in (low, high) for limit in (1 / (1 + margin), 1 + margin))
    return 2 if apart >= 0.006 else 3


def with_interval(comparison: Comparison) -> str | None:
    """A ratio with its interval, such as 1.31x (1.25-1.38); the ratio alone if there is no interval; None without a ratio."""
    if comparison.ratio is None:
        return None
    low, high = comparison.low, comparison.high
    if low is None or high is None:
        return times(comparison.ratio)
    decimals = _decimals(low, high, comparison.margin)
    ratio, low_end, high_end = (_ratio(value, decimals) for value in (comparison.ratio, low, high))
    return f"{ratio}{TIMES} ({low_end}{TO}{high_end})"


def mean_with_interval(mean: Interval, unit: str) -> str:
    """A mean over blocks with its interval and unit, such as 1.31 J (1.25-1.38)."""
    if mean.low is None or mean.high is None:
        return f"{figure(mean.mean)} {unit} (one block, no interval)"
    return f"{figure(mean.mean)} {unit} ({figure(mean.low)}{TO}{figure(mean.high)})"


def from_to(comparison: Comparison) -> str:
    """An interval, such as 1.25x to 1.38x; the ratio if there is no interval."""
    low, high = comparison.low, comparison.high
    if low is None or high is None:
        return times(comparison.ratio or 1.0)
    decimals = _decimals(low, high, comparison.margin)
    return f"{_ratio(low, decimals)}{TIMES} to {_ratio(high, decimals)}{TIMES}"


def in_words(comparison: Comparison) -> str:
    """The verdict; if undecided, with the smallest effect that would have been decided."""
    if comparison.verdict is None:
        return "no verdict"
    if comparison.verdict != "undecided" or comparison.smallest_effect is None:
        return comparison.verdict
    return f"undecided: {smallest_effect(comparison.smallest_effect)}"


def smallest_effect(ratio: float) -> str:
    """The ratios that would have been judged better or worse, from the smallest such ratio above 1."""
    decimals = 2 if ratio >= 1.1 else 3
    return f"a ratio below {_ratio(1 / ratio, decimals)}{TIMES} or above {_ratio(ratio, decimals)}{TIMES} would show"


def parameters(count: int) -> str:
    """A parameter count, such as 1.24 B, 812 M, 703 k."""
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{figure(count / size)} {unit}"
    return str(count)


def is_named_by_width(info: ConfigurationInfo) -> bool:
    """Whether the label is the default one, made from the width."""
    return info.label == f"width-{info.width}"


def name(info: ConfigurationInfo) -> str:
    """The name of a configuration in a sentence."""
    return f"width {info.width}" if is_named_by_width(info) else info.label


def names(infos: list[ConfigurationInfo]) -> str:
    """Names in a list; widths share the word."""
    if len(infos) > 1 and all(is_named_by_width(info) for info in infos):
        return f"widths {listed([str(info.width) for info in infos])}"
    return listed([name(info) for info in infos])


def treated(info: ConfigurationInfo) -> str:
    """What was asked to differ from the baseline."""
    return "; ".join(info.treatment.values()) or "none"


def engine(info: ConfigurationInfo) -> str:
    """Its engine with the version, if it is known."""
    return f"{info.engine} {info.engine_version or ''}".strip() or "not reported"


def listed(names: list[str]) -> str:
    """Names in a list: a, b and c."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def sentence(text: str) -> str:
    """The text with a capital letter and a full stop."""
    return text[:1].upper() + text[1:].rstrip(".") + "."
