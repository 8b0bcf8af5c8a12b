"""The servers of configurations: started here, by a `prunebench host`, or joined at their addresses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from base.errors import UserError
from base.key_file import read_key
from energy.gpu_limits import GpuLimiter, GpuLimitError, GpuLimits
from loadgen.energy.source import EnergySource, pick_energy
from prunebench.experiment.file import Experiment, ExperimentError
from prunebench.experiment.plan import Planned
from prunebench.experiment.tables.configuration import Configuration
from prunebench.servers.command_line import CommandLine
from prunebench.servers.commands import Command, ServerCommand
from prunebench.servers.joined import join_server
from prunebench.servers.process import RunningServer, Server, launch_server, start_server
from prunebench.servers.remote import RemoteHost
from prunebench.servers.run_servers import ServerPool
from prunebench.terminal.progress import Progress, Steps, unseen
from reports.runs.records.configuration import ConfigurationInfo
from server.engines.registry import AUTO, choose_engine


class ConfigurationServers:
    """The servers of a run's configurations, each with its logs, and under the limits of the GPUs that it asks for."""

    def __init__(
        self,
        experiment: Experiment,
        configurations: Mapping[str, ConfigurationInfo],
        logs: Path,
        host: RemoteHost | None = None,
    ) -> None:
        self._experiment = experiment
        self._configurations = configurations
        self._logs = logs
        self._host = host
        self._limiter = GpuLimiter()
        self._together: list[str] = []  # to be started side by side with the first that is acquired
        self.pool = ServerPool(self._start, keep=experiment.serve.keep_servers)

    def prepare(self, labels: Sequence[str], steps: Steps) -> None:
        """Start the server of every `command` once, before anything is measured. Raises ExperimentError for one that does not come up."""
        for label in labels:
            info = self._configurations[label]
            if info.command is None or info.described:
                continue
            steps.advance(0, f"{label}: trying its command")
            try:
                self.pool.acquire(label, steps.part)
            except UserError as error:
                raise ExperimentError(f"configuration {label}: command: {error}") from None
        if self._host is None:
            self._together = [label for label in labels if starts_together(self._experiment, label)]

    def acquire(self, label: str, progress: Progress = unseen) -> Server:
        """A configuration's server, started if it is not up, with the others that may start beside it. Raises what its start raises."""
        self._start_together(progress)
        self._limiter.set(self._experiment.asked(label).gpu_limits)
        return self.pool.acquire(label, progress)

    def acquire_metered(self, label: str, progress: Progress = unseen) -> tuple[Server, EnergySource]:
        """The server, and its meters."""
        server = self.acquire(label, progress)
        source = self._experiment.asked(label).energy or self._experiment.energy.source
        return server, pick_energy(source, server.endpoint)

    def close(self) -> None:
        """End the servers, and restore the GPUs' limits; servers of a host keep running."""
        try:
            if self._host is None:
                self.pool.close()
        finally:
            self._limiter.close()

    def _start(self, label: str, progress: Progress) -> Server:
        info = self._configurations[label]
        return serve_configuration(self._experiment, info, self._log(label), self._host, progress)

    def _start_together(self, progress: Progress) -> None:
        labels, self._together = [label for label in self._together if not self.pool.is_up(label)], []
        if len(labels) < 2:
            return
        launches = {
            label: partial(launch_configuration, self._experiment, self._configurations[label], self._log(label))
            for label in labels
        }
        self.pool.start_together(launches, self._experiment.serve.start_timeout_s, progress)

    def _log(self, label: str) -> Path:
        return self._logs / f"{label}.log"


def serve_configuration(
    experiment: Experiment, info: ConfigurationInfo, log: Path, host: RemoteHost | None, progress: Progress
) -> Server:
    """A healthy server. Raises ServerStartError or LoadError."""
    asked = experiment.asked(info.label)
    start_s, request_s = experiment.serve.start_timeout_s, experiment.protocol.request_timeout_s
    if asked.url is not None:
        key = None if asked.api_key_file is None else read_key(asked.api_key_file, "api_key_file")
        return join_server(asked.url, asked.model, key, request_timeout_s=request_s, headers=asked.endpoint_headers())
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
            join_server(one.url, one.model, key, request_timeout_s=1.0, headers=one.endpoint_headers())
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
