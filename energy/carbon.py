"""Grams of CO2 equivalent of joules, by a grid's intensity that the user states: one number, or a file of it over time.

    350             g/kWh, always
    grid.csv        the columns time and g_per_kwh; a time is ISO 8601, in UTC if it names no zone
    grid.json       [{"time": "2026-11-30T10:00Z", "g_per_kwh": 312}, …]

A figure of a file holds until the next one, and the last as long as the one before it did. Beyond that nothing is assumed.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from base.errors import UserError, describe_os_error
from base.lines import split_lines
from base.paths import expand
from base.records import Record
from energy.records import WindowEnergy
from energy.units import kilowatt_hours

_UNNAMED = "stated without a source"


class CarbonError(UserError):
    """A stated intensity cannot be used; one line that names it."""


class Carbon(Record):
    """Grams of CO2 equivalent of a window's gross joules. The half-width is that of the joules alone: the intensity is as stated."""

    grams: float | None
    grams_uncertainty: float | None = None
    g_per_kwh: float | None  # mean over the window
    source: str  # of the intensity
    reason: str | None = None  # why there are no grams


@dataclass(frozen=True)
class Intensity:
    """g/kWh: `values` hold from each of `starts` (Unix seconds) to the next, the last until `end`; one alone holds always."""

    source: str
    values: npt.NDArray[np.float64]
    starts: npt.NDArray[np.float64] | None = None
    end: float = math.inf

    def over(self, start: float, end: float) -> float | None:
        """The mean over a stretch in Unix seconds; None where it is not stated for all of it."""
        if self.starts is None:
            return float(self.values[0])
        if start < self.starts[0] or end > self.end:
            return None
        edges = np.append(self.starts, self.end)
        integral = np.concatenate(([0.0], np.cumsum(np.diff(edges) * self.values)))
        first, last = np.interp([start, max(end, start + 1e-3)], edges, integral)
        return float((last - first) / (max(end, start + 1e-3) - start))


def read_intensity(given: str, source: str | None = None, name: str = "--carbon") -> Intensity:
    """A number, or a file by its ending; `source` is where the figures are from, by default the file's name.

    Raises CarbonError, whose line begins with `name`.
    """
    try:
        stated = float(given)
    except ValueError:
        return _read_file(expand(given), source, name)
    if not 0 <= stated < math.inf:
        raise CarbonError(f"{name} {given}: must be grams of CO2 for a kWh, 0 or more, or a .csv or .json file of them")
    return Intensity(source or _UNNAMED, np.array([stated]))


def carbon_of(energy: WindowEnergy, start: float | None, intensity: Intensity) -> Carbon:
    """Of the gross joules of a window that began at `start`, in Unix seconds; None: it has no date."""
    seconds = (energy.end_ns - energy.start_ns) / 1e9
    dated = start is not None or intensity.starts is None
    found = intensity.over(start or 0.0, (start or 0.0) + seconds) if dated else None
    if found is None or energy.gross_joules is None:
        why = "the intensity is not stated for that time" if dated else "the load has no date"
        reason = why if found is None else energy.reason or "energy was not measured"
        return Carbon(grams=None, g_per_kwh=found, source=intensity.source, reason=reason)
    half = energy.gross_joules_uncertainty
    return Carbon(
        grams=kilowatt_hours(energy.gross_joules) * found,
        grams_uncertainty=None if half is None else kilowatt_hours(half) * found,
        g_per_kwh=found,
        source=intensity.source,
    )


def carbon_words(carbon: Carbon) -> str:
    """One sentence for people."""
    if carbon.grams is None:
        return f"no CO2e: {carbon.reason} ({carbon.source})"
    half = "" if carbon.grams_uncertainty is None else f" \N{PLUS-MINUS SIGN} {carbon.grams_uncertainty:.2g} g"
    return f"{carbon.grams:.3g} g CO2e{half} at {carbon.g_per_kwh:.3g} g/kWh ({carbon.source})"


def _read_file(file: Path, source: str | None, name: str) -> Intensity:
    where = f"{name} {file}"
    try:
        text = file.read_text("utf-8-sig")
    except UnicodeDecodeError:
        raise CarbonError(f"{where}: is no text") from None
    except OSError as error:
        raise CarbonError(f"{where}: {describe_os_error(error)}") from None
    try:
        rows = csv.DictReader(split_lines(text)) if file.suffix.lower() == ".csv" else json.loads(text)
        starts, values = zip(*sorted(_point(row) for row in _rows(rows)), strict=True)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CarbonError(
            f"{where}: needs time and g_per_kwh in each row of a .csv, or object of a .json: {error}"
        ) from None
    if len(starts) < 2 or len(set(starts)) < len(starts):
        raise CarbonError(f"{where}: needs at least two rows, of different times")
    return Intensity(source or file.name, np.array(values), np.array(starts), 2 * starts[-1] - starts[-2])


def _rows(rows: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    found = list(rows)
    if not found:
        raise ValueError("there is none")
    return found


def _point(row: Mapping[str, Any]) -> tuple[float, float]:
    at, value = datetime.fromisoformat(f"{row['time']}".strip()), float(row["g_per_kwh"])
    if not 0 <= value < math.inf:
        raise ValueError(f"{value:g} g/kWh")
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp(), value
