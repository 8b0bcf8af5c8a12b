"""Where a trial's joules come from: the server's meters, this machine's, or nowhere, with the reason."""

from __future__ import annotations

import functools
import time
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

import httpx
from pydantic import ValidationError

from energy.records import EnergyCounters, EnergyTrace, WindowEnergy
from energy.sampler import Sampler, start_sampler
from energy.window import window_energy
from loadgen.endpoint import Endpoint, LoadError

_ROUND_TRIPS = 20
_AFTER_WINDOW_S = 0.25  # samples just past the window's end make its edge exact


class EnergySource(Protocol):
    """Gives joules over a window of this process's monotonic clock."""

    def over(self, start_ns: int, end_ns: int, *, idle: WindowEnergy | None = None) -> WindowEnergy:
        """Energy of a window that has just ended; what could not be metered is None with the reason."""
        ...


@dataclass(frozen=True)
class NoEnergy:
    """No meter; `reason` says why."""

    reason: str

    def over(self, start_ns: int, end_ns: int, *, idle: WindowEnergy | None = None) -> WindowEnergy:  # noqa: ARG002
        """Nothing, with the reason."""
        return WindowEnergy(start_ns=start_ns, end_ns=end_ns, reason=self.reason)


@dataclass(frozen=True)
class LocalEnergy:
    """Meters of this machine, for a server that has none of its own."""

    sampler: Sampler

    def over(self, start_ns: int, end_ns: int, *, idle: WindowEnergy | None = None) -> WindowEnergy:
        """Cut from our own sampler's trace."""
        time.sleep(_AFTER_WINDOW_S)
        return window_energy(self.sampler.trace(start_ns), start_ns, end_ns, idle=idle)


@dataclass(frozen=True)
class ServerEnergy:
    """The meters of the serving host, read from its `/energy/trace`."""

    endpoint: Endpoint
    offset_ns: int  # the server's clock minus ours

    def over(self, start_ns: int, end_ns: int, *, idle: WindowEnergy | None = None) -> WindowEnergy:
        """Cut from the server's trace, on its clock; the result's edges are on ours."""
        time.sleep(_AFTER_WINDOW_S)
        start, end = start_ns + self.offset_ns, end_ns + self.offset_ns
        try:
            with self.endpoint.client() as client:
                answer = client.get("/energy/trace", params={"since_ns": start})
                answer.raise_for_status()
                trace = EnergyTrace.model_validate_json(answer.content)
        except (httpx.HTTPError, ValidationError) as error:
            return WindowEnergy(start_ns=start_ns, end_ns=end_ns, reason=f"the server's meters did not answer: {error}")
        found = window_energy(trace, start, end, idle=idle)
        conditions = [c.model_copy(update={"at_ns": c.at_ns - self.offset_ns}) for c in found.conditions]
        return found.model_copy(update={"start_ns": start_ns, "end_ns": end_ns, "conditions": conditions})


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
        url = choice.rstrip("/")
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


def measure_idle(source: EnergySource, seconds: float) -> WindowEnergy:
    """Wait, and meter the waiting: the model is loaded and nothing is asked."""
    start = time.monotonic_ns()
    time.sleep(seconds)
    return source.over(start, time.monotonic_ns())


@functools.cache
def _local() -> LocalEnergy:
    """One sampler for this process, whoever asks: its meters are the machine's."""
    return LocalEnergy(start_sampler(modelled_watts_per_core=None, process_ids=list))


def _of_server(endpoint: Endpoint) -> ServerEnergy | None:
    """None if the server offers no counters of our kind.

    The clock offset is that of the quickest of several round trips, whose middle is when the server looked at its clock. On
    one machine the clocks are one, which shows: the moment falls within the round trip. The address would not tell, since
    127.0.0.1 may be one end of a tunnel.
    """
    best: tuple[int, int] | None = None
    try:
        with endpoint.client() as client:
            for _ in range(_ROUND_TRIPS):
                before = time.monotonic_ns()
                answer = client.get("/energy")
                after = time.monotonic_ns()
                answer.raise_for_status()
                offset = EnergyCounters.model_validate_json(answer.content).now_ns - (before + after) // 2
                best = min(best or (after - before, offset), (after - before, offset))
    except (httpx.HTTPError, ValidationError):
        return None
    if best is None or abs(best[1]) <= best[0] / 2:
        return ServerEnergy(endpoint, 0)
    return ServerEnergy(endpoint, best[1])
