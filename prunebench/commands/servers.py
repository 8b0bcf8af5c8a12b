"""The commands that serve."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from prunebench.commands.options import EngineName, err, key_value
from server.engines.registry import AUTO


def serve(
    checkpoint: Annotated[Path, typer.Argument(help="A checkpoint folder.")],
    engine: Annotated[
        EngineName, typer.Option(help="auto: vLLM where it is installed with a GPU, else transformers.")
    ] = AUTO,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one.")] = 8000,
    served_model_name: Annotated[str | None, typer.Option(help="Default: the folder's name.")] = None,
    api_key_file: Annotated[Path | None, typer.Option(help="Clients must send the key in this file.")] = None,
    allow_open: Annotated[bool, typer.Option("--allow-open", help="Other machines may connect without a key.")] = False,
    engine_option: Annotated[list[str] | None, typer.Option(help="KEY=VALUE for the engine; repeatable.")] = None,
    modelled_watts_per_core: Annotated[
        float | None, typer.Option(min=0.001, help="State an assumption; offers modelled CPU energy beside measured.")
    ] = None,
    access_log: Annotated[bool, typer.Option("--access-log", help="One line of JSON a request on stderr.")] = False,
    max_body_bytes: Annotated[int, typer.Option(min=1024, help="Longer bodies get a 413.")] = 8 * 1024 * 1024,
    max_concurrent_requests: Annotated[
        int, typer.Option(min=1, help="Sequences in the engine, running or waiting; more get a 429.")
    ] = 4096,
    receive_timeout_s: Annotated[
        float, typer.Option(min=0.001, help="For a request's headers to come, and again for its body; then a 408.")
    ] = 30.0,
    send_timeout_s: Annotated[
        float, typer.Option(min=0.001, help="An answer left unread for so long ends the connection.")
    ] = 30.0,
    shutdown_grace_s: Annotated[
        float, typer.Option(min=0, help="How long a signal lets running requests finish.")
    ] = 5.0,
) -> None:
    """Serve a checkpoint over the OpenAI API until interrupted."""
    from prunebench.servers.parent_watch import end_with_parent
    from server.serve import serve as serve_until_stopped
    from server.settings import ServeSettings

    end_with_parent()
    settings = ServeSettings(
        checkpoint=checkpoint,
        engine=engine,
        host=host,
        port=port,
        served_model_name=served_model_name,
        api_key_file=api_key_file,
        allow_open=allow_open,
        engine_options=dict(key_value(option) for option in engine_option or []),
        modelled_watts_per_core=modelled_watts_per_core,
        access_log=access_log,
        max_body_bytes=max_body_bytes,
        max_concurrent_requests=max_concurrent_requests,
        receive_timeout_s=receive_timeout_s,
        send_timeout_s=send_timeout_s,
        shutdown_grace_s=shutdown_grace_s,
    )
    raise typer.Exit(serve_until_stopped(settings))


def host(
    root: Annotated[list[Path], typer.Option(help="Folder whose checkpoints may be served; repeatable.")],
    host: Annotated[str, typer.Option(help="Address to listen on, also of the servers.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 7000,
    first_port: Annotated[int, typer.Option(min=1, max=65535, help="Of the servers.")] = 8000,
    most_servers: Annotated[int, typer.Option(min=1, max=100, help="Servers at a time, and ports.")] = 10,
    api_key_file: Annotated[Path | None, typer.Option(help="Runners and clients must send the key in it.")] = None,
    logs: Annotated[Path, typer.Option(help="Folder for the servers' logs.")] = Path("logs"),
    engine_option: Annotated[
        list[str] | None,
        typer.Option(help="KEY=VALUE for every server's engine; runners may not change it. Repeatable."),
    ] = None,
) -> None:
    """Start and stop servers here for runners elsewhere (`prunebench run --serve-on`)."""
    from prunebench.servers.host import host_servers
    from prunebench.servers.pool import HostSettings

    options = dict(key_value(option) for option in engine_option or [])
    settings = HostSettings(root, logs, host, port, first_port, most_servers, api_key_file, options)
    host_servers(settings, lambda line: err.print(line, highlight=False, markup=False, soft_wrap=True))
