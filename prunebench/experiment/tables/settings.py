"""Values that go as text to an engine or a process: options and environment variables, in a file numbers, true or false too."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

Level = str | bool | int | float


def level_text(value: Level) -> str:
    """As TOML writes it."""
    return str(value).lower() if isinstance(value, bool) else f"{value}"


def _as_text(value: Any) -> Any:
    return level_text(value) if isinstance(value, bool | int | float) else value


Setting = Annotated[
    str, BeforeValidator(_as_text), WithJsonSchema({"type": ["string", "number", "boolean"]}, mode="validation")
]
