"""Joules as kWh, the unit of bills. Joules never become a mass of CO2: that requires a grid's intensity, which is not measured."""

from __future__ import annotations

JOULES_PER_KWH = 3_600_000.0  # 1000 W for 3600 s, exactly


def kilowatt_hours(joules: float) -> float:
    """Joules as kWh."""
    return joules / JOULES_PER_KWH
