"""A new kind of meter is one module and one call: this file is such a module, and nothing else knows it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import httpx
import pytest

from energy.machine import describe_machine
from energy.meters import registry
from energy.meters.base import Metered, Reading
from energy.meters.registry import register_meter
from energy.records import EnergyCounters, EnergyTrace, MeterInfo, MissingMeter
from energy.sampler import start_sampler
from energy.window import window_energy
from loadgen.metrics.measuring.measure import measure_records
from reports.checks.findings import find_in_trial
from reports.checks.rules import Finding
from tests.reports.checks.test_trial import requests, trial_of
from tests.server.conftest import running_server, write_checkpoint

WATTS = 40.0


class Accelerator:
    """A board that reports its power as the mean of the last half second."""

    info = MeterInfo(source="toy-power", domain="gpu", device="toy-0", name="Toy 1", kind="power", lag_s=0.5)

    def read(self) -> Reading:
        now_ns = time.monotonic_ns()
        return Reading(now_ns, now_ns, watts=WATTS)


class CountingAccelerator(Accelerator):
    """The same board with an energy counter."""

    info = MeterInfo(source="toy-counter", domain="gpu", device="toy-0", name="Toy 2")

    def read(self) -> Reading:
        now_ns = time.monotonic_ns()
        return Reading(now_ns, now_ns, joules=WATTS * now_ns / 1e9)


@pytest.fixture(params=[Accelerator, CountingAccelerator])
def toy(request, monkeypatch) -> Iterator[Accelerator]:
    """A machine whose only meter is a toy; its kind of meter is forgotten afterwards."""
    monkeypatch.setattr(registry, "_FINDERS", [])
    meter = request.param()
    register_meter(lambda _: ([meter], []))
    return meter


def cut(seconds: float, *, lead_s: float) -> tuple[EnergyTrace, int, int]:
    """What a real sampler reads around a window of `seconds`."""
    sampler = start_sampler(modelled_watts_per_core=None, process_ids=lambda: [os.getpid()], interval_s=0.01)
    time.sleep(lead_s)
    start = time.monotonic_ns()
    time.sleep(seconds)
    end = time.monotonic_ns()
    time.sleep(lead_s)
    sampler.stop()
    return sampler.trace(start), start, end


def found(check: str, trace: EnergyTrace, start: int, end: int) -> Finding | None:
    records = requests()
    trial = trial_of(records, energy=window_energy(trace, start, end))
    return find_in_trial(trial, measure_records(trial, records))[check]


def test_a_registered_meter_is_a_row_of_a_servers_energy(toy: Accelerator, tmp_path):
    checkpoint = write_checkpoint(tmp_path / "tiny")
    with running_server(checkpoint) as server, httpx.Client(base_url=server.url, timeout=20) as client:
        counters = EnergyCounters.model_validate_json(client.get("/energy").content)
    (row,) = [row for row in counters.meters if row.info.source == toy.info.source]
    assert row.info.model_copy(update={"refresh_s": None}) == toy.info  # what the server has observed is added
    assert row.joules is not None


def test_its_joules_over_a_window_are_the_headline_within_their_interval(toy: Accelerator):
    trace, start, end = cut(0.5, lead_s=0.4)
    energy = window_energy(trace, start, end)
    assert energy.source == toy.info.source
    truth = WATTS * (end - start) / 1e9
    assert abs(energy.gross_joules - truth) <= energy.gross_joules_uncertainty + 1e-9 * truth
    # The interval is as wide as the facts make it: half a second of lag at both edges, or one refresh of a counter.
    wide = energy.gross_joules_uncertainty > 0.41 * WATTS * 0.5 * 1.96 / 2
    assert wide is (toy.info.lag_s == 0.5)


def test_a_reports_checks_judge_it_by_its_facts(toy: Accelerator):
    trace, start, end = cut(0.1, lead_s=0.4)
    measured = found("modelled-energy", trace, start, end)
    assert (measured.outcome, measured.reason) == ("pass", f"measured by {toy.info.source}")
    counts = toy.info.kind == "counter"
    assert found("source-fallback", trace, start, end).outcome == ("pass" if counts else "warn")


def test_a_missing_device_of_the_new_kind_leaves_no_headline(monkeypatch):
    monkeypatch.setattr(registry, "_FINDERS", [])
    gap = MissingMeter(source="toy-power", domain="gpu", device="toy-1", reason="the toy is broken")
    register_meter(lambda _: ([Accelerator()], [gap]))
    described = describe_machine()
    assert (described.headline, described.reason) == (None, "the toy is broken")
    trace, start, end = cut(0.1, lead_s=0.4)
    assert found("energy-missing", trace, start, end).outcome == "fail"


def test_a_finder_gets_the_metered_processes_and_stated_watts(monkeypatch):
    monkeypatch.setattr(registry, "_FINDERS", [])
    asked: list[Metered] = []
    register_meter(lambda metered: asked.append(metered) or ([], []))
    start_sampler(modelled_watts_per_core=3.0, process_ids=lambda: [7], interval_s=0.01).stop()
    assert [(one.modelled_watts_per_core, one.process_ids()) for one in asked] == [(3.0, [7])]
