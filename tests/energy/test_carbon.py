"""Carbon is joules times what the user states, and nothing where that does not reach."""

from __future__ import annotations

import json

import pytest

from energy.carbon import Carbon, CarbonError, carbon_of, carbon_words, read_intensity
from energy.records import WindowEnergy

NOON = 1_796_040_000.0  # 2026-11-30T12:00Z
HOUR = 3600.0
ROWS = "time,g_per_kwh\n2026-11-30T12:00Z,100\n2026-11-30T13:00Z,300\n2026-11-30T14:00Z,500\n"


def window(seconds, **energy):
    return WindowEnergy(start_ns=0, end_ns=round(seconds * 1e9), **energy)


def test_a_number_holds_always_and_a_kilowatt_hour_has_its_grams():
    found = carbon_of(
        window(60, gross_joules=3.6e6, gross_joules_uncertainty=3.6e4), NOON, read_intensity("350", "Ember 2025")
    )
    assert found == Carbon(grams=350, grams_uncertainty=3.5, g_per_kwh=350, source="Ember 2025")
    assert carbon_words(found) == "350 g CO2e ± 3.5 g at 350 g/kWh (Ember 2025)"


def test_without_a_source_it_says_so():
    assert read_intensity("350").source == "stated without a source"


def as_json(rows):
    lines = [line.split(",") for line in rows.splitlines()[1:]]
    return json.dumps([{"time": at, "g_per_kwh": float(value)} for at, value in lines])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("grid.csv", ROWS),
        ("grid.json", as_json(ROWS)),
        ("bom.csv", f"\ufeff{ROWS}"),
        ("noted.csv", ROWS.replace("time", "note,time").replace("\n20", "\na\u2028b\x0cc,20")),
    ],
)
def test_a_file_holds_each_figure_until_the_next_and_the_last_as_long_as_the_one_before(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    grid = read_intensity(f"{tmp_path / name}")
    assert grid.source == name
    assert grid.over(NOON, NOON + HOUR) == pytest.approx(100)
    assert grid.over(NOON + 0.75 * HOUR, NOON + 1.25 * HOUR) == pytest.approx(200)  # half of it before the change
    assert grid.over(NOON + 2 * HOUR, NOON + 3 * HOUR) == pytest.approx(500)
    assert grid.over(NOON + 1.5 * HOUR, NOON + 1.5 * HOUR) == pytest.approx(300)


@pytest.mark.parametrize("start", [NOON - 1, NOON + 3 * HOUR - 30])
def test_a_window_that_the_file_does_not_cover_has_no_mass_and_the_reason(tmp_path, start):
    (tmp_path / "grid.csv").write_text(ROWS)
    found = carbon_of(window(60, gross_joules=1.0), start, read_intensity(f"{tmp_path / 'grid.csv'}"))
    assert (found.grams, found.reason) == (None, "the intensity is not stated for that time")
    assert carbon_words(found) == "no CO2e: the intensity is not stated for that time (grid.csv)"


def test_without_joules_or_without_a_date_there_is_no_mass(tmp_path):
    found = carbon_of(window(60, reason="no meter"), NOON, read_intensity("350"))
    assert (found.grams, found.g_per_kwh, found.reason) == (None, 350, "no meter")
    (tmp_path / "grid.csv").write_text(ROWS)
    found = carbon_of(window(60, gross_joules=1.0), None, read_intensity(f"{tmp_path / 'grid.csv'}"))
    assert (found.grams, found.reason) == (None, "the load has no date")
    assert carbon_of(window(60, gross_joules=3.6e6), None, read_intensity("350")).grams == 350


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("at,g\n1,2\n", "needs time and g_per_kwh"),
        ("time,g_per_kwh\nyesterday,2\n", "needs time and g_per_kwh"),
        ("time,g_per_kwh\n2026-11-30T12:00Z,-2\n2026-11-30T13:00Z,3\n", "-2 g/kWh"),
        ("time,g_per_kwh\n2026-11-30T12:00Z,\n", "needs time and g_per_kwh"),
        ("time,g_per_kwh\n", "there is none"),
        ("time,g_per_kwh\n2026-11-30T12:00Z,2\n", "at least two rows"),
        ("time,g_per_kwh\n2026-11-30T12:00Z,2\n2026-11-30T12:00,3\n", "of different times"),
        ("", "there is none"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_what_it_needs(tmp_path, text, said):
    for name in ("grid.csv", "grid.json"):
        (tmp_path / name).write_text(text)
    with pytest.raises(CarbonError, match=rf"^--carbon .*grid\.csv: .*{said}"):
        read_intensity(f"{tmp_path / 'grid.csv'}")
    with pytest.raises(CarbonError, match=r"^--carbon .*grid\.json: needs time and g_per_kwh"):
        read_intensity(f"{tmp_path / 'grid.json'}")


@pytest.mark.parametrize("given", ["-1", "inf", "nan"])
def test_a_number_must_be_one_of_grams(given):
    with pytest.raises(CarbonError, match=f"--carbon {given}: must be grams of CO2 for a kWh"):
        read_intensity(given)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(CarbonError, match=r"^energy\.carbon .*none\.csv: .*No such file"):
        read_intensity(f"{tmp_path / 'none.csv'}", name="energy.carbon")
