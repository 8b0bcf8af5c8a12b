"""Durations, rates and sizes as people write them: `30s`, `500ms`, `10/s`, `600/min`, `4GiB`; a plain number has the field's unit.

    timeout_s: Annotated[float, SECONDS] = Field(gt=0)      # "5m" becomes 300.0

Records keep numbers: what is written is plain. Options of commands read the same text (`prunebench.commands.options.quantity`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

_NUMBER = r"[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|inf)"  # as TOML writes numbers


@dataclass(frozen=True)
class Quantity:
    """A number that may carry a unit: an annotation of a field, and the reader of its text.

    `units` maps each unit to its size in the field's own unit, as a numerator and a denominator.
    """

    metavar: str  # of the option, such as DURATION
    plain: str  # what a plain number counts
    units: Mapping[str, tuple[int, int]]
    example: str
    whole: bool = False  # whether there is no part of one

    def read(self, given: float | str) -> float | str:
        """Text as a number, whole where it is; what is no text stays as it is. Raises ValueError that says what is accepted."""
        if not isinstance(given, str):
            return given
        found = re.fullmatch(self.pattern, given)
        if found is None:
            raise ValueError(f"{given!r} is not {self.accepted}")
        many, of = self.units.get(found[2] or "", (1, 1))
        value = float(found[1]) * many / of
        if self.whole and not value.is_integer():
            raise ValueError(f"{given!r} is not a whole number of {self.plain}")
        return int(value) if value.is_integer() else value

    @cached_property
    def pattern(self) -> str:
        """The regular expression of such a text: a number, and one of the units."""
        return rf"^({_NUMBER}) ?({'|'.join(re.escape(unit) for unit in self.units)})?$"

    @property
    def accepted(self) -> str:
        """What may be written, in words."""
        *most, last = self.units
        return f"a number of {self.plain}, or one with {', '.join(most)} or {last}, such as {self.example}"

    def __hash__(self) -> int:
        return hash((self.metavar, self.plain))

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self.read, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        text = {"type": "string", "pattern": self.pattern, "examples": [self.example]}
        number = handler(schema)
        choices = number.pop("anyOf", None)  # the number, or null
        return {"anyOf": [*choices, text]} if choices else {"anyOf": [number, text]}


_SECOND = {"ms": (1, 1000), "s": (1, 1), "m": (60, 1), "min": (60, 1), "h": (3600, 1), "d": (86_400, 1)}
_A_SECOND = {"/s": (1, 1), "/min": (1, 60), "/h": (1, 3600), "/d": (1, 86_400)}
_BYTE = {
    "B": 1,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}

SECONDS = Quantity("DURATION", "seconds", _SECOND, "30s")
MILLISECONDS = Quantity("DURATION", "milliseconds", {u: (n * 1000, of) for u, (n, of) in _SECOND.items()}, "200ms")
PER_SECOND = Quantity("RATE", "requests per second", _A_SECOND, "10/s")
PER_DAY = Quantity("RATE", "requests per day", {u: (n * 86_400, of) for u, (n, of) in _A_SECOND.items()}, "100/s")
BYTES = Quantity("SIZE", "bytes", {unit: (size, 1) for unit, size in _BYTE.items()}, "4GiB", whole=True)
