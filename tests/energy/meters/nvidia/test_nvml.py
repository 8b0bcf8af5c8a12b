from __future__ import annotations

import time
from types import SimpleNamespace

import pynvml
import pytest

from energy.meters.base import Meter, MeterLost, ReportsConditions
from energy.meters.nvidia import nvml
from energy.meters.nvidia.gpus import find_gpus
from tests.energy.conftest import PowerCurve

SOON_NS = 60_000_000


def only_meter() -> nvml.NvmlMeter:
    (meter,), _ = find_gpus()
    return meter


def wait_until(ns: int) -> None:
    time.sleep(max(0, ns - time.monotonic_ns() + 1_000_000) / 1e9)


def test_the_counter_gives_joules_not_millijoules(fake_gpus):
    curve = PowerCurve(watts=700, amplitude=200, period=0.5)
    fake_gpus(curve.settings())
    meter = only_meter()
    first = meter.read()
    time.sleep(0.3)
    last = meter.read()
    assert last.joules is not None
    assert first.joules is not None
    at_most = curve.joules(first.before_ns, last.after_ns)
    at_least = curve.joules(first.after_ns, last.before_ns)
    assert at_least - 0.002 <= last.joules - first.joules <= at_most + 0.002


def test_the_counter_read_as_a_field_is_the_same_counter(fake_gpus):
    fake_gpus({"error.energy": 3, "refresh": 1000})
    by_field = only_meter().read().joules
    fake_gpus({"refresh": 1000})
    assert by_field == only_meter().read().joules


def test_power_comes_in_watts_beside_the_counter(fake_gpus):
    fake_gpus({"watts": 412})
    assert only_meter().read().watts == pytest.approx(412, abs=0.01)


def test_a_failing_power_call_does_not_cost_the_joules(fake_gpus):
    fake_gpus({})
    meter = only_meter()
    assert meter.read().watts is not None
    fake_gpus({"error.field186": 999, "error.power": 999})
    pynvml.nvmlInit()  # the stand-in reads its settings anew
    reading = meter.read()
    assert reading.watts is None
    assert reading.joules is not None


@pytest.mark.parametrize("code", [3, 10, 21, 27, 999])
def test_a_passing_error_is_a_gap(fake_gpus, code):
    fake_gpus({})
    meter = only_meter()
    assert meter.read().joules is not None
    now = time.monotonic_ns()
    fake_gpus({"glitch_from": now, "glitch_to": now + 10**12, "glitch_code": code})
    pynvml.nvmlInit()  # the stand-in reads its settings anew
    gap = meter.read()
    assert (gap.joules, gap.watts) == (None, None)
    assert gap.error
    assert gap.after_ns >= gap.before_ns
    fake_gpus({})
    pynvml.nvmlInit()
    assert meter.read().joules is not None


def test_an_error_that_passes_at_once_costs_no_gap(fake_gpus):
    start = time.monotonic_ns() + SOON_NS
    fake_gpus({"glitch_from": start, "glitch_to": start + 10**12, "glitch_code": 3, "glitch_calls": 1})
    meter = only_meter()
    wait_until(start)
    reading = meter.read()
    assert reading.joules is not None
    assert reading.error is None


def test_a_gpu_that_stays_silent_is_given_up_with_its_last_error(fake_gpus, monkeypatch):
    monkeypatch.setattr(nvml, "SILENT_S", 0.05)
    start = time.monotonic_ns() + SOON_NS
    fake_gpus({"glitch_from": start, "glitch_to": start + 10**12, "glitch_code": 10})
    meter = only_meter()
    wait_until(start + SOON_NS)
    with pytest.raises(MeterLost, match="has not answered for 0 s: Timeout"):
        meter.read()


@pytest.mark.parametrize(("code", "words"), [(15, "the GPU is lost"), (16, "needs a reset"), (1, "shut down")])
def test_a_fatal_error_ends_the_meter_at_once(fake_gpus, code, words):
    start = time.monotonic_ns() + SOON_NS
    fake_gpus({"glitch_from": start, "glitch_to": start + 10**12, "glitch_code": code})
    meter = only_meter()
    wait_until(start)
    with pytest.raises(MeterLost, match=words):
        meter.read()


def test_conditions_are_clocks_temperature_and_throttling(fake_gpus):
    fake_gpus({"temperature": 71, "throttle": 0x04 | 0x40})
    conditions = only_meter().conditions()
    assert (conditions.sm_clock_mhz, conditions.memory_clock_mhz, conditions.temperature_c) == (1980, 2619, 71)
    assert conditions.throttle_reasons == ["power-cap", "hw-thermal"]
    assert conditions.device == "GPU-0000-aaaa"


def test_an_idle_gpu_and_clocks_set_by_the_user_are_not_throttling(fake_gpus):
    fake_gpus({"throttle": 0x01 | 0x02 | 0x10 | 0x100})
    assert only_meter().conditions().throttle_reasons == []


def test_an_old_driver_answers_through_the_older_calls(fake_gpus, old_library):
    fake_gpus({"temperature": 55, "throttle": 0x80}, library=old_library)
    conditions = only_meter().conditions()
    assert conditions.temperature_c == 55
    assert conditions.throttle_reasons == ["power-brake"]


def test_conditions_have_the_power_limit_in_force(fake_gpus):
    fake_gpus({"power_limit": 450})
    assert only_meter().conditions().power_limit_watts == 450


def others(own: list[int]) -> list[int] | None:
    (meter,), _ = find_gpus(lambda: own)
    return meter.conditions().other_processes


def test_processes_that_are_not_the_engines_are_noted(fake_gpus):
    fake_gpus({"processes": "41 42 43"})
    assert others([42]) == [41, 43]
    assert others([43, 41, 42, 7]) == []


def test_ids_of_which_none_is_the_engines_say_nothing(fake_gpus):
    fake_gpus({"processes": "41 42"})
    assert others([7]) is None  # the ids of another namespace, or an engine that is not on the GPU
    assert others([]) is None


def test_an_old_driver_lists_processes_by_its_own_call(fake_gpus, old_library):
    fake_gpus({"processes": "41 42"}, library=old_library)
    assert others([42]) == [41]


def test_processes_that_may_not_be_asked_for_are_not_known(fake_gpus):
    fake_gpus({"processes": "41 42", "error.processes": 4})
    assert others([42]) is None


def test_a_new_process_is_seen_and_own_processes_are_listed_only_then(fake_gpus, monkeypatch):
    looked_up = []

    def own():
        looked_up.append(1)
        return [42]

    listed = [42]
    fake_gpus({"processes": "42"})
    (meter,), _ = find_gpus(own)
    monkeypatch.setattr(
        pynvml, "nvmlDeviceGetComputeRunningProcesses_v3", lambda _: [SimpleNamespace(pid=pid) for pid in listed]
    )
    assert [meter.conditions().other_processes for _ in range(3)] == [[], [], []]
    listed.append(99)
    assert meter.conditions().other_processes == [99]
    assert len(looked_up) == 2


def test_conditions_that_a_gpu_does_not_report_are_none(fake_gpus):
    fake_gpus({"error.clocks": 3, "error.temperature": 3, "error.temperaturev": 3, "error.reasons": 3})
    conditions = only_meter().conditions()
    assert (conditions.sm_clock_mhz, conditions.memory_clock_mhz, conditions.temperature_c) == (None, None, None)
    assert conditions.throttle_reasons is None


def test_a_gpu_is_a_meter_that_reports_conditions(fake_gpus):
    fake_gpus({})
    meter: Meter = only_meter()
    assert isinstance(meter, ReportsConditions)
