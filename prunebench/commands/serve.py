"""`prunebench serve`: the server, in this process."""

from __future__ import annotations

from typing import Annotated

import typer

from base.quantities import BYTES, SECONDS
from prunebench.commands.options import (
    Engine,
    EngineOptions,
    ModelledWattsPerCore,
    RequiredKeyFile,
    access_option,
    engine_options,
    quantity,
)
from prunebench.servers.parent_watch import end_with_parent
from prunebench.terminal.command_help import examples
from pruner.checkpoint.hub import find_downloaded
from server.engines.registry import AUTO
from server.serve import serve as serve_until_stopped
from server.settings import ServeSettings


@examples(
    ("At http://127.0.0.1:8000, with the engine that fits this machine", "prunebench serve ./model"),
    (
        "With vLLM and its own options, on another port",
        "prunebench serve ./model --engine vllm --engine-option max_model_len=4096 --port 8001",
    ),
    ("To other machines, which must send a key", "prunebench serve ./model --host 0.0.0.0 --api-key-file key.txt"),
)
def serve(
    checkpoint: Annotated[
        str, typer.Argument(help="A checkpoint folder, or OWNER/NAME of one that was downloaded from the hub.")
    ],
    engine: Engine = AUTO,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one.")] = 8000,
    served_model_name: Annotated[str | None, typer.Option(help="Default: the folder's name, or OWNER/NAME.")] = None,
    api_key_file: RequiredKeyFile = None,
    allow_open: Annotated[
        bool, access_option("--allow-open", help="Other machines may connect without a key.")
    ] = False,
    engine_option: EngineOptions = None,
    modelled_watts_per_core: ModelledWattsPerCore = None,
    access_log: Annotated[bool, access_option("--access-log", help="One line of JSON a request on stderr.")] = False,
    max_body_bytes: Annotated[int, quantity(BYTES, "Longer bodies get a 413.", least=1024, panel="Limits")] = 8
    * 1024
    * 1024,
    max_concurrent_requests: Annotated[
        int,
        typer.Option(
            min=1, help="Sequences in the engine, running or waiting; more get a 429.", rich_help_panel="Limits"
        ),
    ] = 4096,
    receive_timeout_s: Annotated[
        float,
        quantity(
            SECONDS,
            "Deadline for a request's headers, and again for its body; then a 408.",
            least=0.001,
            panel="Limits",
        ),
    ] = 30.0,
    send_timeout_s: Annotated[
        float,
        quantity(SECONDS, "A response that stays unread this long ends the connection.", least=0.001, panel="Limits"),
    ] = 30.0,
    shutdown_grace_s: Annotated[
        float, quantity(SECONDS, "How long a signal lets running requests finish.", least=0, panel="Limits")
    ] = 5.0,
) -> None:
    end_with_parent()
    folder, name = find_downloaded(checkpoint)
    settings = ServeSettings(
        checkpoint=folder,
        engine=engine,
        host=host,
        port=port,
        served_model_name=served_model_name or name,
        api_key_file=api_key_file,
        allow_open=allow_open,
        engine_options=engine_options(engine_option),
        modelled_watts_per_core=modelled_watts_per_core,
        access_log=access_log,
        max_body_bytes=max_body_bytes,
        max_concurrent_requests=max_concurrent_requests,
        receive_timeout_s=receive_timeout_s,
        send_timeout_s=send_timeout_s,
        shutdown_grace_s=shutdown_grace_s,
    )
    raise typer.Exit(serve_until_stopped(settings))
