"""What meters hand on: the JSON of `/energy` and `/energy/trace`, and joules over a window.

Units are in the names. Times are `time.monotonic_ns()` of the machine that was metered. A figure that could not be had is
`None` with a reason beside it, never 0.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

Source = Literal[
    "nvml-counter",  # the GPU's own total-energy counter
    "nvml-instant",  # instant power, integrated here
    "nvml-average",  # one-second average power, integrated here
    "rapl",  # CPU package or DRAM counter
    "modelled-cpu",  # CPU seconds x stated watts per core: an assumption, not a measurement
    "synthetic",  # the synthetic engine's known power curve
]
Domain = Literal["gpu", "cpu-package", "dram", "cpu-modelled", "synthetic"]


class Record(BaseModel):
    """Base of everything written to disk or sent over HTTP: unknown keys are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class MeterInfo(Record):
    """One meter: what it reads, on which device, and how far it may be trusted."""

    source: Source
    domain: Domain
    device: str  # GPU UUID, RAPL zone, or "process" for modelled energy
    name: str | None = None  # for people: "NVIDIA H100", "package-0", "7.5 W per core, assumed"
    measured: bool = True  # False for modelled energy, which never shares a column with measured energy
    refresh_s: float | None = None  # how often the counter changes, as observed; None until it has been seen to


class MissingMeter(Record):
    """A source that could have been there, why it is not, and what would mend that."""

    source: Source
    reason: str
    remedy: str | None = None  # what would mend it, where the reason does not say
    device: str | None = None  # set when the device is there and could not be read; None: nothing of the kind was found


class Counter(Record):
    """One row of `GET /energy`: joules since the sampler started."""

    info: MeterInfo
    joules: float | None  # None once the meter has failed
    sampled_ns: int | None
    watts: float | None = None
    reason: str | None = None  # why joules is None


class EnergyCounters(Record):
    """`GET /energy`: cumulative counters, so any number of readers agree."""

    now_ns: int
    meters: list[Counter]
    missing: list[MissingMeter]


class MeterTrace(Record):
    """The samples of one meter, as columns of equal length in time order.

    `before_ns` and `after_ns` bracket the read; `joules` is cumulative since the sampler started; `watts` is the power the
    device itself reports, if it does.
    """

    info: MeterInfo
    before_ns: list[int]
    after_ns: list[int]
    joules: list[float]
    watts: list[float | None]
    reason: str | None = None  # why the trace ends early or must not be used


class Conditions(Record):
    """The state of one GPU at one moment, for the throttling and drift checks."""

    at_ns: int
    device: str
    sm_clock_mhz: int | None = None
    memory_clock_mhz: int | None = None
    temperature_c: int | None = None
    throttle_reasons: list[str] = []


class EnergyTrace(Record):
    """`GET /energy/trace?since_ns=`: everything sampled from that moment on."""

    now_ns: int
    meters: list[MeterTrace]
    conditions: list[Conditions]
    missing: list[MissingMeter]


class MeterEnergy(Record):
    """Energy of one meter over one window."""

    info: MeterInfo
    joules: float | None
    uncertainty_joules: float | None = None  # half-width of a 95 % interval
    mean_watts: float | None = None
    disagreement: float | None = None  # counter / integral of the reported power - 1; None: nothing to compare with
    reason: str | None = None  # why joules is None, or what is suspect about it


class WindowEnergy(Record):
    """Energy over one window: what a trial records and `summary.json` carries under `energy`.

    The headline (`gross_joules`) is the sum over all GPUs; without a GPU, RAPL package + DRAM; one missing part makes it
    None. `net_joules` subtracts idle power with the model loaded and is never clamped: it may be negative.
    """

    start_ns: int
    end_ns: int
    gross_joules: float | None = None
    gross_joules_uncertainty: float | None = None  # half-width of a 95 % interval
    net_joules: float | None = None
    net_reason: str | None = None  # why net_joules is None although gross_joules is there
    idle_watts: float | None = None  # what was subtracted, per second
    source: str | None = None  # e.g. "nvml-counter", "rapl"
    reason: str | None = None  # why gross_joules is None
    modelled_joules: float | None = None
    modelled_basis: str | None = None  # the assumption, in words: "7.5 W per core x CPU seconds"
    parts: list[MeterEnergy] = []
    missing: list[MissingMeter] = []
    conditions: list[Conditions] = []
