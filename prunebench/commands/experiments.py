"""The commands about whole experiments."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prunebench.commands.options import out

if TYPE_CHECKING:
    from prunebench.run.run_writer import Resume


class ExecutorName(StrEnum):
    """What --executor takes."""

    local = "local"
    ray = "ray"


def run(
    experiment: Annotated[Path, typer.Argument(help="The experiment's TOML file.")],
    output: Annotated[Path | None, typer.Option(help="The run folder; default runs/NAME-TIME.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run: finished trials are kept.")] = False,
    resume_or_start: Annotated[
        bool, typer.Option("--resume-or-start", help="Go on if the newest run is unfinished, else start one.")
    ] = False,
    blocks: Annotated[
        int | None, typer.Option(min=1, help="With --resume: extend the run to this number of blocks.")
    ] = None,
    accept_changes: Annotated[
        bool, typer.Option("--accept-changes", help="With --resume: go on though experiment or checkpoint changed.")
    ] = False,
    checkpoints: Annotated[Path | None, typer.Option(help="Where pruned ones go; default the run folder.")] = None,
    prune_only: Annotated[bool, typer.Option("--prune-only", help="Leave serving to a later --resume.")] = False,
    serve_on: Annotated[
        str | None, typer.Option(metavar="URL", help="A `prunebench host` that starts the servers.")
    ] = None,
    serve_key_file: Annotated[Path | None, typer.Option(help="File with the key that host wants.")] = None,
    executor: Annotated[
        ExecutorName, typer.Option(help="ray: blocks are measured side by side on the nodes of a Ray cluster.")
    ] = ExecutorName.local,
    address: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Of the Ray cluster; default the one of this machine.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan, its duration and disk use; write nothing.")
    ] = False,
    assume: Annotated[
        str | None, typer.Option(help="For --dry-run, e.g. ttft=200ms,tpot=20ms,start=60s (of a server).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan of --dry-run as JSON.")] = False,
    model: Annotated[
        str | None, typer.Option(metavar="SOURCE", help="A folder, or OWNER/NAME on the hub, for model.source.")
    ] = None,
) -> None:
    """Prune, serve, load, measure and report: one experiment, one folder."""
    from base.key_file import read_key
    from prunebench.cluster.ray_cluster import RayCluster
    from prunebench.experiment.file import load_experiment
    from prunebench.run.run import Place, run_experiment
    from prunebench.servers.remote import RemoteHost

    resuming: Resume = "yes" if resume else "if-unfinished" if resume_or_start else "no"
    on_ray = executor is ExecutorName.ray
    for name, given, against in (
        ("--blocks", blocks is not None and resuming == "no", "belongs to --resume"),
        ("--accept-changes", accept_changes and resuming == "no", "belongs to --resume"),
        ("--address", address is not None and not on_ray, "belongs to --executor ray"),
        ("--serve-on", serve_on is not None and on_ray, "does not go with --executor ray, whose nodes serve"),
        ("--prune-only", prune_only and on_ray, "does not go with --executor ray: pruning is done here"),
        ("--dry-run", dry_run and on_ray, "plans for one machine: leave --executor out"),
    ):
        if given:
            raise typer.BadParameter(f"{name} {against}")
    if dry_run:
        from prunebench.experiment.forecast import dry_run_command

        dry_run_command(
            load_experiment(experiment, model),
            output,
            resuming,
            assume,
            as_json=as_json,
            console=out,
            blocks=blocks,
            accept_changes=accept_changes,
        )
        return
    for name, given in (("--assume", assume is not None), ("--json", as_json)):
        if given:
            raise typer.BadParameter(f"{name} belongs to --dry-run")
    key = None if serve_key_file is None else read_key(serve_key_file, "--serve-key-file")
    host = RemoteHost(serve_on.rstrip("/"), key) if serve_on else None
    raise typer.Exit(
        run_experiment(
            load_experiment(experiment, model),
            experiment,
            output,
            resume=resuming,
            console=out,
            place=Place(checkpoints, host, prune_only, RayCluster(address) if on_ray else None),
            blocks=blocks,
            accept_changes=accept_changes,
        )
    )


def schema() -> None:
    """Print the JSON Schema of experiment files, for editors: `#:schema FILE` in the first line of a TOML file."""
    from prunebench.experiment.file import experiment_schema

    sys.stdout.write(experiment_schema())
