"""`prunebench run`: one experiment, from the checks before there is a folder to the report of what was measured."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from base.errors import describe_os_error
from base.key_file import read_key
from loadgen.prompts.files import input_notes
from loadgen.results.recorder import where_kept
from prunebench.cluster.cluster_bench import ClusterBench
from prunebench.cluster.ray_cluster import RayCluster, gpus_of_session
from prunebench.experiment.file import Experiment
from prunebench.experiment.plan import plan_configurations
from prunebench.experiment.resolve import load_experiment
from prunebench.experiment.targets import TargetOptions, each_target, experiment_of
from prunebench.experiment.tokenizers import with_same_texts
from prunebench.quality.next_tokens import check_next_tokens
from prunebench.quality.run_tasks import check_tasks
from prunebench.run.adaptive import check_goal
from prunebench.run.bench import Bench
from prunebench.run.configurations import check_configurations
from prunebench.run.finished import report_finished
from prunebench.run.folder.choose_folder import Resume, choose_run_folder
from prunebench.run.folder.opening import open_folder
from prunebench.run.folder.resume import extended, extension_note
from prunebench.run.folder.run_writer import RunWriter
from prunebench.run.forecast.dry_run import print_forecast
from prunebench.run.runner import Runner
from prunebench.run.serving import check_addresses, check_gpu_limits, check_placement
from prunebench.servers.remote import RemoteHost
from prunebench.terminal.command_help import examples
from prunebench.terminal.console import err, out, print_line

_resume_option = partial(typer.Option, rich_help_panel="Resume")
_target_option = partial(typer.Option, rich_help_panel="Of targets")
_where_option = partial(typer.Option, rich_help_panel="Where")
_forecast_option = partial(typer.Option, rich_help_panel="Forecast")


@examples(
    ("The demo: seven widths of a tiny model, with its report", "prunebench run demo"),
    ("What it would do, how long it takes, how much disk", "prunebench run experiment.toml --dry-run"),
    ("Do it: prune, serve, load, measure, report", "prunebench run experiment.toml"),
    ("Resume the newest run of that name after a stop", "prunebench run experiment.toml --resume"),
    (
        "Two servers against each other, or checkpoints; the first is the baseline",
        "prunebench run http://127.0.0.1:8000 http://127.0.0.1:8001",
    ),
    ("Five more blocks for a run that has five", "prunebench run experiment.toml --resume --blocks 10"),
    (
        "As many blocks as it takes to know TPOT to 2 %",
        "prunebench run http://127.0.0.1:8000 http://127.0.0.1:8001 --until '+-2% on tpot'",
    ),
)
def run(
    targets: Annotated[
        list[str],
        typer.Argument(
            metavar="EXPERIMENT|TARGETS",
            help="An experiment's TOML file (demo and quick ship); or two or more servers' addresses and checkpoints to compare.",
        ),
    ],
    output: Annotated[Path | None, typer.Option(help="The run folder; default runs/NAME-TIME.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue a run: finished trials are kept.")] = False,
    resume_or_start: Annotated[
        bool,
        _resume_option("--resume-or-start", help="Resume the newest run if it is unfinished, else start one."),
    ] = False,
    blocks: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Of targets, repeats; default 5, with --until at most. With --resume: extend the run to this number.",
        ),
    ] = None,
    until: Annotated[
        str | None,
        _target_option(
            metavar="GOAL", help="Add blocks until ratios are known, such as '+-2% on tpot and output_tokens_per_s'."
        ),
    ] = None,
    concurrency: Annotated[int | None, _target_option(min=1, help="Requests in flight; default 8.")] = None,
    duration: Annotated[str | None, _target_option(help="Of each load, such as 2m; default 20s.")] = None,
    prompt_tokens: Annotated[str | None, _target_option(help="128, uniform:64-256 …; default 128.")] = None,
    output_tokens: Annotated[str | None, _target_option(help="As --prompt-tokens.")] = None,
    accept_changes: Annotated[
        bool,
        _resume_option("--accept-changes", help="With --resume: continue though experiment or checkpoint changed."),
    ] = False,
    checkpoints: Annotated[Path | None, _where_option(help="Where pruned ones go; default the run folder.")] = None,
    prune_only: Annotated[bool, _where_option("--prune-only", help="Leave serving to a later --resume.")] = False,
    serve_on: Annotated[
        str | None,
        _where_option(metavar="URL", help="A `prunebench host` that starts the servers."),
    ] = None,
    serve_key_file: Annotated[Path | None, _where_option(help="File with the key that the host requires.")] = None,
    executor: Annotated[
        Literal["local", "ray"],
        _where_option(help="ray: blocks are measured side by side on the nodes of a Ray cluster."),
    ] = "local",
    address: Annotated[
        str | None,
        _where_option(metavar="HOST:PORT", help="Of the Ray cluster; default the one of this machine."),
    ] = None,
    may_set_gpu_limits: Annotated[
        bool,
        _where_option(
            "--may-set-gpu-limits",
            help="Set the GPUs' power_limit_w and clock_mhz that configurations ask for; always restored.",
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the schedule, its duration and disk use; write nothing.")
    ] = False,
    assume: Annotated[
        str | None,
        _forecast_option(help="For --dry-run, e.g. ttft=200ms,tpot=20ms,start=60s (of a server)."),
    ] = None,
    as_json: Annotated[bool, _forecast_option("--json", help="Print the forecast of --dry-run as JSON.")] = False,
    model: Annotated[
        str | None, typer.Option(metavar="SOURCE", help="A folder, or OWNER/NAME on the hub, for model.source.")
    ] = None,
) -> None:
    """Exit with 1 if any cell failed. On Ctrl-C the finished trials are reported, then the command ends.

    Everything that can be checked is checked before there is a run folder.
    """
    targets = each_target(targets)
    resuming: Resume = "yes" if resume else "if-unfinished" if resume_or_start else "no"
    on_ray = executor == "ray"
    for name, given, against in (
        ("--blocks", blocks is not None and resuming == "no" and len(targets) == 1, "belongs to --resume"),
        ("--accept-changes", accept_changes and resuming == "no", "belongs to --resume"),
        ("--address", address is not None and not on_ray, "belongs to --executor ray"),
        ("--serve-on", serve_on is not None and on_ray, "does not go with --executor ray, whose nodes serve"),
        ("--prune-only", prune_only and on_ray, "does not go with --executor ray: pruning is done here"),
        ("--dry-run", dry_run and on_ray, "plans for one machine: leave --executor out"),
        ("--assume", assume is not None and not dry_run, "belongs to --dry-run"),
        ("--json", as_json and not dry_run, "belongs to --dry-run"),
    ):
        if given:
            raise typer.BadParameter(f"{name} {against}")
    options = TargetOptions(blocks, concurrency, duration, prompt_tokens, output_tokens, until)
    file = experiment_of(targets, options, fetch=not dry_run)
    key = None if serve_key_file is None else read_key(serve_key_file, "--serve-key-file")
    loaded = load_experiment(file, model, fetch=not dry_run)
    loaded, note = with_same_texts(loaded, plan_configurations(loaded))
    if note:
        print_line(f"note: {note}", err if as_json else out)
    if dry_run:
        print_forecast(loaded, output, resuming, assume, as_json=as_json, blocks=blocks, accept_changes=accept_changes)
        return
    host = RemoteHost(serve_on.rstrip("/"), key) if serve_on else None
    cluster = RayCluster(address) if on_ray else None
    _check(loaded, host, cluster, may_set_gpu_limits=may_set_gpu_limits)
    folder, resumed = choose_run_folder(loaded, output, resuming)
    writer = RunWriter(folder, checkpoints)
    with writer.locked():
        open_folder(writer, loaded, file, resumed=resumed, accept_changes=accept_changes)
        begun = writer.begun()
        loaded = extended(loaded, begun, blocks)
        if note := extension_note(loaded, begun):
            print_line(f"note: {note}")
        make_executor = (
            partial(Bench, last_block=loaded.protocol.blocks - 1, host=host)
            if cluster is None
            else partial(ClusterBench, cluster)
        )
        runner = Runner(loaded, writer, out, make_executor)
        if prune_only:
            runner.prepare()
            print_line(str(writer.path))
            return
        complete = _measure(runner, writer)
    raise typer.Exit(0 if complete else 1)


def _check(
    experiment: Experiment, host: RemoteHost | None, cluster: RayCluster | None, *, may_set_gpu_limits: bool
) -> None:
    """Raises UserError for what would stop every cell."""
    plan = check_configurations(experiment)
    if host is not None or cluster is not None:
        check_placement(plan, "--serve-on" if host is not None else "--executor ray")
    check_gpu_limits(plan, allowed=may_set_gpu_limits)
    check_addresses(plan)
    check_next_tokens(experiment.quality)
    check_tasks(experiment.quality)
    check_goal(experiment, plan)
    for workload in experiment.workloads:
        for note in input_notes(workload):
            print_line(f"note: {note}")
    if host is not None:
        host.check()
    if cluster is not None:
        cluster.connect(max((planned.asked.options for planned in plan), key=gpus_of_session))


def _measure(runner: Runner, writer: RunWriter) -> bool:
    """Run, then report whatever is finished; whether every cell was measured and the report written."""
    try:
        status = runner.run()
    except OSError as error:
        status = "interrupted"
        print_line(f"stopped: {describe_os_error(error)}; finished trials are kept, fix it and add --resume")
    finally:
        for kept in writer.broken_off():
            print_line(where_kept(kept))
        reported = report_finished(writer.path)
    return status == "complete" and reported
