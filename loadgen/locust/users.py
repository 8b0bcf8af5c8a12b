"""The workloads as Locust users: for load from several machines, and for Locust's web page to watch it.

`prunebench load --driver locust` starts a master and its workers with this file; a worker on another machine is

    prunebench load-worker HOST:PORT

The master reads the load (`loadgen.locust.shared_load`) and sends it to the workers when all users are there; every worker sends
its request records back once a second; the master writes them as they arrive, and ends when all are done.

In Locust's own statistics a request is `POST` and its path with its whole duration; `TTFT`, `TPOT` (milliseconds) and
`tokens` (a number, in the column of milliseconds) are entries beside it. They are for watching: Locust rounds percentiles to
two digits. The figures of a trial come from the records. gevent's patches hold for these processes alone.
"""

from __future__ import annotations

from typing import Any, ClassVar

import gevent.event
from locust import User, events
from locust.runners import MasterRunner, WorkerRunner

from loadgen.locust.master import Master
from loadgen.locust.worker import Worker


class PrunebenchUser(User):  # type: ignore[misc]  # Locust ships no types
    """One user of the load; what all users of a process do is in its `Worker`."""

    worker: ClassVar[Worker]

    def run(self) -> None:
        """Instead of Locust's own loop over tasks."""
        self.worker.use()
        gevent.event.Event().wait()  # until the test is stopped: a user that returns is gone from the count


@events.init.add_listener  # type: ignore[untyped-decorator]  # as above
def _on_init(environment: Any, **_: Any) -> None:
    runner = environment.runner
    if isinstance(runner, WorkerRunner):
        PrunebenchUser.worker = Worker(environment)
        runner.register_message("prunebench-load", PrunebenchUser.worker.begin)
    elif isinstance(runner, MasterRunner):
        master = Master(environment)
        runner.register_message("prunebench-records", master.gather)
        runner.register_message("prunebench-refusal", master.give_up)
        environment.events.spawning_complete.add_listener(master.begin)
