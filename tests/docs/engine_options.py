"""The tables of options in docs/reference/engines.md, from the engines' own classes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from server.engines.registry import engines

PAGE = "docs/reference/engines.md"
HEAD = "| option | default | meaning |\n|---|---|---|\n"


def render() -> str:
    """The page with the tables as they are now; the prose around them stays."""
    text = (Path(__file__).parents[2] / PAGE).read_text("utf-8")
    for engine in engines():
        if engine.tunables is None:  # vLLM's options are its own, and its documentation has them
            before, title, section = text.partition(f"\n## {engine.name}\n")
            prose, _, rest = section.partition(HEAD)
            _, _, after = rest.partition("\n\n")
            table = HEAD + "\n".join(_rows(engine.options_class()))
            text = before + title + prose + table + (f"\n\n{after}" if after else "\n")
    return text


def _rows(options: type) -> Iterator[str]:
    for name, default, description in _described(options):
        yield f"| `{name}` | {'none' if default is None else default} | {description} |"


def _described(options: Any) -> list[tuple[str, object, str]]:
    if dataclasses.is_dataclass(options):
        return [(one.name, one.default, one.metadata["description"]) for one in dataclasses.fields(options)]
    return [(name, one.default, one.description) for name, one in options.model_fields.items()]
