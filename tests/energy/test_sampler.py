"""The thread itself, over stand-in GPUs read through the real nvidia-ml-py."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import pytest

from energy import track
from energy.meters.base import EnergyError, Meter, Reading
from energy.records import EnergyTrace, MeterInfo
from energy.sampler import Sampler, start_sampler
from energy.window import window_energy
from tests.energy.conftest import PowerCurve

Start = Callable[..., Sampler]


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[Sampler] = []

    def run(watts: float | None = None, extra: Sequence[Meter] = (), interval_s: float = 0.02) -> Sampler:
        sampler = start_sampler(
            modelled_watts_per_core=watts,
            process_ids=lambda: [os.getpid()],
            extra_meters=extra,
            interval_s=interval_s,
        )
        started.append(sampler)
        return sampler

    yield run
    for sampler in started:
        sampler.stop()


class Broken:
    """A meter with a mistake in it."""

    info = MeterInfo(source="synthetic", domain="synthetic", device="broken")

    def read(self) -> Reading:
        raise ZeroDivisionError("division by zero")


def wait_for(seconds: float) -> int:
    time.sleep(seconds)
    return time.monotonic_ns()


def gpus(trace: EnergyTrace) -> list[str]:
    return [m.info.device for m in trace.meters if m.info.domain == "gpu"]


def test_the_joules_of_a_known_power_curve_are_found(fake_gpus, start):
    curve = PowerCurve(watts=400, amplitude=250, period=0.7)
    fake_gpus({**curve.settings(), "refresh": 0.1}, {"watts": 90})
    sampler = start()
    window_start = wait_for(0.5)
    window_end = wait_for(1.5)
    time.sleep(0.3)
    energy = window_energy(sampler.trace(window_start), window_start, window_end)
    truth = curve.joules(window_start, window_end) + 90 * (window_end - window_start) / 1e9
    assert energy.gross_joules is not None
    assert energy.gross_joules_uncertainty is not None
    assert abs(energy.gross_joules - truth) <= energy.gross_joules_uncertainty
    assert energy.gross_joules_uncertainty < 0.1 * truth
    assert energy.parts[0].info.refresh_s == pytest.approx(0.1, abs=0.03)


def test_counters_are_there_at_once_and_agree_for_every_reader(fake_gpus, start):
    fake_gpus({"watts": 200})
    sampler = start()
    first = sampler.counters()
    assert first.meters[0].joules == 0
    time.sleep(0.3)
    earlier = sampler.counters()
    later = sampler.counters()
    assert earlier.meters[0].joules is not None
    assert later.meters[0].joules is not None
    assert 0 < earlier.meters[0].joules <= later.meters[0].joules
    assert earlier.meters[0].watts == pytest.approx(200, abs=0.01)
    assert (earlier.meters[0].sampled_ns or 0) <= earlier.now_ns


def test_a_gpu_lost_on_the_way_ends_alone(fake_gpus, start):
    lost_at = time.monotonic_ns() + 400_000_000
    fake_gpus({}, {"lost_at": lost_at})
    sampler = start()
    time.sleep(0.8)
    healthy, lost = sampler.counters().meters[:2]
    assert healthy.joules is not None
    assert (lost.joules, lost.reason) == (None, "the GPU is lost")
    trace = sampler.trace(0)
    assert trace.meters[1].after_ns[-1] < lost_at < trace.meters[0].after_ns[-1]
    energy = window_energy(trace, lost_at - 100_000_000, lost_at + 200_000_000)
    assert energy.gross_joules is None
    assert "GPU-1000-aaaa: the GPU is lost" in (energy.reason or "")


def test_a_driver_reset_makes_the_figure_null_not_negative(fake_gpus, start):
    fake_gpus({"reset_at": time.monotonic_ns() + 300_000_000})
    sampler = start()
    window_start = time.monotonic_ns()
    time.sleep(0.6)
    row = sampler.counters().meters[0]
    assert row.joules is None
    assert "went backwards" in (row.reason or "")
    assert window_energy(sampler.trace(window_start), window_start, time.monotonic_ns()).gross_joules is None


def test_a_counter_that_freezes_under_load_is_given_up(fake_gpus, start, monkeypatch):
    monkeypatch.setattr(track, "FROZEN_S", 0.3)
    freeze_at = time.monotonic_ns() + 200_000_000
    fake_gpus({"freeze_at": freeze_at})
    sampler = start()
    time.sleep(0.9)
    assert "stood still" in (sampler.counters().meters[0].reason or "")
    assert sampler.trace(0).meters[0].after_ns[-1] < freeze_at + 100_000_000


def test_a_passing_failure_is_a_gap_and_the_joules_go_on(fake_gpus, start):
    glitch = time.monotonic_ns() + 300_000_000
    fake_gpus({"watts": 250, "glitch_from": glitch, "glitch_to": glitch + 200_000_000, "glitch_code": 999})
    sampler = start()
    window_start = time.monotonic_ns() + 100_000_000
    window_end = wait_for(0.9)
    time.sleep(0.1)
    trace = sampler.trace(0).meters[0]
    assert not any(glitch < ns < glitch + 200_000_000 for ns in trace.before_ns)
    energy = window_energy(sampler.trace(window_start), window_start, window_end)
    assert energy.gross_joules == pytest.approx(250 * (window_end - window_start) / 1e9, rel=0.05)


def test_conditions_come_about_once_a_second_from_each_gpu(fake_gpus, start):
    fake_gpus({"temperature": 66}, {"throttle": 4})
    sampler = start()
    time.sleep(1.3)
    conditions = sampler.trace(0).conditions
    assert {c.device for c in conditions} == {"GPU-0000-aaaa", "GPU-1000-aaaa"}
    assert 2 <= len(conditions) <= 6
    assert conditions[0].temperature_c == 66
    assert conditions[1].throttle_reasons == ["power-cap"]


def test_missed_ticks_are_skipped_not_made_up_for(fake_gpus, start):
    fake_gpus({})
    began = time.monotonic_ns()
    sampler = start(interval_s=0.05)
    time.sleep(0.6)
    samples = len(sampler.trace(0).meters[0].joules)
    most = (time.monotonic_ns() - began) / 50_000_000 + 2
    assert 2 <= samples <= most


def test_a_broken_meter_does_not_silence_the_others(fake_gpus, start):
    fake_gpus({})
    sampler = start(extra=[Broken()])
    time.sleep(0.2)
    rows = {row.info.device: row for row in sampler.counters().meters}
    assert rows["broken"].reason == "reading it failed: ZeroDivisionError: division by zero"
    assert (rows["GPU-0000-aaaa"].joules or 0) > 0


def test_modelled_energy_is_sampled_only_where_its_watts_are_stated(fake_gpus, start):
    fake_gpus({})
    assert not any(not row.info.measured for row in start().counters().meters)
    sampler = start(watts=7.5)
    busy_until = time.process_time() + 0.4
    while time.process_time() < busy_until:
        pass
    time.sleep(0.3)
    (modelled,) = [row for row in sampler.counters().meters if not row.info.measured]
    assert modelled.joules == pytest.approx(0.4 * 7.5, abs=1.5)


def test_the_trace_holds_what_is_missing(fake_gpus, start):
    fake_gpus({"mig": 1})
    trace = start().trace(0)
    assert gpus(trace) == []
    assert "MIG is on" in trace.missing[0].reason
    assert EnergyTrace.model_validate_json(trace.model_dump_json()) == trace


def test_stopping_ends_the_thread_and_keeps_the_samples(fake_gpus, start):
    fake_gpus({})
    sampler = start()
    time.sleep(0.1)
    sampler.stop()
    sampler.stop()
    assert not any(t.name == "energy-sampler" and t.is_alive() for t in threading.enumerate())
    assert len(sampler.trace(0).meters[0].joules) > 1


@pytest.mark.parametrize("interval_s", [0.0, -1.0, 5.0, float("nan")])
def test_an_impossible_interval_is_refused(fake_gpus, interval_s):
    fake_gpus({})
    with pytest.raises(EnergyError, match="sampling interval"):
        start_sampler(modelled_watts_per_core=None, process_ids=list, interval_s=interval_s)
