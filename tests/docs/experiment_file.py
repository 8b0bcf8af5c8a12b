"""docs/reference/experiment-file.md, from the JSON Schema of the experiment's pydantic models."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from typing import Any

from prunebench.commands.schema import experiment_schema

PAGE = "docs/reference/experiment-file.md"
COLUMNS = 100
UNITS_BY_ENDING = {"_s": "s", "_ms": "ms", "_tokens": "tokens", "_per_core": "W per core", "_percentages": "%"}
UNITS = {"carbon": "g/kWh", "rate": "requests/s", "end_rate": "requests/s", "rates": "requests/s", "widths": "neurons"}
TYPES = {"string": "text", "integer": "integer", "number": "number", "boolean": "true or false", "object": "table"}
LIMITS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}

HEAD = """# Experiment file

One TOML file says what to compare, load and measure; `prunebench run FILE` does it. Relative
paths are relative to the file. An error names the line and the key, an unknown key also the nearest
known one. A default of `—` means that the key may be left out and has no value then. `experiments/`
has examples, and `prunebench schema` prints the JSON Schema for editors (`#:schema FILE` in the
first line of a TOML file). [workloads.md](workloads.md) says which keys each kind of workload
takes.

Durations and rates are numbers of the unit in the table, or text with a unit of its own: `"500ms"`,
`"30s"`, `"5m"`, `"10/s"`, `"600/min"`. The resolved file in the run folder has plain numbers.

This page is generated: `python -P -m tests.docs`.
"""


def render() -> str:
    """The whole page."""
    schema = json.loads(experiment_schema())
    lines = [HEAD, "## Top level\n", *_table(schema, [k for k, v in schema["properties"].items() if not _models(v)])]
    for key, value in schema["properties"].items():
        for title, model, names in _sections(key, _models(value), schema["$defs"]):
            lines += [f"## {title}\n", *_about(model), *_table(model, names)]
    return "\n".join(lines).rstrip() + "\n"


def _models(value: dict[str, Any]) -> list[str]:
    """Names of the models that a key holds: none for a plain value, several for a union."""
    inner = value.get("items", value)
    inner = inner["additionalProperties"] if isinstance(inner.get("additionalProperties"), dict) else inner
    choices = [inner, *inner.get("anyOf", []), *inner.get("oneOf", [])]
    return [choice["$ref"].rpartition("/")[2] for choice in choices if "$ref" in choice]


def _sections(key: str, models: list[str], known: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], list[str]]]:
    """Title, model and keys: one section for a model; for a union the keys of all first, then those of each."""
    brackets = f"`[[{key}]]`" if key in {"workloads", "configurations"} else f"`[{key}]`"
    brackets = "`[grid.FACTOR]`" if key == "grid" else brackets
    found = [known[name] for name in models]
    if len(found) == 1:
        yield brackets, found[0], list(found[0]["properties"])
    elif found:
        shared = [name for name in found[0]["properties"] if _is_shared(name, found)]
        yield f"{brackets}, every kind", {**found[0], "description": ""}, shared
        for model in found:
            kind = model["properties"]["kind"]["const"]
            own = [name for name in model["properties"] if name not in shared]
            yield f'{brackets}, `kind = "{kind}"`', model, own
            for name in own:  # that holds tables of its own, as the parts of a mix are
                value = model["properties"][name]
                for inner in [found for one in [value, *value.get("anyOf", [])] for found in _models(one)]:
                    yield f"`[[{key}.{name}]]`", known[inner], list(known[inner]["properties"])


def _is_shared(name: str, models: list[dict[str, Any]]) -> bool:
    return all(model["properties"].get(name) == models[0]["properties"][name] for model in models)


def _about(model: dict[str, Any]) -> list[str]:
    text = model.get("description", "").strip()
    return [f"{textwrap.fill(part, COLUMNS)}\n" for part in text.split("\n\n")] if text else []


def _table(model: dict[str, Any], names: list[str]) -> list[str]:
    required = model.get("required", [])
    rows = [_row(name, model["properties"][name], required=name in required) for name in names]
    return ["| key | type | default | unit | meaning |", "| --- | --- | --- | --- | --- |", *rows, ""] if rows else []


def _row(name: str, value: dict[str, Any], *, required: bool) -> str:
    default = "required" if required else _default(value.get("default"))
    cells = [f"`{name}`", _type(value), default, _unit(name), value.get("description", "")]
    return f"| {' | '.join(' '.join(cell.split()).replace('|', chr(92) + '|') for cell in cells)} |"


def _type(value: dict[str, Any]) -> str:
    choices = value.get("enum", [value["const"]] if "const" in value else [])
    if choices:
        return ", ".join(f"`{choice}`" for choice in choices)
    if "anyOf" in value:
        return " or ".join(dict.fromkeys(_type(one) for one in value["anyOf"] if one.get("type") != "null"))
    if "$ref" in value:
        return TYPES["object"]
    if value.get("type") == "array":
        return f"list of {_type(value['items'])}"
    if "pattern" in value and "examples" in value:  # a number with a unit
        return f"text such as `{value['examples'][0]}`"
    named = "path" if value.get("format") == "path" else TYPES[value["type"]]
    return " ".join([named, *(f"{sign} {value[key]:g}" for key, sign in LIMITS.items() if key in value)])


def _default(value: Any) -> str:
    return "—" if value is None else f"`{json.dumps(value, ensure_ascii=False)}`"


def _unit(name: str) -> str:
    return UNITS.get(name) or next((unit for end, unit in UNITS_BY_ENDING.items() if name.endswith(end)), "")
