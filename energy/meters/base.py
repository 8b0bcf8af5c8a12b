"""What a meter is. `energy.meters.nvidia.nvml`, `energy.meters.rapl` and `energy.meters.modelled` are meters; the synthetic engine brings its own.

    EnergyError   a flag or key the user must mend
    MeterLost     this meter will never answer again; the others go on

Joules and watts everywhere; whoever reads milli- or microjoules converts them where they are read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from base.errors import UserError
from energy.records import Conditions, MeterInfo


class EnergyError(UserError):
    """A setting that metering cannot work with; the message names the flag or key to mend."""


class MeterLost(Exception):  # noqa: N818 - it is an event, not a mistake
    """The meter will never work again (GPU lost, counter reset); the message is the reason users read."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One read of one meter. Times are `time.monotonic_ns()` and bracket the call that gave the figure.

    joules: cumulative since some moment that does not change; None for a meter that only knows power.
    watts: the power the device itself reports; None where it does not.
    Both None: the meter did not answer this time (a gap), and may the next; `error` says why, if it was an error.
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
        """What is read, on which device. `source` decides how readings become joules (`energy.track`)."""
        ...

    def read(self) -> Reading:
        """Read now. Raises MeterLost once the meter will never work again; a passing failure is a gap."""
        ...


@runtime_checkable
class ReportsConditions(Protocol):
    """A meter whose device also tells its clocks, temperature and reasons for slowing down."""

    def conditions(self) -> Conditions:
        """The state now, None for what the device does not tell. Never raises."""
        ...
