"""The command that asks quality tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from prunebench.commands.options import EngineName, Json, key_value, out
from server.engines.registry import AUTO


def evaluate(
    target: Annotated[str, typer.Argument(help="A checkpoint folder, which is served, or the URL of a server.")],
    tasks: Annotated[
        list[str],
        typer.Option(help="Tasks of lm-eval, TASK:SHOTS, YAML files, or fragile-knowledge[-instruct], offline."),
    ],
    output: Annotated[Path | None, typer.Option(help="Folder; default evaluations/NAME-TIME.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on: answered tasks are kept.")] = False,
    include_path: Annotated[list[Path] | None, typer.Option(help="A folder of task YAML; repeatable.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many items a task.")] = None,
    chat_template: Annotated[
        bool, typer.Option("--chat-template", help="Ask through the model's chat template.")
    ] = False,
    in_process: Annotated[bool, typer.Option("--in-process", help="lm-eval's own HF backend instead of HTTP.")] = False,
    engine: Annotated[EngineName, typer.Option(help="What serves the checkpoint.")] = AUTO,
    engine_option: Annotated[list[str] | None, typer.Option(help="KEY=VALUE for the engine; repeatable.")] = None,
    model: Annotated[str | None, typer.Option(help="The model's name at the URL.")] = None,
    tokenizer: Annotated[Path | None, typer.Option(help="Folder of the checkpoint behind the URL.")] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="Prompts in flight.")] = 32,
    energy: Annotated[str, typer.Option(help="auto, none, local, or the URL of a server with /energy.")] = "auto",
    modelled_watts_per_core: Annotated[
        float | None, typer.Option(min=0.001, help="State an assumption; offers modelled CPU energy beside measured.")
    ] = None,
    api_key_file: Annotated[Path | None, typer.Option(help="File with the key the URL's server wants.")] = None,
    as_json: Json = False,
) -> None:
    """Ask quality tasks through lm-eval of what is served."""
    from prunebench.commands.evaluate import EvaluateCommand, evaluate_command

    command = EvaluateCommand(
        target=target,
        tasks=tasks,
        output=output,
        resume=resume,
        include_paths=include_path or [],
        limit=limit,
        chat_template=chat_template,
        in_process=in_process,
        engine=engine,
        engine_options=dict(key_value(option) for option in engine_option or []),
        model=model,
        tokenizer=tokenizer,
        concurrency=concurrency,
        energy=energy,
        modelled_watts_per_core=modelled_watts_per_core,
        api_key_file=api_key_file,
    )
    raise typer.Exit(evaluate_command(command, as_json=as_json, console=out))
