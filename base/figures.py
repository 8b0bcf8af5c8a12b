"""Numbers as people read them, in every message, table and chart."""

from __future__ import annotations

import math


def figure(value: float) -> str:
    """Three significant digits, thousands separated: 1234.5 -> "1,230", 83.14 -> "83.1", 0.01234 -> "0.0123"."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    rounded = float(f"{value:.2e}")
    decimals = max(0, 2 - math.floor(math.log10(abs(rounded)) + 1e-9))
    return f"{rounded:,.{decimals}f}"


def percent(share: float, *, signed: bool = False) -> str:
    """A share in percent, with up to three significant digits: 0.05 -> "5 %", 0.1234 -> "12.3 %"."""
    value = 100 * share
    text = f"{value:+.3g}" if signed else f"{value:.3g}"
    return f"{figure(value) if 'e' in text else text} %"
