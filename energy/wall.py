"""What a wall meter says beside the headline: it contains what the other meters measure, and is never added to them."""

from __future__ import annotations

import math

from base.records import Record
from energy.records import WindowEnergy

_WITHIN = ("gpu", "cpu-package", "dram")  # parts of the machine that meters cover without overlap


class WallEnergy(Record):
    """Joules of the whole machine at the wall over a window. Uncertainties are half-widths of 95 % intervals."""

    joules: float | None
    joules_uncertainty: float | None = None
    reason: str | None = None  # why there are none
    over_gross: float | None = None  # over the headline's joules
    over_gross_uncertainty: float | None = None
    over_gross_reason: str | None = None
    rest_joules: float | None = None  # of what no other meter here covers: fans, supply, and parts without a meter
    covered: tuple[str, ...] = ()  # by other meters


def wall_energy(energy: WindowEnergy) -> WallEnergy | None:
    """The sum of the wall meters; None if there is none. Two of them are the two supplies of one machine."""
    parts = [p for p in energy.parts if p.info.domain == "wall" and p.copy_of is None]
    gone = [m for m in energy.missing if m.domain == "wall"]
    if not parts and not gone:
        return None
    reasons = [f"{p.info.device}: {p.reason}" for p in parts if p.joules is None] + [m.reason for m in gone]
    if reasons:
        return WallEnergy(joules=None, reason="; ".join(reasons))
    joules = math.fsum(p.joules or 0.0 for p in parts)
    half = math.hypot(*(p.uncertainty_joules or 0.0 for p in parts))
    within = [p for p in energy.parts if p.info.domain in _WITHIN and p.copy_of is None and p.joules is not None]
    found = WallEnergy(
        joules=joules,
        joules_uncertainty=half,
        rest_joules=joules - math.fsum(p.joules or 0.0 for p in within),
        covered=tuple(sorted({p.info.domain for p in within})),
    )
    gross = energy.gross_joules
    if any(p.info.simulated for p in energy.parts):
        return found.model_copy(update={"over_gross_reason": "the headline is simulated, and the wall is not"})
    if not gross or not joules:
        return found.model_copy(update={"over_gross_reason": energy.reason or "the joules are 0"})
    ratio = joules / gross
    relative = math.hypot(half / joules, (energy.gross_joules_uncertainty or 0.0) / gross)
    return found.model_copy(update={"over_gross": ratio, "over_gross_uncertainty": ratio * relative})


def wall_words(wall: WallEnergy) -> str:
    """One sentence for people."""
    if wall.joules is None:
        return f"at the wall: no joules: {wall.reason}"
    words = (
        f"at the wall {wall.joules:.1f} J \N{PLUS-MINUS SIGN} {wall.joules_uncertainty or 0:.1f} J, all of the machine"
    )
    if wall.over_gross is not None:
        words += f": {wall.over_gross:.2f} \N{PLUS-MINUS SIGN} {wall.over_gross_uncertainty:.2f} times the joules above"
    if wall.covered:
        words += f"; {wall.rest_joules:.1f} J of it are of parts that no meter of {', '.join(wall.covered)} covers"
    return words
