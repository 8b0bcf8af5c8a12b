"""`prunebench energy`: watch the meters, measure power at rest, predict joules of other shapes of requests."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from pydantic import ValidationError
from rich.live import Live
from rich.table import Table

from energy.meters.base import EnergyError
from energy.records import Conditions, EnergyTrace, MeterEnergy, WindowEnergy
from energy.sampler import start_sampler
from energy.units import kilowatt_hours
from energy.window import meter_energy, window_energy
from loadgen.endpoint import Endpoint, server_address
from prunebench.commands.compare import say_damaged
from reports.analysis.cells import analyse_folder
from reports.document.console import Console

_BEHIND_NS = 300_000_000  # what is shown is so old: by then every usual counter has moved on
_ANSWER_S = 10.0  # for one answer of a server's meters
_FIRST_S = 1.0  # for the first refreshes to be seen
Read = Callable[[int], EnergyTrace]  # from a moment of the metered machine's clock on


def watch_command(
    url: str | None, *, interval_s: float, duration_s: float | None, as_json: bool, console: Console
) -> int:
    """Show power and joules until `duration_s` is over, or Ctrl-C; then the whole. Status 1 if nothing could be measured."""
    with _meters(url) as read:
        start = end = _begin(read)
        if _no_meter(read(start), console, as_json=as_json):
            return 1
        show = _Screen(console, as_json=as_json)
        with show:
            try:
                while duration_s is None or (end - start) / 1e9 < duration_s:
                    left_s = interval_s if duration_s is None else min(interval_s, duration_s - (end - start) / 1e9)
                    time.sleep(max(left_s, 0.01))
                    since, trace = end, read(start)
                    end = trace.now_ns - _BEHIND_NS
                    show.tick(trace, start, since, end)
            except KeyboardInterrupt:
                pass  # how a watch ends
        if end <= start:
            return 0
        whole = window_energy(read(start), start, end)
    show.whole(whole)
    return 0 if whole.gross_joules is not None or whole.modelled_joules is not None else 1


def idle_command(url: str | None, *, duration_s: float, as_json: bool, console: Console) -> int:
    """Mean power of a machine that is left alone, and whether it was steady. Status 1 if nothing could be measured."""
    with _meters(url) as read:
        start = _begin(read)
        if _no_meter(read(start), console, as_json=as_json):
            return 1
        time.sleep(duration_s + _BEHIND_NS / 1e9)
        trace = read(start)
    end = start + round(duration_s * 1e9)
    whole = window_energy(trace, start, end)
    middle = (start + end) // 2
    halves = [window_energy(trace, a, b).mean_watts for a, b in ((start, middle), (middle, end))]
    half_width = None if whole.gross_joules_uncertainty is None else whole.gross_joules_uncertainty / duration_s
    if as_json:
        found = {
            "watts": whole.mean_watts,
            "watts_uncertainty": half_width,
            "first_half_watts": halves[0],
            "second_half_watts": halves[1],
            "energy": whole.model_dump(mode="json"),
        }
        console.print_json(json.dumps(found))
    elif whole.mean_watts is None:
        _say(console, f"no idle power: {whole.reason}")
    else:
        _say(console, f"{whole.mean_watts:.2f} W ± {half_width:.2f} W over {duration_s:g} s ({whole.source})")
        if None not in halves:
            _say(console, f"first half {halves[0]:.2f} W, second half {halves[1]:.2f} W")
        for part in whole.parts:
            _say(console, _part_line(part))
    return 0 if whole.mean_watts is not None else 1


def predict_command(run: Path, *, prompt_tokens: int, output_tokens: int, as_json: bool, console: Console) -> int:
    """Joules a request of another shape would take, by a run's own trials. Status 1 if they do not tell for any."""
    rows: list[dict[str, Any]] = []
    analysis = analyse_folder(run)
    say_damaged([analysis])
    for model in analysis.energy_models:
        row: dict[str, Any] = {"configuration": model.label, "load": model.load, "reason": model.incomplete}
        if model.incomplete is None:
            row |= {"lack_of_fit": model.fit if model.is_bent else None}
            row |= model.predict(prompt_tokens, output_tokens).model_dump()
        rows.append(row)
    if as_json:
        console.print_json(json.dumps({"prompt_tokens": prompt_tokens, "output_tokens": output_tokens, "rows": rows}))
    elif not rows:
        _say(console, f"{run}: no trial has measured joules")
    for row in [] if as_json else rows:
        said = f"no prediction: {row['reason']}"
        if row["reason"] is None:
            beyond = ", beyond the lengths measured" if row["extrapolated"] else ""
            beyond += f"; {row['lack_of_fit']}: the interval does not hold" if row["lack_of_fit"] else ""
            said = (
                f"{row['joules_per_request']:.4g} J/request ({row['low']:.4g} to {row['high']:.4g}), "
                f"{row['joules_per_output_token']:.4g} J/output token{beyond}"
            )
        _say(console, f"{row['configuration']}, {row['load']}: {said}")
    return 0 if any(row["reason"] is None for row in rows) else 1


