"""The server of a configuration: started here, by a `prunebench host`, or joined at its address."""

from __future__ import annotations

from pathlib import Path

from base.errors import UserError
from base.key_file import read_key
from energy.gpu_limits import GpuLimiter, GpuLimitError, GpuLimits
from prunebench.experiment.configuration import Configuration
from prunebench.experiment.file import Experiment, ExperimentError
from prunebench.experiment.plan import Planned
from prunebench.servers.command_line import CommandLine
from prunebench.servers.commands import Command, ServerCommand
from prunebench.servers.joined import join_server
from prunebench.servers.process import RunningServer, Server, launch_server, start_server
from prunebench.servers.remote import RemoteHost
from prunebench.terminal.progress import Progress
from reports.runs.records import ConfigurationInfo
from server.engines.registry import AUTO, choose_engine


def serve_configuration(
    experiment: Experiment, info: ConfigurationInfo, log: Path, host: RemoteHost | None, progress: Progress
) -> Server:
    """A healthy server. Raises ServerStartError or LoadError."""
    asked = experiment.asked(info.label)
    start_s, request_s = experiment.serve.start_timeout_s, experiment.protocol.request_timeout_s
    if asked.url is not None:
        key = None if asked.api_key_file is None else read_key(asked.api_key_file, "api_key_file")
        return join_server(asked.url, asked.model, key, request_timeout_s=request_s)
    command = _command(experiment, info)
    if host is not None and isinstance(command, ServerCommand):
        progress(0, 0, f"{info.label}, server starting on {host.url}")
        return host.start(info.label, command, start_timeout_s=start_s, request_timeout_s=request_s)
    return start_server(command, log, start_timeout_s=start_s, request_timeout_s=request_s, progress=progress)


def starts_together(experiment: Experiment, label: str) -> bool:
    """Whether a configuration's server may start beside others: they are kept, and its engine does not mind."""
    asked = experiment.asked(label)
    if not experiment.serve.keep_servers or asked.url is not None or asked.command is not None:
        return False
    return choose_engine(asked.engine or AUTO).starts_together


def launch_configuration(experiment: Experiment, info: ConfigurationInfo, log: Path) -> RunningServer:
    """The process of a configuration's server, without waiting for it."""
    return launch_server(_command(experiment, info), log, request_timeout_s=experiment.protocol.request_timeout_s)


def _command(experiment: Experiment, info: ConfigurationInfo) -> Command:
    """What starts a configuration's server; it has no `url`."""
    asked = experiment.asked(info.label)
    checkpoint = None if info.checkpoint is None else Path(info.checkpoint)
    if asked.command is not None:
        return CommandLine(asked.command, checkpoint, asked.model, asked.health, asked.environment)
    assert checkpoint is not None  # noqa: S101 - all others have one
    assert info.model is not None  # noqa: S101
    watts = experiment.energy.modelled_watts_per_core
    options = asked.options | _draft_options(asked, info)
    return ServerCommand(checkpoint, info.model, asked.engine or AUTO, options, watts, environment=asked.environment)


def _draft_options(asked: Configuration, info: ConfigurationInfo) -> dict[str, str]:
    """The options of its engine that `speculative` stands for."""
    wanted = asked.speculative
    if wanted is None or info.checkpoint is None:
        return {}
    made = choose_engine(asked.engine or AUTO).draft_options
    return {} if made is None else dict(made(None if info.draft is None else Path(info.draft), wanted.tokens))


def check_addresses(plan: list[Planned]) -> None:
    """Raises ExperimentError for a `url` that does not answer, or serves another model than said."""
    for one in (planned.asked for planned in plan):
        if one.url is None:
            continue
        try:
            key = None if one.api_key_file is None else read_key(one.api_key_file, "api_key_file")
            join_server(one.url, one.model, key, request_timeout_s=1.0)
        except UserError as error:
            raise ExperimentError(f"configuration {one.label}: {f'{error}'.replace('--model', 'model')}") from None


def check_gpu_limits(plan: list[Planned], *, allowed: bool) -> None:
    """Set every `power_limit_w` and `clock_mhz` once, and restore. Raises ExperimentError without the leave or the right to."""
    limited = [planned.asked for planned in plan if planned.asked.gpu_limits != GpuLimits()]
    if limited and not allowed:
        raise ExperimentError(
            f"configuration {limited[0].label}: power_limit_w and clock_mhz set this machine's GPUs: allow it by --may-set-gpu-limits"
        )
    limiter = GpuLimiter()
    try:
        for one in limited:
            try:
                limiter.set(one.gpu_limits)
            except GpuLimitError as error:
                raise ExperimentError(f"configuration {one.label}: {error}") from None
    finally:
        limiter.close()


def check_placement(plan: list[Planned], option: str) -> None:
    """Raises ExperimentError for what can only be served by the machine that runs, where `option` has others serve."""
    for one in (planned.asked for planned in plan):
        key = next((key for key in ("url", "command") if getattr(one, key) is not None), None)
        if key is not None:
            raise ExperimentError(f"configuration {one.label}: {key} does not go with {option}, whose machines serve")
        if one.gpu_limits != GpuLimits():
            raise ExperimentError(
                f"configuration {one.label}: power_limit_w and clock_mhz do not go with {option}, whose machines serve"
            )
        if one.environment and option == "--serve-on":
            raise ExperimentError(f"configuration {one.label}: a host sets no environment variables for a request")
