"""`prunebench energy …`: the options of its commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from prunebench.commands.options import out

energy_app = typer.Typer(
    name="energy",
    help="Watch power, measure it at rest, predict joules.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Url = Annotated[str | None, typer.Option(help="A server with /energy, whose meters are read; default: this machine's.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


@energy_app.command()
def watch(
    url: Url = None,
    interval: Annotated[float, typer.Option(min=0.1, max=60, help="Seconds between two figures.")] = 1.0,
    duration: Annotated[
        float | None, typer.Option(min=0.1, help="Stop after so many seconds; default: Ctrl-C.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Power and joules of every meter, live; the whole at the end. With --json one object a line."""
    from prunebench.commands.energy_meters import watch_command

    raise typer.Exit(watch_command(url, interval_s=interval, duration_s=duration, as_json=as_json, console=out))


@energy_app.command()
def idle(
    url: Url = None,
    duration: Annotated[float, typer.Option(min=1, help="For so many seconds.")] = 30.0,
    as_json: Json = False,
) -> None:
    """Mean power while nothing is asked, and whether it was steady."""
    from prunebench.commands.energy_meters import idle_command

    raise typer.Exit(idle_command(url, duration_s=duration, as_json=as_json, console=out))


@energy_app.command()
def predict(
    run: Annotated[Path, typer.Argument(help="A run folder whose workloads vary prompt and output length.")],
    prompt_tokens: Annotated[int, typer.Option(min=1, help="Of the requests to predict.")],
    output_tokens: Annotated[int, typer.Option(min=1, help="Of the requests to predict.")],
    as_json: Json = False,
) -> None:
    """Joules that requests of another shape would take, by a run's own trials."""
    from prunebench.commands.energy_meters import predict_command

    status = predict_command(
        run, prompt_tokens=prompt_tokens, output_tokens=output_tokens, as_json=as_json, console=out
    )
    raise typer.Exit(status)
