"""What several commands share: where they print, and options of one meaning."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated

import typer

from reports.document.console import Console

# Without a terminal rich assumes 80 columns, which cuts the tables.
out = Console(width=None if sys.stdout.isatty() else 150)


err = Console(stderr=True)


class EngineName(StrEnum):
    """What --engine takes."""

    auto = "auto"
    vllm = "vllm"
    transformers = "transformers"
    synthetic = "synthetic"


Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


def key_value(option: str) -> tuple[str, str]:
    key, equals, value = option.partition("=")
    if not (key and equals):
        raise typer.BadParameter(f"--engine-option {option}: it must read KEY=VALUE")
    return key, value
