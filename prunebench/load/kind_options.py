"""The options of `prunebench load` that describe the workload, made of the fields of the registered kinds.

A field is declared once, on its class: `--every` is `every_s`, with the field's type, bounds, default and description.
"""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
import typer
from pydantic.fields import FieldInfo

from base.quantities import Quantity
from base.records import Record
from loadgen.workloads.base import Workload
from loadgen.workloads.fields.objectives import OBJECTIVES

_OBJECTIVES = {f"slo_{name}_ms" for name in OBJECTIVES}
_NOT_OPTIONS = {"name", "kind"} | _OBJECTIVES
# Of the command's help, in order, with the fields that are not where others of their class are; without one come the main ones.
_PANELS: dict[str | None, tuple[str, ...]] = {
    None: ("requests", "duration_s", "concurrency", "rate"),
    "Workload": ("warmup_requests",),
    "Prompts and lengths": (),
    "Objectives": ("slo_share",),
}


def takes_workload_fields(after: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorate a command with a `**fields` parameter: it takes an option for each field, placed after the parameter `after`.

    An option that was not given is None.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(command, eval_str=True)
        *own, _fields = signature.parameters.values()
        place = list(signature.parameters).index(after) + 1
        parameters = [*own[:place], *_parameters(), *own[place:]]
        command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined] # read by inspect
        return command

    return decorate


def flag_of(field: str) -> str:
    """The option's spelling: without the unit of seconds; objectives are one option."""
    return "--slo" if field in _OBJECTIVES else "--" + field.removesuffix("_s").replace("_", "-")


def in_flags(text: str) -> str:
    """The text with each field in backticks as its option."""
    options = set(Workload.known_keys()) - {"name", "kind"}
    return re.sub(r"`([a-z_]+)`", lambda match: flag_of(match[1]) if match[1] in options else match[0], text)


def _parameters() -> list[inspect.Parameter]:
    kinds: dict[str, dict[str, FieldInfo]] = {}
    for kind, record in Workload.kinds.items():
        for name, field in record.model_fields.items():
            if name not in _NOT_OPTIONS and not _set_by_program(field):
                kinds.setdefault(name, {})[kind] = field
    order = sorted(kinds, key=lambda name: list(_PANELS).index(_panel(name)))
    kind_of = inspect.Parameter.POSITIONAL_OR_KEYWORD
    return [inspect.Parameter(name, kind_of, default=None, annotation=_annotation(name, kinds[name])) for name in order]


def _set_by_program(field: FieldInfo) -> bool:
    extra = field.json_schema_extra
    return isinstance(extra, dict) and extra.get("readOnly") is True


def _annotation(name: str, fields: dict[str, FieldInfo]) -> Any:
    """The option's type and words, of one field in all kinds that have it."""
    first = next(iter(fields.values()))
    limits: dict[str, Any] = {}
    for limit in first.metadata:
        if isinstance(limit, annotated_types.Ge):
            limits["min"] = limit.ge
        elif isinstance(limit, annotated_types.Le):
            limits["max"] = limit.le
    kind, settings = _option_type(first.annotation, [each for each in first.metadata if isinstance(each, Quantity)])
    option = typer.Option(
        flag_of(name), help=_help(name, fields), rich_help_panel=_panel(name), show_default=False, **limits, **settings
    )
    return Annotated[kind | None, option]


def _option_type(annotation: Any, quantities: list[Quantity]) -> tuple[Any, dict[str, Any]]:
    """The type for typer, and what else it must know. The workload reads units and numbers of a list itself."""
    if quantities:
        return str, {"metavar": quantities[0].metavar}
    if get_origin(annotation) in {Union, types.UnionType}:
        kinds = [kind for kind in get_args(annotation) if kind is not type(None)]
        annotation = kinds[0] if len(kinds) == 1 else str
    if get_origin(annotation) is list and not _is_record(get_args(annotation)[0]):
        return str, {"parser": lambda text: [part.strip() for part in text.split(",")], "metavar": "VALUE,…"}
    if annotation in {int, float, bool, Path} or get_origin(annotation) is Literal:
        return annotation, {}
    return str, {}


def _is_record(element: Any) -> bool:
    return isinstance(element, type) and issubclass(element, Record)


def _help(name: str, fields: dict[str, FieldInfo]) -> str:
    """The description; of a field that not all kinds share, one for each group of kinds."""
    groups: dict[str, list[str]] = {}
    for kind, field in fields.items():
        groups.setdefault(field.description or "", []).append(kind)
    shared = Workload.model_fields[name].description if name in Workload.model_fields else None
    said = [
        text if text == shared else f"For {', '.join(kinds)}: {text[:1].lower()}{text[1:]}"
        for text, kinds in groups.items()
    ]
    kind, field = next(iter(fields.items()))
    default = Workload.kinds[kind].completed({}).get(name, None if field.is_required() else field.default)
    return in_flags(" ".join(said)) + (f" Default {default}." if default else "")


def _panel(name: str) -> str | None:
    named = [panel for panel, names in _PANELS.items() if name in names]
    return named[0] if named else "Prompts and lengths" if name in Workload.model_fields else "Workload"
