"""`prunebench init`: an experiment file for a checkpoint, or for servers and checkpoints to compare, by what this machine has."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from base.errors import describe_os_error
from base.files import write_text
from base.paths import matching
from energy.machine import describe_machine
from prunebench.experiment.file import ExperimentError
from prunebench.experiment.starter import PERCENTAGES, Starter, alignment, comparison, context_of
from prunebench.experiment.targets import configurations, each_target, is_address
from prunebench.terminal.command_help import examples
from prunebench.terminal.console import print_line
from pruner.checkpoint.hub import source_headers
from pruner.inspection import inspect_checkpoint
from pruner.scoring.targets import Target
from server.engines.base import EngineError
from server.engines.entry import EngineEntry
from server.engines.registry import AUTO, choose_engine


@examples(
    ("For a checkpoint folder", "prunebench init ./model"),
    ("For a model of the hub, under another name", "prunebench init meta-llama/Llama-3.2-1B --output llama.toml"),
    ("For a server that runs already, or for several", "prunebench init http://127.0.0.1:8000 http://127.0.0.1:8001"),
    ("What it would do then, and how long", "prunebench run experiment.toml --dry-run"),
)
def init(
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SOURCE",
            help="A checkpoint folder, OWNER/NAME on the hub, or a server's URL; several, to compare. Default: this folder.",
        ),
    ] = None,
    output: Annotated[Path, typer.Option(help="The file to write.")] = Path("experiment.toml"),
    force: Annotated[bool, typer.Option("--force", help="Overwrite it.")] = False,
) -> None:
    """Write the file, and print what to do with it. Raises ExperimentError naming what to change."""
    sources = each_target(_named(sources or ["."]))
    if output.exists() and not force:
        raise ExperimentError(f"--output {output}: exists already; add --force to overwrite it, or name another file")
    if len(sources) == 1 and not is_address(sources[0]):
        said = _write_pruning(sources[0], output)
    else:
        name, tables = configurations(sources, fetch=False)
        _write(output, comparison(name, tables, describe_machine()))
        said = [f"{output}: {name}"]
    for line in said:
        print_line(line)
    print_line(f"next: prunebench run {output} --dry-run, then without --dry-run")


def _write_pruning(source: str, output: Path) -> list[str]:
    """The file that compares a checkpoint with narrower ones. Returns what to say of it."""
    with source_headers(source) as headers:
        width = inspect_checkpoint(headers, []).width
        multiple_of = alignment(width)
        found = inspect_checkpoint(headers, [Target("percentage", p) for p in PERCENTAGES], multiple_of=multiple_of)
        context = context_of(json.loads((headers / "config.json").read_bytes()))
    engine = _engine()
    starter = Starter(_written(source, output), found, multiple_of, context, engine, describe_machine())
    _write(output, starter.text())
    widths = ", ".join(str(row.width) for row in found.targets)
    missing = ["no engine is installed: `prunebench doctor` says how to get one"]
    return [f"{output}: {found.family}, widths {width}, {widths}", *(missing if engine is None else [])]


def _write(output: Path, text: str) -> None:
    try:
        write_text(output, text)
    except OSError as error:
        raise ExperimentError(f"--output {output}: {describe_os_error(error)}") from None


def _named(sources: list[str]) -> list[str]:
    """The sources. Raises ExperimentError if none is named and this folder is no checkpoint."""
    if sources == ["."] and not Path("config.json").is_file():
        raise ExperimentError(
            "SOURCE: name a checkpoint, a folder or OWNER/NAME on the hub, or a server: this folder is none"
        )
    return sources


def _written(source: str, output: Path) -> str:
    """The source as the file names it: relative to the file if it was given so, a model of the hub by its id."""
    folder = matching(source)[0]
    if not folder.exists():
        return source
    return f"{folder}" if folder.is_absolute() else os.path.relpath(folder, output.parent)


def _engine() -> EngineEntry | None:
    try:
        return choose_engine(AUTO)
    except EngineError:
        return None
