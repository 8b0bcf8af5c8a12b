"""From a body to the request in it. A field of OpenAI or vLLM that this server does not support is refused by name, never ignored.

Lists fail at their first wrong member (`fail_fast`): one error for each of a million would be the larger problem.
"""

from __future__ import annotations

from itertools import chain, islice
from typing import Any, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)
from pydantic_core import ErrorDetails

from server.errors import ApiError
from server.offloading.json_reader import read_json
from server.offloading.off_loop import SLICE, slices

_MOST_ERRORS = 10  # reported of one request
_EXPECTED = {  # where pydantic would name the members of a union
    "prompt": "must be a text, a list of token ids, or a list of at most 4096 of either, and not empty",
    "stop": "must be a text or a list of at most 64 texts, none of them empty",
}


class Body(BaseModel):
    """What the bodies of all endpoints have in common: `null` means "the default" for every field, as it does at OpenAI."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)  # strict: a "5" is no 5

    @model_validator(mode="before")
    @classmethod
    def _null_is_the_default(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        given = {key: value for key, value in data.items() if value is not None}
        if len(given) > len(cls.model_fields) + _MOST_ERRORS:  # pydantic makes an error of every one
            unknown = islice((key for key in given if key not in cls.model_fields), _MOST_ERRORS)
            return {key: given[key] for key in (*unknown, *(key for key in given if key in cls.model_fields))}
        return given


def _in_slices(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    """A long list is validated as several: pydantic holds Python's lock until it ends."""
    if not isinstance(value, list) or len(value) <= SLICE:
        return validate(value)
    return list(chain.from_iterable(map(validate, slices(value))))


IN_SLICES = WrapValidator(_in_slices)  # for a list of up to a context's tokens
B = TypeVar("B", bound=Body)


def parse(kind: type[B], body: bytes) -> B:
    """The request in `body`. Raises ApiError 400 naming each field that is wrong or not supported."""
    try:
        return kind.model_validate(read_json(body))
    except ValidationError as error:
        raise _bad_request(error) from None
    except ValueError as error:
        raise ApiError(400, f"the body is not JSON: {error}") from None


def _bad_request(error: ValidationError) -> ApiError:
    messages: dict[str, str] = {}
    for detail in error.errors(include_url=False, include_input=False):
        path = _path(detail["loc"])
        if path not in messages or detail["type"] == "too_long":  # a union has one error for each member
            messages[path] = _message(path, detail)
    return ApiError(400, "; ".join(islice(messages.values(), _MOST_ERRORS)), param=next(iter(messages)) or None)


def _path(loc: tuple[int | str, ...]) -> str:
    """The field's name as the client wrote it, without pydantic's names for union members."""
    depth = {"messages": 3, "stream_options": 2, "response_format": 2}.get(str(loc[0]), 1) if loc else 0
    return ".".join(str(part) for part in loc[:depth])


def _message(path: str, detail: ErrorDetails) -> str:
    if detail["type"] == "extra_forbidden":
        return f"{path}: this server does not support this field"
    message = _EXPECTED.get(path) or detail["msg"].removeprefix("Value error, ")
    return f"{path}: {message}" if path else message
