"""The interface of a meter.

    Metered       what is metered, for meters that depend on it
    Meter         one counter or power sensor; its module has a function that finds it, listed in `energy.meters.registry`
    EnergyError   a wrong flag or key, which the user can fix
    MeterLost     this meter will never answer again; the others continue

Joules and watts everywhere: a meter converts milli- or microjoules where it reads them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

from base.errors import UserError
from energy.records import Conditions, MeterInfo


class EnergyError(UserError):
    """A setting that metering cannot work with; the message names the flag or key to fix."""


class MeterLost(Exception):  # noqa: N818 - it is an event, not a mistake
    """The meter will never work again (GPU lost, counter reset); the message is the reason users read."""


@dataclass(frozen=True)
class Metered:
    """The work whose energy is metered, and the assumptions that the user states.

    process_ids: the processes that do the work, children included.
    """

    process_ids: Callable[[], list[int]] = list
    modelled_watts_per_core: float | None = None  # None: CPU energy is not modelled


class Reading(NamedTuple):
    """One read of one meter. Times are `time.monotonic_ns()` and bracket the call that gave the figure.

    joules: cumulative since a fixed moment; None for a meter of kind "power".
    watts: the power that the device itself reports; None if it does not.
    Both None: the meter did not answer this time (a gap) and may answer the next; `error` is the reason, if it failed.
    """

    before_ns: int
    after_ns: int
    joules: float | None = None
    watts: float | None = None
    error: str | None = None


class Meter(Protocol):
    """One counter or power sensor."""

    @property
    def info(self) -> MeterInfo:
        """What is read, on which device. `kind` and `lag_s` decide how readings become joules."""
        ...

    def read(self) -> Reading:
        """Read now. Raises MeterLost once the meter will never work again; a transient failure is a gap."""
        ...


@runtime_checkable
class Stops(Protocol):
    """A meter with something to end when nobody reads it any more."""

    def stop(self) -> None:
        """End it; safe to call twice."""
        ...


@runtime_checkable
class ReportsConditions(Protocol):
    """A meter whose device also reports its clocks, temperature and reasons for throttling."""

    def conditions(self) -> Conditions:
        """The state now, None for what the device does not report. Never raises."""
        ...


@runtime_checkable
class HasNotes(Protocol):
    """A meter with advice for a careful user."""

    def notes(self) -> list[str]:
        """What to change or to know, one sentence each."""
        ...
