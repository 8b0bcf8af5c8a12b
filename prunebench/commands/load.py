"""`prunebench load`: one trial, or a sweep of them, against a running server."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from base.key_file import read_key
from base.quantities import SECONDS
from loadgen import REQUEST_TIMEOUT_S
from loadgen.endpoint import Endpoint, LoadError, check_endpoint, headers_of, only_model, server_address
from loadgen.energy.source import pick_energy
from loadgen.link.interrupt import Interrupt
from loadgen.prompts.files import input_notes
from loadgen.workloads.base import Workload
from loadgen.workloads.sweep import SweepLoad
from prunebench.commands.options import (
    CarbonIntensity,
    CarbonSource,
    EnergySourceName,
    Headers,
    Json,
    ServerKeyFile,
    Slo,
    intensity,
    quantity,
    server_option,
)
from prunebench.load.defaults import default_loads, output_folder, with_countable_prompts
from prunebench.load.fail_on import DEFAULT, chosen_checks
from prunebench.load.finished import Finished, exit_status, print_finished
from prunebench.load.kind_options import takes_workload_fields
from prunebench.load.locust_options import Driver, locust_settings
from prunebench.load.self_test import self_test as run_self_test
from prunebench.load.sweep import run_sweep
from prunebench.load.trial import TrialRunner
from prunebench.load.workload_options import check_fits, describe_workload
from prunebench.terminal.command_help import examples
from prunebench.terminal.console import err, print_line
from pruner.checkpoint.hub import find_source

if TYPE_CHECKING:
    WorkloadKind = str
else:
    WorkloadKind = Literal[tuple(Workload.kinds)]  # the registered ones

_prompt_option = partial(typer.Option, rich_help_panel="Prompts and lengths")
_client_option = partial(typer.Option, rich_help_panel="Client")
_locust_option = partial(typer.Option, rich_help_panel="Locust")


@examples(
    ("30 s at concurrency 1, then at 8", "prunebench load http://127.0.0.1:8000"),
    (
        "Eight requests a second for two minutes; exit status 1 if the server cannot keep up",
        "prunebench load http://127.0.0.1:8000 --workload poisson --rate 8/s --duration 2m --fail-on saturated:warn",
    ),
    (
        "The highest rate that keeps your objectives",
        "prunebench load http://127.0.0.1:8000 --workload sweep --slo ttft=300ms,tpot=50ms",
    ),
    (
        "Your own prompts, 32 at a time",
        "prunebench load http://127.0.0.1:8000 --workload concurrency --concurrency 32 --prompts prompts.jsonl",
    ),
)
@takes_workload_fields(after="workload")
def load(
    url: Annotated[
        str | None,
        typer.Argument(
            help="Base URL of an OpenAI-compatible server: http://127.0.0.1:8000, or unix:/run/server.sock."
        ),
    ] = None,
    workload: Annotated[
        WorkloadKind | None,
        typer.Option(
            help="What load to offer; default what its options imply, such as --concurrency or --rate, else single. Without any: 30 s at "
            "concurrency 1, then at 8."
        ),
    ] = None,
    tokenizer: Annotated[
        Path | None,
        _prompt_option(
            help="tokenizer.json, or a checkpoint; default the server's, and without one lengths are in words."
        ),
    ] = None,
    seed: Annotated[int, _prompt_option(help="Of prompts, lengths and arrivals.")] = 0,
    slo: Slo = None,
    energy: EnergySourceName = "auto",
    carbon: CarbonIntensity = None,
    carbon_source: CarbonSource = None,
    fail_on: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CHECK,…",
            help="Checks of which a failure is exit status 1, with CHECK:warn a warning too; none: no check. "
            f"Repeatable. Default {DEFAULT}.",
            rich_help_panel="Objectives",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Folder for requests.parquet, trial.json and summary.json; default runs/load-DATE.",
            rich_help_panel="Output",
        ),
    ] = None,
    as_json: Json = False,
    model: Annotated[str | None, server_option(help="The model's name there; default the only one.")] = None,
    api_key_file: ServerKeyFile = None,
    header: Headers = None,
    request_timeout: Annotated[
        float,
        quantity(
            SECONDS, "From sending a request to its end; longer ones fail.", least=0.001, most=86_400, panel="Client"
        ),
    ] = REQUEST_TIMEOUT_S,
    idle_timeout: Annotated[
        float | None,
        quantity(
            SECONDS,
            "Time without a read after the first token; default no limit.",
            least=0.001,
            most=86_400,
            panel="Client",
        ),
    ] = None,
    processes: Annotated[int, _client_option(min=1, help="Client processes that share the load.")] = 1,
    self_test: Annotated[
        bool,
        _client_option(
            "--self-test", help="Load a server of known times on this machine: how far to trust this client."
        ),
    ] = False,
    driver: Annotated[
        Driver,
        _locust_option(help="native measures most exactly; locust has a web page and runs on several machines."),
    ] = "native",
    workers: Annotated[
        int | None,
        _locust_option(min=1, help="Processes of --driver locust; default the remote ones, or 1."),
    ] = None,
    remote_workers: Annotated[
        str | None,
        _locust_option(
            metavar="NUMBER|NAME",
            help="How many of them are `prunebench load-worker` elsewhere; by NAME: one at each of that host's addresses.",
        ),
    ] = None,
    master_port: Annotated[
        int | None,
        _locust_option(min=1, max=65535, help="Where remote workers connect; default any free one."),
    ] = None,
    web_port: Annotated[int | None, _locust_option(min=1, max=65535, help="Locust's web page.")] = None,
    web_host: Annotated[str | None, _locust_option(help="Where that listens; default 127.0.0.1.")] = None,
    **fields: object,
) -> None:
    """Exit with 1 if a check of --fail-on failed, by default more than 1 % of the requests; with 130 after a Ctrl-C.

    Records and summary are written all the same, after a Ctrl-C of what had ended.
    """
    if self_test:
        run_self_test(seed=seed, processes=processes, as_json=as_json)
        return
    if url is None:
        raise typer.BadParameter("missing URL (or --self-test)")
    locust = locust_settings(driver, workers, remote_workers, master_port, web_port, web_host)
    if locust is not None and processes > 1:
        raise LoadError("--processes: only for the native driver; with --driver locust give --workers")
    asked = workload is not None or any(value is not None for value in fields.values())
    loads = [describe_workload(workload, fields, slo)] if asked else default_loads(slo)
    if fail_on and workload == "sweep":
        raise LoadError("--fail-on: does not go with a sweep, which looks for the rate at which checks fail")
    failing = chosen_checks(fail_on or [DEFAULT])
    stated = intensity(carbon, carbon_source)
    endpoint = Endpoint(
        server_address(url),
        model or "",
        api_key=None if api_key_file is None else read_key(api_key_file),
        headers=headers_of(header or []),
        timeout_s=request_timeout,
        idle_timeout_s=idle_timeout,
    )
    tokens = None if tokenizer is None else find_source(f"{tokenizer}", fetch=False)
    with output_folder(output) as folder:
        if model is None:
            endpoint = replace(endpoint, model=only_model(endpoint))
        served = check_endpoint(endpoint)
        notes = _proxy_notes(endpoint)
        if tokenizer is None and fields["prompt_as"] is None:
            loads, uncounted = with_countable_prompts(loads, endpoint)
            notes += uncounted
        for offered in loads:
            check_fits(served, offered)
            notes += input_notes(offered)
        for note in notes:
            print_line(f"note: {note}", err)
        meters = pick_energy(energy, endpoint)
        runner = TrialRunner(endpoint, meters, folder, tokens, locust, processes, served.engine, stated)
        if isinstance(loads[0], SweepLoad):
            raise typer.Exit(run_sweep(runner, loads[0], seed, as_json=as_json))
        finished: list[Finished] = []
        try:
            for number, offered in enumerate(loads):
                place = folder / offered.name if len(loads) > 1 else folder
                with Interrupt() as interrupt:
                    result, flags = runner.run(offered, seed + number, place, interrupt)
                finished.append(Finished(result, flags, place))
                if result.trial.interrupted:
                    break
        finally:
            print_finished(finished, as_json=as_json)
        raise typer.Exit(exit_status(finished, failing))


def _proxy_notes(endpoint: Endpoint) -> list[str]:
    if endpoint.proxy is None:
        return []
    return [f"the environment's proxy is not used, the load goes straight to {endpoint.host}"]
