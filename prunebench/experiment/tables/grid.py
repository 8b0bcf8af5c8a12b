"""`[grid]` of an experiment file: factors, of whose levels every combination, or each that is listed, is a configuration.

A factor is a key of a configuration (`width`, `criterion`, `checkpoint` …), or else an option of the engine by its name. The first
level of a factor is its reference; the level "none" leaves the key out.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, Field, ValidationError

from base.records import Record
from prunebench.experiment.tables.configuration import Configuration
from prunebench.experiment.tables.settings import Level, level_text

NONE = "none"
_KEYS = ("checkpoint", "width", "remove_layers", "criterion", "refit", "engine", "power_limit_w", "clock_mhz")


def _unlike(values: list[Level]) -> list[Level]:
    texts = [level_text(value) for value in values]
    if twice := next((text for text in texts if texts.count(text) > 1), None):
        raise ValueError(f"{twice} is named twice")
    return values


class Factor(Record):
    """A key of `[[configurations]]` or an option of the engine, by its name: every combination of the factors' levels is a
    configuration. `"none"` leaves the key out: `[grid.width]` with `values = ["none", 512]` is the whole model and a width.
    """

    values: Annotated[list[Level], AfterValidator(_unlike)] = Field(
        min_length=2, description="Its levels; the first is the reference."
    )


def with_grid(data: Any) -> Any:
    """An experiment's data with the grid's configurations after its own; those that are there already, as in a resolved file, stay.

    Data that is not as it should be is left for the checks of its fields. Raises ValueError for combinations that the grid lacks.
    """
    if not isinstance(data, Mapping) or not data.get("grid"):
        return data
    grid, only, own = data["grid"], data.get("grid_only", []), data.get("configurations", [])
    if not (isinstance(own, Sequence) and isinstance(only, Sequence) and isinstance(grid, Mapping)):
        return data
    try:
        factors = {name: Factor.model_validate(factor).values for name, factor in grid.items()}
    except ValueError:
        return data
    labels = {one["label"] for one in own if isinstance(one, Mapping) and "label" in one}
    labels |= {one.label for one in own if isinstance(one, Configuration)}
    made = [_checked(configuration(combination)) for combination in _combinations(factors, only)]
    return {**data, "configurations": [*own, *(one for one in made if one["label"] not in labels)]}


def configuration(levels: Mapping[str, Level]) -> dict[str, Any]:
    """The table of one combination."""
    texts = {name: level_text(value) for name, value in levels.items()}
    label = "--".join(f"{name}-{re.sub(r'[^A-Za-z0-9.]+', '-', text).strip('-')}" for name, text in texts.items())
    made: dict[str, Any] = {"label": label, "levels": texts}
    options = {}
    for name, value in levels.items():
        if texts[name] == NONE:
            continue
        if name in _KEYS:
            made[name] = value
        else:
            options[name] = texts[name]
    return made | ({"options": options} if options else {})


def _checked(made: dict[str, Any]) -> dict[str, Any]:
    """The same. Raises ValueError that names the combination: the file has no line of its own for it."""
    try:
        Configuration.model_validate(made)
    except ValidationError as error:
        first = error.errors()[0]
        key = f"{first['loc'][0]}: " if first["loc"] else ""
        message = first["msg"].removeprefix("Value error, ")
        raise ValueError(f"`grid`: {_words(made['levels'])}: {key}{message}") from None
    return made


def _combinations(factors: Mapping[str, list[Level]], only: Sequence[Any]) -> list[dict[str, Level]]:
    every = [dict(zip(factors, levels, strict=True)) for levels in itertools.product(*factors.values())]
    if not only:
        return every
    for wanted in only:
        if wanted not in every:
            missing = [name for name in factors if name not in wanted]
            raise ValueError(
                f"`grid_only`: {_words(wanted)} "
                + (f"has no {missing[0]}" if missing else "is no combination of the grid's levels")
            )
    return [combination for combination in every if combination in only]


def _words(levels: Mapping[str, Level]) -> str:
    return ", ".join(f"{name} {level_text(value)}" for name, value in levels.items()) or "an empty combination"
