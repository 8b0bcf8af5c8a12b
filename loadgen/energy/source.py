"""Where a trial's joules come from: the server's meters, this machine's, or nowhere, with the reason."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

import httpx
from pydantic import ValidationError

from energy.records import EnergyTrace, IdleWindow, MeterTrace, PowerTimeline, WindowEnergy
from energy.sampler import Sampler, start_sampler
from energy.timeline import power_timeline
from energy.window import window_energy
from loadgen.endpoint import Endpoint, LoadError, server_address
from loadgen.energy.remote_clock import ClockOffset, estimate_offset
from loadgen.energy.traces import read_counters, read_trace

_ROUND_TRIPS = 20
LEAD_IN_S = 1.0  # until a sampler that has just started has seen a slow counter move
# Waits for samples past the window's end, which make its edge exact: until all but slow meters have been read, and until those have.
_PAUSES_S = (0.1, 0.15, *(0.25,) * 7)


class EnergySource(Protocol):
    """Gives joules over a window of this process's monotonic clock."""

    @property
    def measures(self) -> bool:
        """Whether any meter measures; without one, waiting for a figure is pointless."""
        ...

    def over(self, start_ns: int, end_ns: int, *, idle: WindowEnergy | None = None) -> WindowEnergy:
        """Energy of a window that has just ended; what could not be metered is None with the reason."""
        ...

    def power(self, start_ns: int, end_ns: int) -> PowerTimeline:
        """Power over a stretch that has just ended; a meter that cannot be read is left out."""
        ...


@dataclass(frozen=True)
class NoEnergy:
    """No meter; `reason` says why."""

    reason: str
    measures: bool = False

    def over(self, start_ns: int, end_ns: int, *, idle: WindowEnergy | None = None) -> WindowEnergy:  # noqa: ARG002
        """No figure, with the reason."""
        return WindowEnergy(start_ns=start_ns, end_ns=end_ns, reason=self.reason)

    def power(self, start_ns: int, end_ns: int) -> PowerTimeline:  # noqa: ARG002
        """No meters."""
        return PowerTimeline(meters=[])


@dataclass(frozen=True)
class LocalEnergy:
    """Meters of this machine, for a server that has none of its own."""

    sampler: Sampler

    @property
    def measures(self) -> bool:
        """Whether this machine has a meter."""
        return any(row.info.measured for row in self.sampler.counters().meters)

    def over(self, start_ns: int, end_ns: int, *, idle: WindowEnergy | None = None) -> WindowEnergy:
        """Cut from our own sampler's trace."""
        trace = _trace_past(end_ns, lambda: self.sampler.trace(start_ns), ago_s=_seconds_since(end_ns))
        return window_energy(trace, start_ns, end_ns, idle=idle)

    def power(self, start_ns: int, end_ns: int) -> PowerTimeline:
        """From our own sampler's trace."""
        return power_timeline(self.sampler.trace(start_ns), start_ns, end_ns)


@dataclass(frozen=True)
class ServerEnergy:
    """The meters of the serving host, read from its `/energy/trace`."""

    endpoint: Endpoint
    clock: ClockOffset  # of the server, when its meters were found
    measures: bool = True

    def over(self, start_ns: int, end_ns: int, *, idle: WindowEnergy | None = None) -> WindowEnergy:
        """Cut from the server's trace, on its clock; the result's edges are on ours.

        The clock offset is measured again: over a long trial two clocks drift by more than the edges' tolerance.
        """
        try:
            with self.endpoint.client() as client:
                now = estimate_offset(lambda: read_counters(client).now_ns, _ROUND_TRIPS)
                (to_start, error_ns), (to_end, _) = (self.clock.between(now, edge) for edge in (start_ns, end_ns))
                start, end = start_ns + to_start, end_ns + to_end

                trace = _trace_past(end, lambda: read_trace(client, start), ago_s=_seconds_since(end_ns))
            found = window_energy(trace, start, end, idle=idle, clock_error_s=error_ns / 1e9)
        except (httpx.HTTPError, ValidationError) as error:
            return WindowEnergy(start_ns=start_ns, end_ns=end_ns, reason=f"the server's meters did not answer: {error}")
        except ArithmeticError as error:
            return WindowEnergy(start_ns=start_ns, end_ns=end_ns, reason=f"the server's meters make no sense: {error}")
        conditions = [c.model_copy(update={"at_ns": c.at_ns - to_start}) for c in found.conditions]
        return found.model_copy(update={"start_ns": start_ns, "end_ns": end_ns, "conditions": conditions})

    def power(self, start_ns: int, end_ns: int) -> PowerTimeline:
        """From the server's trace, its times on our clock."""
        try:
            with self.endpoint.client() as client:
                now = estimate_offset(lambda: read_counters(client).now_ns, _ROUND_TRIPS)
                offset, _ = self.clock.between(now, end_ns)
                trace = read_trace(client, start_ns + offset)
        except (httpx.HTTPError, ValidationError):
            return PowerTimeline(meters=[])
        return power_timeline(trace, start_ns + offset, end_ns + offset, offset_ns=offset)