class _Screen:
    """A live table on a terminal, a line a tick elsewhere, or JSON lines."""

    def __init__(self, console: Console, *, as_json: bool) -> None:
        self._console = console
        self._as_json = as_json
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal and not as_json else None

    def __enter__(self) -> None:
        if self._live is not None:
            self._live.start()

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def tick(self, trace: EnergyTrace, start: int, since: int, end: int) -> None:
        """What happened from `since` to `end`, and the sums from `start` on."""
        now, sums = window_energy(trace, since, end), window_energy(trace, start, end)
        seconds = (end - start) / 1e9
        if self._as_json:
            self._console.print(
                json.dumps(_tick_row(seconds, now, sums)), soft_wrap=True, highlight=False, markup=False
            )
        elif self._live is not None:
            self._live.update(_table(trace, now, sums), refresh=True)
        else:
            watts = "no figure" if now.mean_watts is None else f"{now.mean_watts:.1f} W"
            joules = now.reason if sums.gross_joules is None else f"{sums.gross_joules:.1f} J"
            _say(self._console, f"{seconds:.1f} s: {watts}, {joules} in all")

    def whole(self, energy: WindowEnergy) -> None:
        """The figure for the whole watch."""
        seconds = (energy.end_ns - energy.start_ns) / 1e9
        if self._as_json:
            line = json.dumps({"energy": energy.model_dump(mode="json", exclude={"conditions"})})
            self._console.print(line, soft_wrap=True, highlight=False, markup=False)
            return
        if energy.gross_joules is None:
            _say(self._console, f"no joules over {seconds:.1f} s: {energy.reason}")
        else:
            half = energy.gross_joules_uncertainty or 0.0
            _say(
                self._console,
                f"{energy.gross_joules:.1f} J ± {half:.1f} J over {seconds:.1f} s, {energy.mean_watts:.1f} W on average,"
                f" {kilowatt_hours(energy.gross_joules):.3g} kWh ({energy.source})",
            )
        if energy.modelled_joules is not None:
            _say(self._console, f"modelled, not measured: {energy.modelled_joules:.1f} J ({energy.modelled_basis})")


@contextmanager
def _meters(url: str | None) -> Iterator[Read]:
    """The meters of this machine, or those of a server with /energy/trace."""
    if url is None:
        sampler = start_sampler(modelled_watts_per_core=None, process_ids=list)
        try:
            yield sampler.trace
        finally:
            sampler.stop()
        return
    with Endpoint(url=server_address(url, "--url"), model="").client(_ANSWER_S) as client:

        def read(since_ns: int) -> EnergyTrace:
            try:
                answer = client.get("/energy/trace", params={"since_ns": since_ns})
                answer.raise_for_status()
                return EnergyTrace.model_validate_json(answer.content)
            except (httpx.HTTPError, ValidationError) as error:
                raise EnergyError(f"--url {url}: {error}".partition("\n")[0]) from None

        yield read


def _begin(read: Read) -> int:
    """A moment from which on every meter has been seen to move."""
    time.sleep(_FIRST_S)
    return read(2**62).now_ns - _BEHIND_NS


def _no_meter(trace: EnergyTrace, console: Console, *, as_json: bool) -> bool:
    if trace.meters:
        return False
    if as_json:
        console.print_json(json.dumps({"energy": None, "missing": [m.model_dump(mode="json") for m in trace.missing]}))
        return True
    for missing in trace.missing:
        _say(console, f"no {missing.source}: {missing.reason}{'; ' + missing.remedy if missing.remedy else ''}")
    return True


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


def _part_line(part: MeterEnergy) -> str:
    name = f"{part.info.name} ({part.info.device}, {part.info.source})"
    return f"  {name}: {part.reason}" if part.mean_watts is None else f"  {name}: {part.mean_watts:.2f} W"


def _figure(value: float | None, digits: int = 1) -> str:
    return "—" if value is None else f"{value:.{digits}f}"


def _say(console: Console, line: str) -> None:
    console.print(line, highlight=False, markup=False, soft_wrap=True)
