"""Ray: connect to a cluster, run sessions (`prunebench.cluster.session`) on its nodes, receive their results."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from prunebench.cluster.session import Arrival, Delivery, Job, run_job
from prunebench.experiment.file import ExperimentError
from reports.runs.records.configuration import gpus_of

_POLL_S = 1.0
_ANSWER_S = 10.0
_LEAVE_S = 20.0


def gpus_of_session(options: Mapping[str, str]) -> int:
    """The GPUs of one server, and so of one session. Raises ExperimentError naming the option to fix."""
    if options.get("distributed_executor_backend") == "ray":
        raise ExperimentError(
            "serve.options.distributed_executor_backend: ray has vLLM wait for GPUs that --executor ray holds; leave out one of them"
        )
    try:
        return gpus_of(options)
    except ValueError as error:
        raise ExperimentError(f"serve.options.{error}") from None


class SessionLostError(Exception):
    """A session ended without an error of its own: its node or its process is gone."""


class SessionError(Exception):
    """A session failed; the message is its own."""


@dataclass
class RayCluster:
    """A cluster, connected from `connect` to `leave`."""

    address: str | None  # HOST:PORT; None: the cluster that this machine is part of, else one of this machine alone
    _takes: dict[str, float] = field(default_factory=dict)  # what one session takes of a node, by Ray's names

    def connect(self, options: Mapping[str, str]) -> None:
        """Connect, and find what a session takes of a node: the GPUs of one server, or without GPUs the whole node.

        Raises ExperimentError if Ray is not installed, if the cluster does not answer, and if no node has enough.
        """
        gpus = gpus_of_session(options)
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            import ray
        except ImportError:
            raise ExperimentError('--executor ray needs Ray: pip install "prunebench[ray]"') from None
        self._check_address()
        try:
            with contextlib.chdir("/"):  # Ray puts the driver's working folder first on the path of its workers
                ray.init(
                    address=self.address, log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False
                )
        except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            where = f"--address {self.address}" if self.address else "--executor ray"
            raise ExperimentError(f"{where}: {_first_sentence(error)}") from None
        nodes = self._nodes()
        if any(node.get("GPU") for node in nodes):
            self._takes = {"CPU": 1, "GPU": gpus}
        else:
            self._takes = {"CPU": min((node["CPU"] for node in nodes if node.get("CPU")), default=1), "GPU": 0}
        if not self.has_room() or (gpus > 1 and not self._takes["GPU"]):
            raise ExperimentError(f"--executor ray: no node of the cluster has {gpus} GPU{'s' * (gpus > 1)} and a CPU")

    def _check_address(self) -> None:
        """Raise ExperimentError if nothing listens there: Ray itself would retry for minutes."""
        if self.address is None:
            return
        host, _, port = self.address.rpartition(":")
        if not host or "/" in host or not port.isdecimal():
            raise ExperimentError(
                f"--address {self.address}: must be HOST:PORT, on a machine that is part of the cluster"
            )
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_S).close()
        except (OSError, OverflowError) as error:
            raise ExperimentError(f"--address {self.address}: no Ray cluster answers there: {error}") from None

    def has_room(self) -> bool:
        """Whether some node that is alive could hold a session, if it were free."""
        return self.places() > 0

    def places(self) -> int:
        """The sessions that the nodes that are alive could hold at once, if they were free."""
        taken = {kind: amount for kind, amount in self._takes.items() if amount}
        return sum(min(int(node.get(kind, 0) // amount) for kind, amount in taken.items()) for node in self._nodes())

    def submit(self, job: Job) -> Any:
        """Queue a session and return the stream of its results; Ray starts it once there is room, spreading sessions over nodes."""
        import ray

        cpus, gpus = self._takes["CPU"], self._takes["GPU"]
        task = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=0, scheduling_strategy="SPREAD")(run_job)
        return task.remote(job, own_threads=str(max(int(cpus), 1)))

    def next_of(self, streams: Sequence[Any]) -> Any | None:
        """A stream with a result, or one that has ended; None after a second without any."""
        import ray

        ready, _ = ray.wait(list(streams), num_returns=1, timeout=_POLL_S)
        return ready[0] if ready else None

    def take(self, stream: Any) -> Arrival | Delivery | None:
        """The next result of a session; None at its end. Raises SessionError and SessionLostError."""
        import ray
        from ray.exceptions import RayError, RayTaskError

        try:
            taken: Arrival | Delivery = ray.get(next(stream))
        except StopIteration:
            return None
        except RayTaskError as error:
            raise SessionError(_first_sentence(error.cause)) from None
        except RayError as error:
            raise SessionLostError(_first_sentence(error)) from None
        return taken

    def leave(self, streams: Sequence[Any]) -> None:
        """Disconnect. Running sessions are cancelled, and killed by Ray if they do not end."""
        import ray

        for stream in streams:
            ray.cancel(stream)
        left, deadline = list(streams), time.monotonic() + _LEAVE_S
        while left and time.monotonic() < deadline:
            stream = self.next_of(left)
            with contextlib.suppress(SessionError, SessionLostError):
                if stream is None or self.take(stream) is not None:
                    continue
            left.remove(stream)
        ray.shutdown()

    def _nodes(self) -> list[dict[str, float]]:
        import ray

        return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _first_sentence(error: BaseException) -> str:
    """Of an error of Ray's, which has several paragraphs."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0].partition(". ")[0]
