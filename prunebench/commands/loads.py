"""The command that loads a server."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from loadgen import REQUEST_TIMEOUT_S
from prunebench.commands.options import Json, out


class WorkloadName(StrEnum):
    """What --workload takes."""

    single = "single"
    batch = "batch"
    concurrency = "concurrency"
    constant = "constant"
    poisson = "poisson"
    burst = "burst"
    ramp = "ramp"
    trace = "trace"
    sweep = "sweep"


class DriverName(StrEnum):
    """What --driver takes."""

    native = "native"
    locust = "locust"


class BatchForm(StrEnum):
    """What --batch-as takes."""

    requests = "requests"
    list = "list"


class PromptForm(StrEnum):
    """What --prompt-as takes."""

    ids = "ids"
    text = "text"


def load(
    url: Annotated[
        str | None,
        typer.Argument(
            help="Base URL of an OpenAI-compatible server: http://127.0.0.1:8000, or unix:/run/server.sock."
        ),
    ] = None,
    model: Annotated[str | None, typer.Option(help="The model's name there.")] = None,
    output: Annotated[
        Path | None, typer.Option(help="Folder for requests.parquet, trial.json and summary.json.")
    ] = None,
    workload: Annotated[WorkloadName, typer.Option(help="What load to offer.")] = WorkloadName.single,
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="Requests in flight, for concurrency; at first, for ramp.")
    ] = None,
    end_concurrency: Annotated[int | None, typer.Option(min=1, help="Requests in flight at the end of a ramp.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Requests sent at once, for batch.")] = None,
    batch_as: Annotated[
        BatchForm | None, typer.Option(help="For batch: so many requests (default), or one with a list of prompts.")
    ] = None,
    rate: Annotated[
        float | None, typer.Option(min=0.001, help="Requests per second, for open loops; at first, for ramp and sweep.")
    ] = None,
    end_rate: Annotated[
        float | None, typer.Option(min=0.001, help="Requests per second at the end of a ramp; the most of a sweep.")
    ] = None,
    rates: Annotated[str | None, typer.Option(help="For sweep: these and no others, e.g. 1,2,4.")] = None,
    ramp_steps: Annotated[
        int | None, typer.Option(min=2, help="For ramp: in so many steps instead of a straight line.")
    ] = None,
    burstiness: Annotated[
        float | None, typer.Option(min=0.001, help="For burst, ramp and sweep: 1 is Poisson, less comes in bursts.")
    ] = None,
    trace: Annotated[Path | None, typer.Option(help="For trace: Azure's CSV or Mooncake's JSONL.")] = None,
    speed: Annotated[float | None, typer.Option(min=0.001, help="For trace: so many times as fast.")] = None,
    requests: Annotated[int | None, typer.Option(min=1, help="How many requests to measure; default 100.")] = None,
    duration: Annotated[
        float | None, typer.Option(min=0.1, help="Or: for how many seconds to start requests; default of sweep 60.")
    ] = None,
    warmup_requests: Annotated[int, typer.Option(min=0, help="Sent first, not measured.")] = 2,
    prompt_tokens: Annotated[
        str, typer.Option(help="128, uniform:64-256, normal:128,32 or lognormal:128,64,16-1024.")
    ] = "128",
    output_tokens: Annotated[str, typer.Option(help="As --prompt-tokens.")] = "128",
    natural_stop: Annotated[bool, typer.Option("--natural-stop", help="Let the model stop by itself.")] = False,
    prompts: Annotated[
        str | None,
        typer.Option(help="FILE.txt, .jsonl, .csv or .json (ShareGPT); or hellaswag, mmlu, ifeval, each with :FOLDER."),
    ] = None,
    prompt_as: Annotated[PromptForm | None, typer.Option(help="How made-up prompts are sent; default ids.")] = None,
    shared_prefix: Annotated[
        int | None, typer.Option(min=1, help="First tokens that all prompts share; default none.")
    ] = None,
    energy: Annotated[str, typer.Option(help="auto, none, local, or the URL of a server with /energy.")] = "auto",
    slo: Annotated[str | None, typer.Option(help="For goodput, e.g. ttft=200ms,tpot=50ms.")] = None,
    slo_share: Annotated[
        float | None, typer.Option(min=0.01, max=1, help="For sweep: share of requests that must meet it; default 0.9.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of prompts, lengths and arrivals.")] = 0,
    tokenizer: Annotated[
        Path | None, typer.Option(help="tokenizer.json or its folder; default: ask the server.")
    ] = None,
    api_key_file: Annotated[Path | None, typer.Option(help="File with the key the server wants.")] = None,
    driver: Annotated[
        DriverName,
        typer.Option(help="native measures most exactly; locust has a web page and runs on several machines."),
    ] = DriverName.native,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes of --driver locust; default the remote ones, or 1.")
    ] = None,
    remote_workers: Annotated[
        str | None,
        typer.Option(
            metavar="NUMBER|NAME",
            help="So many of them are `prunebench load-worker` elsewhere; by NAME: one at each of that host's addresses.",
        ),
    ] = None,
    master_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Where remote workers come to; default any free one.")
    ] = None,
    web_port: Annotated[int | None, typer.Option(min=1, max=65535, help="Locust's web page.")] = None,
    web_host: Annotated[str | None, typer.Option(help="Where that listens; default 127.0.0.1.")] = None,
    request_timeout: Annotated[
        float, typer.Option(min=0.001, max=86_400, help="Seconds from sending a request to its end; longer ones fail.")
    ] = REQUEST_TIMEOUT_S,
    idle_timeout: Annotated[
        float | None,
        typer.Option(min=0.001, max=86_400, help="Seconds without a read after the first token; default no limit."),
    ] = None,
    processes: Annotated[int, typer.Option(min=1, help="Client processes that share the load.")] = 1,
    self_test: Annotated[
        bool,
        typer.Option("--self-test", help="Load a server of known times on this machine: how far to trust this client."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Load a server and record every request."""
    from prunebench.load.locust import locust_settings
    from prunebench.load.trial import LoadCommand, load_command

    if self_test:
        from prunebench.load.self_test import self_test_command

        raise typer.Exit(self_test_command(seed=seed, processes=processes, as_json=as_json, console=out))
    if url is None or model is None or output is None:
        missing = [name for name, given in (("URL", url), ("--model", model), ("--output", output)) if given is None]
        raise typer.BadParameter(f"missing {', '.join(missing)} (or --self-test)")
    fields = {
        "kind": workload.value,
        "requests": requests,
        "duration_s": duration,
        "batch_size": batch_size,
        "batch_as": batch_as and batch_as.value,
        "concurrency": concurrency,
        "end_concurrency": end_concurrency,
        "rate": rate,
        "end_rate": end_rate,
        "rates": rates and [part.strip() for part in rates.split(",")],
        "ramp_steps": ramp_steps,
        "burstiness": burstiness,
        "trace": trace,
        "speed": speed,
        "prompt_tokens": prompt_tokens,
        "output_tokens": output_tokens,
        "natural_stop": natural_stop,
        "prompts": prompts,
        "prompt_as": prompt_as and prompt_as.value,
        "shared_prefix": shared_prefix,
        "warmup_requests": warmup_requests,
        "slo_share": slo_share,
    }
    command = LoadCommand(
        url=url,
        model=model,
        output=output,
        fields=fields,
        energy=energy,
        slo=slo,
        seed=seed,
        tokenizer=tokenizer,
        api_key_file=api_key_file,
        locust=locust_settings(driver.value, workers, remote_workers, master_port, web_port, web_host),
        processes=processes,
        request_timeout_s=request_timeout,
        idle_timeout_s=idle_timeout,
    )
    raise typer.Exit(load_command(command, as_json=as_json, console=out))


def load_worker(
    master: Annotated[str, typer.Argument(metavar="HOST:PORT", help="What `load --remote-workers` printed.")],
    api_key_file: Annotated[Path | None, typer.Option(help="File with the key the server wants.")] = None,
) -> None:
    """Send a share of the load of a `load --driver locust` that runs elsewhere."""
    from base.key_file import read_key
    from prunebench.load.locust import become_worker

    become_worker(master, None if api_key_file is None else read_key(api_key_file))
