"""The command line: each command reads its options, calls one room and prints what came of it.

Mistakes of the user print one line that names what to mend and exit 2; a failed run exits 1; Ctrl-C exits 130.
"""

from __future__ import annotations

import contextlib
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from prunebench import __version__
from prunebench.energy_cli import energy_app

if TYPE_CHECKING:
    from prunebench.writer import Resume
    from pruner.targets import Target

app = typer.Typer(
    name="prunebench",
    help="What a width-pruned language model really costs to serve.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.add_typer(energy_app)
# Without a terminal rich assumes 80 columns, which cuts the tables.
out = Console(width=None if sys.stdout.isatty() else 150)
err = Console(stderr=True)


class CriterionName(StrEnum):
    """What --criterion takes."""

    maw = "maw"
    vow = "vow"
    pon = "pon"
    l2 = "l2"
    random = "random"
    act = "act"


class TieBreakName(StrEnum):
    """What --tie-break takes."""

    stable = "stable"
    torch = "torch"


class EngineName(StrEnum):
    """What --engine takes."""

    auto = "auto"
    vllm = "vllm"
    transformers = "transformers"
    synthetic = "synthetic"


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


class ReportFormat(StrEnum):
    """What --format takes."""

    html = "html"
    vllm_json = "vllm-json"
    guidellm_json = "guidellm-json"
    csv = "csv"


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


class ComparisonFormat(StrEnum):
    """What compare --format takes."""

    text = "text"
    markdown = "markdown"
    junit = "junit"
    json = "json"


Ratios = Annotated[
    list[float] | None, typer.Option("--expansion-ratio", help="Target width / hidden size; repeatable.")
]
Percentages = Annotated[
    list[float] | None, typer.Option("--pruning-percentage", help="Share of the width to remove; repeatable.")
]
Widths = Annotated[list[int] | None, typer.Option("--intermediate-size", help="Target width itself; repeatable.")]
Source = Annotated[str, typer.Argument(help="A checkpoint folder, or a model on the Hugging Face hub, OWNER/NAME.")]
Revision = Annotated[str | None, typer.Option(help="Branch, tag or commit of a model on the hub; default main.")]
MultipleOf = Annotated[int, typer.Option(min=1, help="Round widths to the nearest multiple of this.")]
Margin = Annotated[
    str, typer.Option(help="Differences up to this are no verdict, e.g. 1% or 0.01; 0: any that is not chance.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


@app.callback(invoke_without_command=True)
def version(show: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if show:
        out.print(__version__, highlight=False)
        raise typer.Exit


@app.command()
def run(
    experiment: Annotated[Path, typer.Argument(help="The experiment's TOML file.")],
    output: Annotated[Path | None, typer.Option(help="The run folder; default runs/NAME-TIME.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run: finished trials are kept.")] = False,
    resume_or_start: Annotated[
        bool, typer.Option("--resume-or-start", help="Go on if the newest run is unfinished, else start one.")
    ] = False,
    checkpoints: Annotated[Path | None, typer.Option(help="Where pruned ones go; default the run folder.")] = None,
    prune_only: Annotated[bool, typer.Option("--prune-only", help="Leave serving to a later --resume.")] = False,
    serve_on: Annotated[
        str | None, typer.Option(metavar="URL", help="A `prunebench host` that starts the servers.")
    ] = None,
    serve_key_file: Annotated[Path | None, typer.Option(help="File with the key that host wants.")] = None,
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
    from loadgen.endpoint import read_key
    from prunebench.experiment import load_experiment
    from prunebench.remote import RemoteHost
    from prunebench.running import Place, run_experiment

    resuming: Resume = "yes" if resume else "if-unfinished" if resume_or_start else "no"
    if dry_run:
        from prunebench.forecast import dry_run_command

        dry_run_command(load_experiment(experiment, model), output, resuming, assume, as_json=as_json, console=out)
        return
    for name, given in (("--assume", assume is not None), ("--json", as_json)):
        if given:
            raise typer.BadParameter(f"{name} belongs to --dry-run")
    key = read_key(serve_key_file, "--serve-key-file")
    host = RemoteHost(serve_on.rstrip("/"), key) if serve_on else None
    raise typer.Exit(
        run_experiment(
            load_experiment(experiment, model),
            experiment,
            output,
            resume=resuming,
            console=out,
            place=Place(checkpoints, host, prune_only),
        )
    )


@app.command()
def host(
    root: Annotated[list[Path], typer.Option(help="Folder whose checkpoints may be served; repeatable.")],
    host: Annotated[str, typer.Option(help="Address to listen on, also of the servers.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 7000,
    first_port: Annotated[int, typer.Option(min=1, max=65535, help="Of the servers.")] = 8000,
    most_servers: Annotated[int, typer.Option(min=1, max=100, help="Servers at a time, on so many ports.")] = 10,
    api_key_file: Annotated[Path | None, typer.Option(help="Runners and clients must send the key in it.")] = None,
    logs: Annotated[Path, typer.Option(help="Folder for the servers' logs.")] = Path("logs"),
) -> None:
    """Start and stop servers here for runners elsewhere (`prunebench run --serve-on`)."""
    from prunebench.hosting import HostSettings, host_servers

    settings = HostSettings(root, logs, host, port, first_port, most_servers, api_key_file)
    host_servers(settings, lambda line: err.print(line, highlight=False, markup=False, soft_wrap=True))


@app.command()
def prune(
    source: Source,
    output: Annotated[Path, typer.Option(help="Where the folders width-N go.")],
    revision: Revision = None,
    expansion_ratio: Ratios = None,
    pruning_percentage: Percentages = None,
    intermediate_size: Widths = None,
    criterion: Annotated[CriterionName, typer.Option(help="What makes a neuron worth keeping.")] = CriterionName.maw,
    seed: Annotated[int, typer.Option(help="Of the random criterion.")] = 0,
    calibration: Annotated[
        Path | None, typer.Option(help="A text for the act criterion, which runs the model.")
    ] = None,
    multiple_of: MultipleOf = 1,
    tie_break: Annotated[TieBreakName, typer.Option(help="Among equal scores: lower index, or torch.topk's set.")] = (
        TieBreakName.stable
    ),
    tensor_parallel: Annotated[int, typer.Option(min=1, help="Refuse widths that this does not divide.")] = 1,
    push: Annotated[
        str | None, typer.Option(metavar="OWNER/NAME", help="Upload each to OWNER/NAME-width-N, private.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write narrower checkpoints, all widths in one pass over the source."""
    from prunebench.pruning import prune_command

    targets = _targets(expansion_ratio, pruning_percentage, intermediate_size)
    prune_command(
        source,
        output,
        targets,
        revision=revision,
        criterion=criterion.value,
        seed=seed,
        calibration=calibration,
        multiple_of=multiple_of,
        tie_break=tie_break.value,
        tensor_parallel=tensor_parallel,
        push_to=push,
        as_json=as_json,
        console=out,
    )


@app.command()
def inspect(
    source: Source,
    revision: Revision = None,
    expansion_ratio: Ratios = None,
    pruning_percentage: Percentages = None,
    intermediate_size: Widths = None,
    multiple_of: MultipleOf = 1,
    as_json: Json = False,
) -> None:
    """Show what each target width would give, by default the paper's percentages; nothing is written."""
    from prunebench.pruning import inspect_command

    targets = _targets(expansion_ratio, pruning_percentage, intermediate_size)
    inspect_command(source, targets, revision=revision, multiple_of=multiple_of, as_json=as_json, console=out)


@app.command()
def serve(
    checkpoint: Annotated[Path, typer.Argument(help="A checkpoint folder.")],
    engine: Annotated[
        EngineName, typer.Option(help="auto: vLLM where it is installed with a GPU, else transformers.")
    ] = (EngineName.auto),
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
    from prunebench.parent import end_with_parent
    from server.serve import serve as serve_until_stopped
    from server.settings import ServeSettings

    end_with_parent()
    settings = ServeSettings(
        checkpoint=checkpoint,
        engine=engine.value,
        host=host,
        port=port,
        served_model_name=served_model_name,
        api_key_file=api_key_file,
        allow_open=allow_open,
        engine_options=dict(_key_value(option) for option in engine_option or []),
        modelled_watts_per_core=modelled_watts_per_core,
        access_log=access_log,
        max_body_bytes=max_body_bytes,
        max_concurrent_requests=max_concurrent_requests,
        receive_timeout_s=receive_timeout_s,
        send_timeout_s=send_timeout_s,
        shutdown_grace_s=shutdown_grace_s,
    )
    raise typer.Exit(serve_until_stopped(settings))


@app.command()
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
        float | None, typer.Option(min=0.1, help="Or: for how many seconds to start requests; default of sweep 20.")
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
    workers: Annotated[int | None, typer.Option(min=1, help="Processes of --driver locust; default 1.")] = None,
    remote_workers: Annotated[
        int | None, typer.Option(min=1, help="So many of the workers are started by you, on other machines.")
    ] = None,
    web_port: Annotated[int | None, typer.Option(min=1, max=65535, help="Locust's web page, on loopback.")] = None,
    processes: Annotated[int, typer.Option(min=1, help="Client processes that share the load.")] = 1,
    self_test: Annotated[
        bool,
        typer.Option("--self-test", help="Load a server of known times on this machine: how far to trust this client."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Load a server and record every request."""
    from prunebench.loading import LoadCommand, load_command
    from prunebench.locusting import locust_settings

    if self_test:
        from prunebench.self_test import self_test_command

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
        locust=locust_settings(driver.value, workers, remote_workers, web_port),
        processes=processes,
    )
    raise typer.Exit(load_command(command, as_json=as_json, console=out))


@app.command()
def report(
    runs: Annotated[
        list[Path],
        typer.Argument(
            help="Run folders (of a folder of runs, the newest), folders of `load`, or results of `vllm bench serve`."
        ),
    ],
    output: Annotated[
        Path | None, typer.Option(help="The file; default report.html, or the format's name, in the folder.")
    ] = None,
    form: Annotated[
        ReportFormat,
        typer.Option(
            "--format", help="html with Markdown, CSV and JSON beside it; or every trial in another tool's format."
        ),
    ] = ReportFormat.html,
    wait: Annotated[
        bool, typer.Option("--wait", help="Until the runner at work on it ends; exit 1 if the run is not complete.")
    ] = False,
    margin: Margin = "1%",
    png: Annotated[bool, typer.Option("--png", help="The plots as PNG too, for slides.")] = False,
    sink: Annotated[
        list[str] | None, typer.Option(help="Send the figures to mlflow:URI or prometheus:FILE too; repeatable.")
    ] = None,
) -> None:
    """Turn runs into a report: HTML and Markdown with pictures, and its figures as CSV, Parquet and JSON."""
    from prunebench.comparing import share
    from prunebench.waiting import newest_run, wait_for_run
    from reports.build import build_report
    from reports.sinks import send_runs

    folders = [newest_run(run) for run in runs]
    missing = [problem for run in folders if wait and (problem := wait_for_run(run))]
    if form == ReportFormat.html:
        written = build_report(folders, output, margin=share(margin, "--margin"), png=png)
    else:
        from reports.exports import export

        written = export(folders, form.value, output)
    out.print(str(written), highlight=False, soft_wrap=True)
    send_runs(folders, sink or [], margin=share(margin, "--margin"))
    for problem in missing:
        err.print(f"prunebench: {problem}", highlight=False, markup=False, soft_wrap=True)
    raise typer.Exit(1 if missing else 0)


@app.command()
def compare(
    before: Annotated[Path, typer.Argument(help="A run folder, the one to compare with.")],
    after: Annotated[Path, typer.Argument(help="Another run folder.")],
    margin: Annotated[str, typer.Option(help="How far from 1 a ratio's whole interval must lie for a verdict.")] = "2%",
    fail_over: Annotated[
        str | None, typer.Option(help="Exit 1 if a quantity's whole 95 % interval is worse by more than this, e.g. 5%.")
    ] = None,
    quantity: Annotated[
        list[str] | None, typer.Option(help="A key of report.json to compare; repeatable; default: the table's.")
    ] = None,
    style: Annotated[ComparisonFormat, typer.Option("--format", help="How to write it.")] = ComparisonFormat.text,
    output: Annotated[Path | None, typer.Option(help="Write to this file instead of printing.")] = None,
) -> None:
    """Compare two runs width by width: another GPU, another engine, last week."""
    from prunebench.comparing import compare_command

    raise typer.Exit(
        compare_command(
            before,
            after,
            margin=margin,
            fail_over=fail_over,
            quantities=quantity or [],
            style=style.value,
            output=output,
            console=out,
        )
    )


@app.command()
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
    engine: Annotated[EngineName, typer.Option(help="What serves the checkpoint.")] = EngineName.auto,
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
    from prunebench.evaluating import EvaluateCommand, evaluate_command

    command = EvaluateCommand(
        target=target,
        tasks=tasks,
        output=output,
        resume=resume,
        include_paths=include_path or [],
        limit=limit,
        chat_template=chat_template,
        in_process=in_process,
        engine=engine.value,
        engine_options=dict(_key_value(option) for option in engine_option or []),
        model=model,
        tokenizer=tokenizer,
        concurrency=concurrency,
        energy=energy,
        modelled_watts_per_core=modelled_watts_per_core,
        api_key_file=api_key_file,
    )
    raise typer.Exit(evaluate_command(command, as_json=as_json, console=out))


@app.command()
def schema() -> None:
    """Print the JSON Schema of experiment files, for editors: `#:schema FILE` in the first line of a TOML file."""
    from prunebench.experiment import experiment_schema

    sys.stdout.write(experiment_schema())


@app.command()
def plan(
    run: Annotated[Path, typer.Argument(help="A run folder with single, batch or concurrency workloads.")],
    requests_per_day: Annotated[float, typer.Option(min=1, help="E.g. 1e9.")],
    prompt_tokens: Annotated[str, typer.Option(help="A number, or e.g. lognormal:512,256.")],
    output_tokens: Annotated[str, typer.Option(help="As --prompt-tokens.")],
    slo: Annotated[str | None, typer.Option(help="E.g. ttft=300ms,tpot=50ms.")] = None,
    slo_share: Annotated[float, typer.Option(min=0.01, max=0.99, help="Of the requests, that meet it.")] = 0.9,
    peak: Annotated[float, typer.Option(min=1, help="Rate of the busiest hour over the day's mean.")] = 2.0,
    pue: Annotated[float, typer.Option(min=1, help="Energy of the site over that of what is metered.")] = 1.2,
    price_kwh: Annotated[float | None, typer.Option(min=0, help="Price of a kWh, in your currency.")] = None,
    gpu_hour: Annotated[float | None, typer.Option(min=0, help="Price of a GPU for an hour.")] = None,
    carbon: Annotated[float | None, typer.Option(min=0, help="Grams of CO2 for a kWh.")] = None,
    gpus_per_replica: Annotated[int, typer.Option(min=1)] = 1,
    seed: Annotated[int, typer.Option()] = 0,
    as_json: Json = False,
) -> None:
    """Turn a run into GPUs, megawatts, cost and CO2 for a demand, by simulating the queue of every width."""
    from prunebench.planning import plan_command

    plan_command(
        run,
        {
            "requests_per_day": requests_per_day,
            "prompt_tokens": prompt_tokens,
            "output_tokens": output_tokens,
            "slo_share": slo_share,
            "peak": peak,
            "pue": pue,
            "price_kwh": price_kwh,
            "gpu_hour": gpu_hour,
            "carbon_g_per_kwh": carbon,
            "gpus_per_replica": gpus_per_replica,
            "seed": seed,
        },
        slo,
        as_json=as_json,
        console=out,
    )


@app.command()
def published(
    data: Annotated[
        Path | None, typer.Option(help="A folder with the study's raw runs, llama-3.2-efficiency-runs.csv.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="The report's HTML file; default published.html, with --json none.")
    ] = None,
    margin: Margin = "1%",
    as_json: Json = False,
) -> None:
    """Re-analyse the published study's figures: which of its claims survive our checks."""
    from prunebench.comparing import share
    from prunebench.published import published_command

    published_command(data, margin=share(margin, "--margin"), output=output, as_json=as_json, console=out)


@app.command()
def doctor(as_json: Json = False) -> None:
    """Say what this machine can serve and measure, what is missing, and how to get it."""
    from prunebench.doctor import doctor_command

    doctor_command(as_json=as_json, console=out)


def _targets(ratios: list[float] | None, percentages: list[float] | None, widths: list[int] | None) -> list[Target]:
    """What the three target options ask for, in the order ratio, percentage, width."""
    from pruner.targets import Target

    return [
        *(Target("ratio", ratio) for ratio in ratios or []),
        *(Target("percentage", percentage) for percentage in percentages or []),
        *(Target("width", width) for width in widths or []),
    ]


def _key_value(option: str) -> tuple[str, str]:
    key, equals, value = option.partition("=")
    if not (key and equals):
        raise typer.BadParameter(f"--engine-option {option}: it must read KEY=VALUE")
    return key, value


def _user_errors() -> tuple[type[Exception], ...]:
    """The rooms' errors that a user can mend. Only rooms already imported can have raised one."""
    names = {
        "energy.meters": "EnergyError",
        "loadgen.endpoint": "LoadError",
        "pruner.errors": "PruneError",
        "server.settings": "ServeError",
        "server.engines.base": "EngineError",
        "reports.errors": "ReportError",
        "prunebench.experiment": "ExperimentError",
        "prunebench.quality_tasks": "QualityError",
    }
    return tuple(getattr(sys.modules[m], name) for m, name in names.items() if m in sys.modules)


def main() -> None:
    """Entry point of `prunebench` and `python -m prunebench`."""
    try:
        status = app(standalone_mode=False)
    except KeyboardInterrupt:
        err.print("interrupted")
        status = 130
    except Exception as error:
        if isinstance(error, _user_errors()):
            message = str(error)
        elif hasattr(error, "format_message"):  # typer carries its own copy of click, whose errors have no public name
            message = error.format_message()
        else:
            raise
        err.print(f"prunebench: {message}", highlight=False, markup=False, soft_wrap=True)
        status = 2
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.flush()
    sys.exit(status)
