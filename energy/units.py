"""Joules as kWh, the unit of bills. They become a mass of CO2 in `energy.carbon` alone, by an intensity that the user states."""

from __future__ import annotations

JOULES_PER_KWH = 3_600_000.0  # 1000 W for 3600 s, exactly


def kilowatt_hours(joules: float) -> float:
    """Joules as kWh."""
    return joules / JOULES_PER_KWH
