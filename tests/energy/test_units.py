"""The study's own trap: its kilowatt-hours were kilograms of CO2. Nothing here may be taken for another unit."""

from __future__ import annotations

import json
import re
import types
from typing import Union, get_args, get_origin

import pytest

from base.records import Record
from energy import records
from energy.records import WindowEnergy
from energy.units import JOULES_PER_KWH, kilowatt_hours
from energy.window import window_energy
from reports.analysis.quantities import QUANTITIES
from tests.energy.known_power.simulate import Board, moment, steady, trace_of
from tests.loadgen.made import summary_of
from tests.reports.checks.test_trial import requests, trial_of

# The unit that each name must end in, before a word on uncertainty; and the few quantities without a unit.
UNITS = re.compile(r"(joules|watts|_s|_ns|_c|_mhz)(_uncertainty)?$|_range_watts$")
WITHOUT_UNIT = {
    "disagreement",
    "index",
    "virtualization",
    "failed_reads",
    "other_processes",
}  # ratios, numbers of things, codes
RECORDS = [kind for kind in vars(records).values() if isinstance(kind, type) and issubclass(kind, Record)]


def is_amount(annotation: object) -> bool:
    """Whether a field's type is or holds a number."""
    if annotation in {int, float}:
        return True
    if get_origin(annotation) in {Union, types.UnionType, list, tuple}:
        return any(is_amount(part) for part in get_args(annotation))
    return False


@pytest.mark.parametrize("record", RECORDS, ids=lambda r: r.__name__)
def test_every_amount_has_its_unit_in_its_name(record):
    amounts = {name for name, field in record.model_fields.items() if is_amount(field.annotation)} - WITHOUT_UNIT
    assert {name for name in amounts if not UNITS.search(name)} == set()


def test_no_figure_is_a_mass_or_called_one():
    records_ = requests()
    energy = window_energy(trace_of(Board().watch(steady(300))), moment(10), moment(45))
    summary = json.dumps(summary_of(trial_of(records_, energy=energy), records_, []))
    assert not re.search(r"(?i)co2|_kg|kwh|emission", summary)
    assert {q.unit for q in QUANTITIES.values() if "joules" in q.key} == {"J"}


@pytest.mark.parametrize(("watts", "seconds"), [(300.0, 30.0), (1000.0, 36.0), (50.0, 20.0)])
def test_joules_are_watts_times_seconds_and_kilowatt_hours_and_kilograms_are_far_from_it(watts, seconds):
    """One swap anywhere between the meter and the summary is a factor of 3.6 million, or of a grid's intensity on top."""
    energy = window_energy(trace_of(Board().watch(steady(watts))), moment(10), moment(10 + seconds))
    assert energy.gross_joules == pytest.approx(watts * seconds, rel=0.005)
    kwh = kilowatt_hours(energy.gross_joules)
    assert kwh == pytest.approx(watts / 1000 * seconds / 3600, rel=0.005)
    kg = kwh * 0.35  # of CO2e, on a grid of 350 g/kWh
    assert len({round(v, 12) for v in (energy.gross_joules, kwh, kg)}) == 3
    for swapped in (kwh, kg, energy.gross_joules / 3600, energy.gross_joules * 1000):
        assert swapped != pytest.approx(watts * seconds, rel=0.5)


def test_a_kilowatt_hour_is_a_kilowatt_for_an_hour():
    assert kilowatt_hours(1000 * 3600) == 1
    assert JOULES_PER_KWH == 3.6e6
    assert WindowEnergy.model_fields["gross_joules"].annotation == (float | None)


def test_nothing_that_is_missing_is_zero():
    missing = WindowEnergy(start_ns=0, end_ns=10**9, reason="there is no meter")
    amounts = {n: getattr(missing, n) for n, f in WindowEnergy.model_fields.items() if n.endswith(("joules", "watts"))}
    assert set(amounts.values()) == {None}
    records_ = requests()
    summary = summary_of(trial_of(records_, energy=missing), records_, [])
    assert {v for k, v in summary.items() if "joules" in k and not k.endswith("_reason")} == {None}
