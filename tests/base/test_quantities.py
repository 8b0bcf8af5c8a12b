"""Durations, rates and sizes, as options and files write them."""

from __future__ import annotations

import re
from typing import Annotated

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from base.quantities import BYTES, MILLISECONDS, PER_DAY, PER_SECOND, SECONDS
from base.records import Record

ALL = [SECONDS, MILLISECONDS, PER_SECOND, PER_DAY, BYTES]
NUMBERS = st.one_of(st.integers(0, 10**9), st.floats(0, 1e9, allow_nan=False))


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (SECONDS, "30s", 30), (SECONDS, "5m", 300), (SECONDS, "5 min", 300), (SECONDS, "500ms", 0.5), (SECONDS, "2h", 7200),
        (SECONDS, "1.5d", 129_600), (SECONDS, "30", 30), (SECONDS, "1e3", 1000), (MILLISECONDS, "0.2s", 200),
        (MILLISECONDS, "50", 50), (PER_SECOND, "10/s", 10), (PER_SECOND, "600/min", 10), (PER_SECOND, "36/h", 0.01),
        (PER_DAY, "100/s", 8_640_000), (PER_DAY, "1e9", 10**9), (BYTES, "4GiB", 2**32), (BYTES, "1.5kB", 1500),
        (BYTES, "8388608", 2**23),
    ],
)  # fmt: skip
def test_a_unit_is_read_and_a_plain_number_means_what_it_meant(kind, text, value):
    assert kind.read(text) == value


@pytest.mark.parametrize("kind", ALL)
@given(number=NUMBERS)
def test_a_plain_number_comes_back_as_it_was(kind, number):
    assert kind.read(number) == number
    if not kind.whole or float(number).is_integer():
        assert kind.read(str(number)) == number


@pytest.mark.parametrize("kind", ALL)
@given(number=st.integers(0, 10**9), data=st.data())
def test_a_unit_multiplies_by_its_factor(kind, number, data):
    unit = data.draw(st.sampled_from(sorted(kind.units)))
    many, of = kind.units[unit]
    if not kind.whole or number * many % of == 0:
        assert kind.read(f"{number}{unit}") == pytest.approx(number * many / of, rel=1e-15)


@pytest.mark.parametrize("kind", ALL)
@given(number=NUMBERS, unit=st.text(min_size=1, max_size=6))
def test_any_other_unit_is_refused_by_a_line_that_says_what_is_accepted(kind, number, unit):
    text = f"{number}{unit}"
    if re.fullmatch(kind.pattern, text):
        return
    with pytest.raises(ValueError, match="is not a number of") as refused:
        kind.read(text)
    assert all(known in str(refused.value) for known in kind.units)


class Settings(Record):
    wait_s: Annotated[float | None, SECONDS] = Field(default=None, gt=0)
    memory: Annotated[int, BYTES] = Field(default=1, ge=1)
    rates: list[Annotated[float, Field(gt=0), PER_SECOND]] = []


@given(text=st.one_of(st.from_regex(SECONDS.pattern, fullmatch=True), st.text(max_size=8)))
def test_the_schema_takes_the_text_that_is_read(text):
    allowed = jsonschema.Draft202012Validator(Settings.model_json_schema()).is_valid({"wait_s": text})
    try:
        value = SECONDS.read(text)
    except ValueError:
        assert not allowed or text.endswith("\n")  # `$` of a JSON Schema also matches before a last line feed in Python
        return
    assert allowed
    assert isinstance(value, int | float)


def test_a_record_takes_text_and_writes_plain_numbers():
    found = Settings.model_validate({"wait_s": "5m", "memory": "4GiB", "rates": ["600/min", 2]})
    assert found.model_dump(mode="json") == {"wait_s": 300.0, "memory": 4_294_967_296, "rates": [10.0, 2.0]}
    assert Settings.model_validate_json(found.model_dump_json()) == found


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"wait_s": "0s"}, "greater than 0"),
        ({"wait_s": "-3s"}, "greater than 0"),
        ({"wait_s": "nan"}, "is not a number of seconds"),
        ({"memory": "0.3B"}, "is not a whole number of bytes"),
        ({"memory": "inf"}, "is not a whole number of bytes"),
        ({"rates": ["0/s"]}, "greater than 0"),
        ({"rates": ["3s"]}, "is not a number of requests per second"),
    ],
)
def test_bounds_hold_in_any_unit(fields, complaint):
    with pytest.raises(ValidationError, match=complaint):
        Settings.model_validate(fields)
