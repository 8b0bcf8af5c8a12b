"""`prunebench init`: an experiment file for a checkpoint, by what this machine has."""

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
from prunebench.experiment.starter import PERCENTAGES, Starter, alignment, context_of
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
    ("What it would do then, and how long", "prunebench run experiment.toml --dry-run"),
)
def init(
    sources: Annotated[
        list[str] | None,
        typer.Argument(metavar="SOURCE", help="A checkpoint folder, or OWNER/NAME on the hub; default: this folder."),
    ] = None,
    output: Annotated[Path, typer.Option(help="The file to write.")] = Path("experiment.toml"),
    force: Annotated[bool, typer.Option("--force", help="Overwrite it.")] = False,
) -> None:
    """Write the file, and print what to do with it. Raises ExperimentError naming what to change."""
    source = _one(sources or ["."])
    if output.exists() and not force:
        raise ExperimentError(f"--output {output}: exists already; add --force to overwrite it, or name another file")
    with source_headers(source) as headers:
        width = inspect_checkpoint(headers, []).width
        multiple_of = alignment(width)
        found = inspect_checkpoint(headers, [Target("percentage", p) for p in PERCENTAGES], multiple_of=multiple_of)
        context = context_of(json.loads((headers / "config.json").read_bytes()))
    engine = _engine()
    starter = Starter(_written(source, output), found, multiple_of, context, engine, describe_machine())
    try:
        write_text(output, starter.text())
    except OSError as error:
        raise ExperimentError(f"--output {output}: {describe_os_error(error)}") from None
    print_line(f"{output}: {found.family}, widths {width}, {', '.join(str(row.width) for row in found.targets)}")
    if engine is None:
        print_line("no engine is installed: `prunebench doctor` says how to get one")
    print_line(f"next: prunebench run {output} --dry-run, then without --dry-run")


def _one(sources: list[str]) -> str:
    """The checkpoint. Raises ExperimentError for a URL, and for several."""
    for source in sources:
        if source.startswith(("http://", "https://", "unix:")):
            raise ExperimentError(
                f"{source}: an experiment starts its own servers; of one that runs already: prunebench load {source}"
            )
    if len(sources) > 1:
        raise ExperimentError(
            f"an experiment prunes one checkpoint, and {len(sources)} are given: write a file for each, with --output"
        )
    if sources == ["."] and not Path("config.json").is_file():
        raise ExperimentError("SOURCE: name a checkpoint, a folder or OWNER/NAME on the hub: this folder is none")
    return sources[0]


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
