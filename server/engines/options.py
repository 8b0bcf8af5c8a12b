"""KEY=VALUE engine options, parsed by the type of the dataclass field they set."""

from __future__ import annotations

import dataclasses
import difflib
import json
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any

from server.engines.base import EngineError

_BOOLEANS = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}


def parse_options(target: type, options: Mapping[str, str]) -> dict[str, Any]:
    """Keyword arguments for the dataclass `target`, of which `options` names fields.

    Booleans, numbers, named choices and plain text are read as such; `none` where the field may be None; mappings,
    lists and nested settings as JSON. A field whose annotation is unreadable takes JSON, else text.
    Raises EngineError naming the key, with the nearest known one if the key is unknown.
    """
    known = _annotations(target)
    values = {}
    for key, text in options.items():
        if key not in known:
            raise unknown_option(key, known)
        try:
            values[key] = _parse(known[key], text)
        except ValueError as error:
            raise EngineError(f"--engine-option {key}={text}: {error}") from error
    return values


def unknown_option(key: str, known: Iterable[str]) -> EngineError:
    """One line with the nearest of the known options, or with some of them."""
    near = difflib.get_close_matches(key, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known ones are {', '.join(sorted(known)[:12])}"
    return EngineError(f"--engine-option {key}: there is no such option; {hint}")


def _annotations(target: type) -> dict[str, Any]:
    """Field name → type, or the annotation's text if one of the class's annotations cannot be resolved at run time."""
    try:
        resolved = typing.get_type_hints(target)
    except NameError:
        resolved = {}
    fields = dataclasses.fields(target)
    return {field.name: resolved.get(field.name, field.type) for field in fields if not field.name.startswith("_")}


def _parse(annotation: Any, text: str) -> Any:
    """`text` as the first type that accepts it, strictest first; ValueError says what was expected."""
    kinds = list(_members(annotation))
    choices = [
        choice for kind in kinds if typing.get_origin(kind) is typing.Literal for choice in typing.get_args(kind)
    ]
    if type(None) in kinds and text.lower() in {"none", "null"}:
        return None
    if bool in kinds and text.lower() in _BOOLEANS:
        return _BOOLEANS[text.lower()]
    for number in (int, float):
        if number in kinds:
            try:
                return number(text)
            except ValueError:
                continue
    for choice in choices:
        if str(choice) == text:
            return choice
    if any(_is_structured(kind) for kind in kinds):
        try:
            return json.loads(text)
        except ValueError:
            if str not in kinds and not any(isinstance(kind, str) for kind in kinds):
                raise ValueError("expected JSON") from None
    if str in kinds or any(isinstance(kind, str) for kind in kinds):
        return text
    raise ValueError("expected " + " or ".join(_describe(kind) for kind in kinds if kind is not type(None)))


def _members(annotation: Any) -> typing.Iterator[Any]:
    origin = typing.get_origin(annotation)
    if origin in (typing.Union, types.UnionType):
        for member in typing.get_args(annotation):
            yield from _members(member)
    elif origin is typing.Annotated:
        yield from _members(typing.get_args(annotation)[0])
    else:
        yield annotation


def _is_structured(kind: Any) -> bool:
    return kind not in (bool, int, float, str, type(None)) and typing.get_origin(kind) is not typing.Literal


def _describe(kind: Any) -> str:
    if typing.get_origin(kind) is typing.Literal:
        return " or ".join(str(choice) for choice in typing.get_args(kind))
    plain = {bool: "true or false", int: "an integer", float: "a number"}
    return plain.get(kind, "JSON")
