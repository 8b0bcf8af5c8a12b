"""The records of metering: the JSON of `/energy` and `/energy/trace`, and joules over a window.

Units are in the names. Times are `time.monotonic_ns()` of the metered machine. A missing figure is `None` with a reason beside
it, never 0.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import model_validator

from base.records import Record

Kind = Literal[
    "counter",  # the meter counts joules
    "power",  # the meter reports watts; the sampler integrates them
    "samples",  # the device samples its power and stamps each sample; the meter integrates them
]
# Facts of meters that were recorded before meters stated them, by `source`.
_RECORDED_FACTS: dict[str, dict[str, Any]] = {
    "nvml-samples": {"kind": "samples", "lag_s": 0.05},
    "nvml-instant": {"kind": "power", "lag_s": 0.2},
    "nvml-average": {"kind": "power", "lag_s": 1.0},
    "nvml-module": {"kind": "power", "lag_s": 0.2},
    "synthetic": {"simulated": True},
}


class GpuFacts(Record):
    """Facts that one GPU reported when it was probed; None if it does not report them."""

    index: int  # NVML's order, by PCI bus
    uuid: str
    name: str
    driver: str | None = None
    vbios: str | None = None
    mig: bool | None = None
    virtualization: int | None = None  # 0 bare metal, 1 passed through, 2 vGPU, 3 and 4 hosts of vGPUs
    persistence: bool | None = None
    power_limit_watts: float | None = None  # enforced now
    default_power_limit_watts: float | None = None
    power_limit_range_watts: tuple[float, float] | None = None
    module_watts: float | None = None  # of a module with a CPU (Grace Hopper), when probed; includes the GPU's
    unanswered: tuple[str, ...] = ()  # better sources that failed, each with the driver's reason


class MeterInfo(Record):
    """One meter: what it reads, on which device, and the facts that decide how its readings are used."""

    source: str  # the meter's name in records and reports, e.g. "nvml-counter"; nothing decides by it
    domain: str  # the metered part: "gpu", "cpu-package", "dram"; others, as "wall", are shown and never added to the headline
    device: str  # GPU UUID, RAPL zone, or "process" for modelled energy
    name: str | None = None  # for people: "NVIDIA H100", "package-0", "7.5 W per core, assumed"
    kind: Kind = "counter"
    lag_s: float = 0.0  # maximum age of a reported power, or the stretch it is the mean of; 0 for counters
    measured: bool = True  # False for modelled energy, which never shares a column with measured energy
    basis: str | None = None  # of modelled energy: the assumption, "CPU seconds x 7.5 W per core, assumed"
    simulated: bool = False  # a known power curve, exact at every moment: the engine's own, which may be 0
    refresh_s: float | None = None  # how often the counter changes; None until that has been observed
    gpu: GpuFacts | None = None

    @model_validator(mode="before")
    @classmethod
    def _fill_in_recorded_facts(cls, fields: Any) -> Any:
        if not isinstance(fields, dict):
            return fields
        return {**_RECORDED_FACTS.get(fields.get("source", ""), {}), **fields}


class MissingMeter(Record):
    """A meter that this machine could have: why it is missing, and how to get it."""

    source: str
    reason: str
    remedy: str | None = None  # how to fix it, unless the reason says so
    device: str | None = None  # set if the device is there and cannot be read; None: no such device was found
    domain: str | None = None  # the part that it would meter

    @model_validator(mode="before")
    @classmethod
    def _fill_in_recorded_domain(cls, fields: Any) -> Any:
        if not isinstance(fields, dict):
            return fields
        source = fields.get("source", "")
        domain = "gpu" if source.startswith("nvml-") else "cpu-package" if source == "rapl" else None
        return {"domain": domain, **fields}


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


class FailedRead(Record):
    """One read that failed twice: a gap."""

    at_ns: int
    reason: str


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
    failed_reads: list[FailedRead] = []  # at most the latest thousand
    reason: str | None = None  # why the trace ends early or must not be used


class Conditions(Record):
    """The state of one GPU at one moment, for the throttling and drift checks."""

    at_ns: int
    device: str
    sm_clock_mhz: int | None = None
    memory_clock_mhz: int | None = None
    temperature_c: int | None = None
    throttle_reasons: list[str] | None = []  # None: not reported; older records have [] for that, too
    power_limit_watts: float | None = None  # enforced now
    other_processes: list[int] | None = None  # ids of processes on it that are not the engine's; None: not known


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
    failed_reads: int = 0  # failed reads within the window
    longest_gap_s: float | None = None  # between two readings, anywhere in the window
    stood_still_s: float | None = (
        None  # the longest time in it over which reported power that is integrated did not change at all
    )
    reason: str | None = None  # why joules is None or suspect
    copy_of: str | None = None  # device of the meter that this one repeats: its joules are not added again


class WindowEnergy(Record):
    """Energy over one window: what a trial records and `summary.json` carries under `energy`.

    The headline (`gross_joules`) is the sum over all GPUs; without a GPU, RAPL package + DRAM; if any part is missing, it is
    None. `net_joules` subtracts idle power with the model loaded and is never clamped: it may be negative.
    """

    start_ns: int
    end_ns: int
    gross_joules: float | None = None
    gross_joules_uncertainty: float | None = None  # half-width of a 95 % interval
    mean_watts: float | None = None  # gross / duration
    net_joules: float | None = None
    net_joules_uncertainty: float | None = None  # half-width of a 95 % interval, of gross and idle together
    net_reason: str | None = None  # why net_joules is None although gross_joules is not
    idle_watts: float | None = None  # the idle power that was subtracted
    clock_error_s: float = 0.0  # error of the edges on the meters' clock, ±; part of the uncertainty
    source: str | None = None  # e.g. "nvml-counter", "rapl"
    reason: str | None = None  # why gross_joules is None
    modelled_joules: float | None = None
    modelled_basis: str | None = None  # the assumption, in words: "7.5 W per core x CPU seconds"
    parts: list[MeterEnergy] = []
    missing: list[MissingMeter] = []
    conditions: list[Conditions] = []


class IdleWindow(Record):
    """One measurement of idle power, with the model loaded and no requests."""

    whole: WindowEnergy
    first_half_joules: float | None  # of its first half: the difference of the halves shows how much power fluctuates


class MeterPower(Record):
    """Mean watts of one meter in steps of `step_ns`, the first beginning at `start_ns`."""

    info: MeterInfo
    start_ns: int
    step_ns: int
    watts: list[float]


class PowerTimeline(Record):
    """`power.json`: each meter's power over a trial, ramps included, for plots; joules are in `WindowEnergy`."""

    schema_version: Literal[1] = 1
    meters: list[MeterPower]
