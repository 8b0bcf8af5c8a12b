"""Names of a list that may grow: fields of records whose values they are, and what is said of a name that is not among them."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticKnownError, core_schema


@dataclass(frozen=True)
class OneOf:
    """`Annotated[str, OneOf(names)]`: as `Literal`, with the names that `names()` gives at the time of the check."""

    names: Callable[[], Sequence[str]]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return handler(schema) | {"enum": list(self.names())}

    def _check(self, name: str) -> str:
        if name not in self.names():
            raise PydanticKnownError("literal_error", {"expected": in_words(self.names())})
        return name


def in_words(names: Sequence[str]) -> str:
    """Names as pydantic lists those of a `Literal`: 'a', 'b' or 'c'."""
    *most, last = (f"'{name}'" for name in names)
    return f"{', '.join(most)} or {last}" if most else last


def nearest(name: str, known: Collection[str], otherwise: str = "known are") -> str:
    """What an error says after an unknown name: "did you mean X?", or all those that are known, after `otherwise`."""
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}?" if near else f"{otherwise} {', '.join(known)}"
