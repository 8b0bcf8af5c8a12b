"""The master of a Locust load: it sends the load to the workers and writes what comes back."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import gevent

from base.files import write_text
from loadgen.locust.shared_load import LOAD_VARIABLE, ClockReading, SharedLoad, unpacked
from loadgen.records.arrow import ArrowStream
from loadgen.records.batch import Batch

_LEAD_S = 2.0  # from the message to the workers to the first request: they are busy with their users, and make ready
_SETTLE_S = 10.0  # for the workers' last statistics


class Master:
    """Sends the load, and writes the records that come back."""

    def __init__(self, environment: Any) -> None:
        self._environment = environment
        self._load = SharedLoad.model_validate_json(Path(os.environ[LOAD_VARIABLE]).read_bytes())
        self._clock = ClockReading.now()
        self._health: dict[int, dict[str, Any]] = {}
        self._gathered = 0
        self._file = self._load.records.open("wb", buffering=0)
        self._stream = ArrowStream(self._file)

    def begin(self, **_: Any) -> None:
        """All users are spawned: send the workers the load and the moment to start."""
        begins_ns = time.monotonic_ns() + round(_LEAD_S * 1e9)
        data = {"load": self._load.model_dump_json(), "begins_ns": begins_ns, "clock": self._clock.model_dump()}
        self._environment.runner.send_message("prunebench-load", data)

    def gather(self, environment: Any, msg: Any) -> None:  # noqa: ARG002 - Locust calls by these names
        """Take what a worker reports; end when it was the last of them."""
        offset_ns = self._clock.offset_to(ClockReading.model_validate(msg.data["clock"]))
        records = unpacked(msg.data["records"], offset_ns)
        self._gathered += len(records)
        self._stream.write(Batch.of(records))
        health = msg.data["health"]
        if health is not None:
            health["at_ns"] = [at + offset_ns for at in health["at_ns"]]
            health["seconds"] = {int(at) + offset_ns // 10**9: counts for at, counts in health["seconds"].items()}
            self._health[msg.data["worker"]] = health
            if len(self._health) == self._load.workers:
                gevent.spawn(self._finish)

    def give_up(self, environment: Any, msg: Any) -> None:  # noqa: ARG002 - Locust calls by these names
        """End without a load: a worker cannot take it."""
        if not self._load.result.exists():
            write_text(self._load.result, json.dumps({"refusal": msg.data["reason"]}))
            self._quit()

    def _counted(self) -> int:
        """Requests in Locust's own statistics, which the workers send every few seconds."""
        return sum(entry.num_requests for entry in self._environment.stats.entries.values() if entry.method == "POST")

    def _finish(self) -> None:
        runner = self._environment.runner
        runner.stop()  # the workers send their last statistics then
        deadline = time.monotonic() + _SETTLE_S
        while self._counted() < self._gathered and time.monotonic() < deadline:
            gevent.sleep(0.05)
        self._stream.close()
        self._environment.process_exit_code = 0  # failed requests are in the records
        entries = self._environment.stats.entries.values()
        found = {
            "health": list(self._health.values()),
            "statistics": {
                f"{e.method} {e.name}": {
                    "requests": e.num_requests,
                    "failures": e.num_failures,
                    "sum": e.total_response_time,
                }
                for e in entries
            },
        }
        write_text(self._load.result, json.dumps(found))
        self._quit()

    def _quit(self) -> None:
        self._environment.runner.quit()
        if self._environment.web_ui is not None:
            self._environment.web_ui.stop()  # what the process waits for when it has a page