def pick_energy(choice: str, endpoint: Endpoint) -> EnergySource:
    """The source behind `--energy`.

    auto    the server's meters where it has /energy; else this machine's, if the server is on it; else none
    none    no energy
    local   this machine's meters
    URL     those of another server with /energy
    """
    if choice == "none":
        return NoEnergy("--energy none")
    if choice == "local":
        return _local()
    if choice != "auto":
        if not choice.startswith(("http://", "https://")):
            raise LoadError(f"--energy {choice}: must be auto, none, local or a URL")
        url = server_address(choice, "--energy")
        # A key is for the server it was given for, and for no other.
        key = endpoint.api_key if urlsplit(url)[:2] == urlsplit(endpoint.url)[:2] else None
        remote = _of_server(Endpoint(url=url, model=endpoint.model, api_key=key))
        if remote is None:
            raise LoadError(f"--energy {choice}: there is no /energy there")
        return remote
    found = _of_server(endpoint)
    if found is not None:
        return found
    return _local() if endpoint.is_local else NoEnergy("the server is on another machine and offers no /energy")


def measure_idle(source: EnergySource, seconds: float, *, at_once: bool = False) -> WindowEnergy:
    """Wait, and meter the waiting. Without a meter, return the reason immediately.

    A sampler that has just started has not seen a slow counter move yet, so the window begins a second later, or as long as it
    will last if that is less; `at_once` is for meters that have been read for a while.
    """
    if source.measures and not at_once:
        time.sleep(min(LEAD_IN_S, seconds))
    start = time.monotonic_ns()
    if source.measures:
        time.sleep(seconds)
    return source.over(start, time.monotonic_ns())


def measure_idle_in_halves(source: EnergySource, seconds: float) -> IdleWindow:
    """Wait, and meter the waiting as a whole and its first half, by meters that have been read for a while."""
    whole = measure_idle(source, seconds, at_once=True)
    half = source.over(whole.start_ns, (whole.start_ns + whole.end_ns) // 2)
    return IdleWindow(whole=whole, first_half_joules=half.gross_joules)


@contextlib.contextmanager
def meters_without_server(choice: str) -> Iterator[EnergySource]:
    """The meters that `choice` (as of `pick_energy`) will read, while there is no server to ask.

    For a server that is to run here they are this machine's, read only meanwhile: a client that measures latencies must not
    have a thread beside it that samples for nobody.
    """
    if choice not in {"auto", "local"}:
        yield pick_energy(choice, Endpoint(url="http://127.0.0.1", model=""))
        return
    sampler = start_sampler(modelled_watts_per_core=None, process_ids=list)
    try:
        yield LocalEnergy(sampler)
    finally:
        sampler.stop()


def _seconds_since(moment_ns: int) -> float:
    return (time.monotonic_ns() - moment_ns) / 1e9


def _trace_past(end_ns: int, read: Callable[[], EnergyTrace], *, ago_s: float) -> EnergyTrace:
    """The trace once every meter has been read, and a slow one has moved, after `end_ns`; two seconds at most.

    The window ended `ago_s` seconds ago: the first pause is shorter by that.
    """
    for pause_s in _PAUSES_S:
        time.sleep(max(0.0, pause_s - ago_s))
        ago_s = 0.0
        trace = read()
        if all(_is_past(meter, end_ns) for meter in trace.meters):
            break
    return trace


def _is_past(meter: MeterTrace, end_ns: int) -> bool:
    wanted = end_ns + round((meter.info.refresh_s or 0.0) * 1.5e9)
    return meter.reason is not None or (bool(meter.after_ns) and meter.after_ns[-1] >= wanted)


@functools.cache
def _local() -> LocalEnergy:
    """One sampler for this process, whoever asks: its meters are the machine's."""
    return LocalEnergy(start_sampler(modelled_watts_per_core=None, process_ids=list))


def _of_server(endpoint: Endpoint) -> ServerEnergy | None:
    """None if the server offers no counters of our kind."""
    try:
        with endpoint.client() as client:
            clock = estimate_offset(lambda: read_counters(client).now_ns, _ROUND_TRIPS)
            rows = read_counters(client).meters
    except (httpx.HTTPError, ValidationError):
        return None
    return ServerEnergy(endpoint, clock, any(row.info.measured for row in rows))
