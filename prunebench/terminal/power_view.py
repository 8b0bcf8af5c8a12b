"""What `prunebench energy` prints: power as it changes, on a terminal, as lines or as JSON, and the lines of what has ended."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from rich.live import Live
from rich.table import Table

from energy.records import Conditions, EnergyTrace, MissingMeter, WindowEnergy
from energy.units import kilowatt_hours
from energy.wall import wall_energy, wall_words
from energy.window import meter_energy, window_energy
from loadgen.energy.command import MeteredCommand
from prunebench.terminal.console import err, out, print_line


class PowerView:
    """A live table on a terminal, a line a tick elsewhere, or JSON lines.

    `limit` is in watts: power that rises above it, and falls to it again, is a line on stderr, with a bell on a terminal.
    """

    def __init__(self, *, as_json: bool, limit: float | None = None) -> None:
        self._as_json = as_json
        self._limit = limit
        self._above = False
        self.alarms = 0  # times that power has risen above the limit
        self._live = Live(console=out, auto_refresh=False) if out.draws and not as_json else None

    def __enter__(self) -> None:
        if self._live is not None:
            self._live.start()

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def tick(self, trace: EnergyTrace, start: int, since: int, end: int) -> None:
        """Show the watts from `since` to `end`, and the joules from `start` on."""
        now, sums = window_energy(trace, since, end), window_energy(trace, start, end)
        seconds = (end - start) / 1e9
        if self._limit is not None and now.mean_watts is not None:
            self._watch(now.mean_watts, self._limit, seconds)
        if self._as_json:
            limited = {} if self._limit is None else {"above_limit": None if now.mean_watts is None else self._above}
            print_line(json.dumps(_tick_row(seconds, now, sums) | limited), whole=True)
        elif self._live is not None:
            self._live.update(_table(trace, now, sums), refresh=True)
        else:
            watts = "no figure" if now.mean_watts is None else f"{now.mean_watts:.1f} W"
            joules = now.reason if sums.gross_joules is None else f"{sums.gross_joules:.1f} J"
            print_line(f"{seconds:.1f} s: {watts}, {joules} in all")

    def _watch(self, watts: float, limit: float, seconds: float) -> None:
        above = watts > limit
        if above == self._above:
            return
        self._above = above
        self.alarms += above
        if above and err.is_terminal:
            err.bell()
        change = "ALARM: above" if above else "no longer above"
        print_line(f"prunebench: {seconds:.1f} s: {change} {limit:g} W: {watts:.1f} W", err)

    def total(self, energy: WindowEnergy) -> None:
        """Show the joules of the whole watch."""
        seconds = (energy.end_ns - energy.start_ns) / 1e9
        if self._as_json:
            line = json.dumps({"energy": energy.model_dump(mode="json", exclude={"conditions"})})
            print_line(line, whole=True)
            return
        for line in _joules(energy, seconds):
            print_line(line)


def command_lines(found: MeteredCommand) -> list[str]:
    """Of a command that has ended: joules, those less idle power, CPU time."""
    energy = found.energy
    lines = _joules(energy, found.wall_s)
    if energy.net_joules is not None:
        half = energy.net_joules_uncertainty or 0.0
        lines.append(f"{energy.net_joules:.1f} J ± {half:.1f} J less the idle power of {energy.idle_watts:.1f} W")
    elif energy.gross_joules is not None and energy.net_reason is not None:
        lines.append(f"idle power is not subtracted: {energy.net_reason}")
    if energy.gross_joules is None:
        lines += missing_lines(energy.missing)
    return [*lines, f"{found.cpu_s:.1f} CPU-s, status {found.status}"]


def idle_lines(whole: WindowEnergy, half_width: float | None, halves: Sequence[float | None]) -> list[str]:
    """Of power at rest: the mean and its half-width, of both halves, and of each meter, in watts."""
    if whole.mean_watts is None:
        return [f"no idle power: {whole.reason}"]
    seconds = (whole.end_ns - whole.start_ns) / 1e9
    lines = [f"{whole.mean_watts:.2f} W ± {half_width:.2f} W over {seconds:g} s ({whole.source})"]
    if None not in halves:
        lines.append(f"first half {halves[0]:.2f} W, second half {halves[1]:.2f} W")
    for part in whole.parts:
        name = f"{part.info.name} ({part.info.device}, {part.info.source})"
        lines.append(f"  {name}: {part.reason if part.mean_watts is None else f'{part.mean_watts:.2f} W'}")
    return lines


def missing_lines(missing: Sequence[MissingMeter]) -> list[str]:
    """Why each of these sources has no meter, and what would give it one."""
    return [f"no {one.source}: {one.reason}{'; ' + one.remedy if one.remedy else ''}" for one in missing]


def _joules(energy: WindowEnergy, seconds: float) -> list[str]:
    """Measured joules or why there are none, and modelled ones."""
    if energy.gross_joules is None:
        lines = [f"no joules over {seconds:.1f} s: {energy.reason}"]
    else:
        half = energy.gross_joules_uncertainty or 0.0
        hours = f"{kilowatt_hours(energy.gross_joules):.3g} kWh ({energy.source})"
        mean = f"{energy.mean_watts:.1f} W on average"
        lines = [f"{energy.gross_joules:.1f} J ± {half:.1f} J over {seconds:.1f} s, {mean}, {hours}"]
    if (wall := wall_energy(energy)) is not None:
        lines.append(wall_words(wall))
    if energy.modelled_joules is not None:
        lines.append(f"modelled, not measured: {energy.modelled_joules:.1f} J ({energy.modelled_basis})")
    return lines


def _tick_row(seconds: float, now: WindowEnergy, sums: WindowEnergy) -> dict[str, Any]:
    return {
        "seconds": seconds,
        "watts": now.mean_watts,
        "joules": sums.gross_joules,
        "joules_uncertainty": sums.gross_joules_uncertainty,
        "source": now.source,
        "reason": now.reason,
        "modelled_joules": sums.modelled_joules,
        "devices": [{"device": p.info.device, "watts": p.mean_watts, "reason": p.reason} for p in now.parts],
    }


def _table(trace: EnergyTrace, now: WindowEnergy, sums: WindowEnergy) -> Table:
    """`now` for the watts, `sums` for the joules."""
    table = Table(title=f"{(sums.end_ns - sums.start_ns) / 1e9:.0f} s; Ctrl-C ends", title_justify="left")
    for heading in ("device", "source", "W", "J", "°C", "SM MHz", "memory MHz", "slowed by"):
        table.add_column(heading, justify="left" if heading in {"device", "source", "slowed by"} else "right")
    states = {c.device: c for c in trace.conditions}
    for meter in trace.meters:
        part = meter_energy(meter, now.start_ns, now.end_ns)
        total = next((p for p in sums.parts if p.info.device == meter.info.device), None)
        source = meter.info.source if meter.info.measured else f"{meter.info.source}, not measured"
        joules = None if total is None else total.joules
        name = meter.info.name or meter.info.device
        state = states.get(meter.info.device, Conditions(at_ns=0, device=meter.info.device))
        table.add_row(
            name,
            source,
            _figure(part.mean_watts),
            _figure(joules),
            _figure(state.temperature_c, 0),
            _figure(state.sm_clock_mhz, 0),
            _figure(state.memory_clock_mhz, 0),
            ", ".join(state.throttle_reasons or []),
        )
    table.add_section()
    table.add_row("headline", now.source or now.reason or "", _figure(now.mean_watts), _figure(sums.gross_joules))
    return table


def _figure(value: float | None, digits: int = 1) -> str:
    return "—" if value is None else f"{value:.{digits}f}"
