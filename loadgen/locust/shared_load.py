"""The messages of a Locust load's processes: the load, each worker's share of it, and the records."""

from __future__ import annotations

import io
import itertools
import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from base.records import Record
from loadgen.endpoint import Endpoint, LoadError
from loadgen.prompts.base import Prompts
from loadgen.prompts.mixed import mix_prompts
from loadgen.prompts.sessions import FileSessions, Sessions, plan_sessions
from loadgen.prompts.synthetic import FilePrompts, make_prompts
from loadgen.records.arrow import ArrowStream, read_batches
from loadgen.records.batch import Batch
from loadgen.records.schema import RequestRecord
from loadgen.records.table import Records
from loadgen.workloads.base import Workload

LOAD_VARIABLE, KEY_VARIABLE, HEADERS_VARIABLE = "PRUNEBENCH_LOCUST_LOAD", "PRUNEBENCH_API_KEY", "PRUNEBENCH_HEADERS"
_BOOT = Path("/proc/sys/kernel/random/boot_id")


class SharedLoad(Record):
    """Everything a worker needs, but for what may be secret: the API key and the headers are in the environment of every worker."""

    url: str
    model: str
    timeout_s: float
    workload: Workload
    seed: int
    workers: int
    idle_timeout_s: float | None = None
    headers: list[str] = []  # names of those that the user added
    records: Path = Path()  # where the master writes records as they arrive, an Arrow stream
    result: Path = Path()  # where it writes the rest when all workers are done
    tokens: str | list[int] | None = None  # a tokenizer.json, or ids that stand for words
    texts: list[list[Any] | None] = [None]  # the user's own prompts, or chats, of each part; None: synthetic

    def with_absolute_paths(self) -> SharedLoad:
        """The same load for processes that work in another folder, as Locust's do."""
        files = {field: path.absolute() for field, path in self.workload.files.items()}
        return self.model_copy(update={"workload": self.workload.model_copy(update=files)})

    def endpoint(self, environment: Mapping[str, str]) -> Endpoint:
        """The server under load. Raises LoadError for a worker whose headers are not the load's."""
        headers = tuple((name, value) for name, value in json.loads(environment.get(HEADERS_VARIABLE) or "[]"))
        own, wanted = ({name.lower() for name in names} for names in ((name for name, _ in headers), self.headers))
        for names, what in ((wanted - own, "has no"), (own - wanted, "has another")):
            if names:
                raise LoadError(f"a worker {what} --header {min(names)}: give load-worker those of the load")
        return Endpoint(
            self.url,
            self.model,
            api_key=environment.get(KEY_VARIABLE),
            headers=headers,
            timeout_s=self.timeout_s,
            idle_timeout_s=self.idle_timeout_s,
        )

    def prompts(self) -> Prompts:
        """The same row for every worker."""
        tokens = Tokenizer.from_str(self.tokens) if isinstance(self.tokens, str) else self.tokens or []
        texts = iter(self.texts)

        def of_part(one: Workload, seed: int) -> Prompts:
            own = next(texts)
            if own is None:
                return make_prompts(one, tokens, seed)
            return FileSessions(own) if one.holds_sessions else FilePrompts(own)

        return mix_prompts(self.workload, self.seed, of_part)

    @property
    def users(self) -> int:
        """Locust users: those of a closed loop; else one a worker, which sends on schedule."""
        closed = None if self.workload.group_size is not None else self.workload.in_flight
        return closed or self.workers

    def check(self) -> None:
        """Raise LoadError if the load's number of workers cannot share the workload."""
        if self.workload.sequential and self.workers > 1:
            raise LoadError(
                f"--workers {self.workers}: a {self.workload.kind} workload has a single user; give --workers 1"
            )
        if len(self.workload.flows) > 1:
            raise LoadError("--parts with arrivals of their own: only for the native driver; leave out --driver locust")
        if self.workload.sends_lists:
            raise LoadError("--batch-as list: only for the native driver; leave out --driver locust")
        if self.users % self.workers:
            *_, (begins, _) = self.workload.users()
            flag = "--end-concurrency" if begins else "--concurrency"
            raise LoadError(f"{flag} {self.users}: must be a multiple of --workers {self.workers}")


@dataclass(frozen=True)
class Share:
    """The part of one worker: of N workers, every N-th request and user."""

    shared: SharedLoad
    worker: int

    def is_mine(self, index: int) -> bool:
        """Whether a request is this worker's."""
        return index % self.shared.workers == self.worker

    def indices(self, began_ns: int) -> Iterator[int]:
        """The requests of a closed loop, until there are no more or the time is up."""
        mine = itertools.count(self.worker, self.shared.workers)
        if self.shared.workload.requests is not None:
            return itertools.takewhile(lambda index: index < (self.shared.workload.requests or 0), mine)
        end_ns = began_ns + round((self.shared.workload.duration_s or 0) * 1e9)
        return itertools.takewhile(lambda _: time.monotonic_ns() < end_ns, mine)

    def sessions(self, sessions: Sessions) -> Iterator[tuple[int, int]]:
        """The sessions of this worker, with the number of each one's first request (`plan_sessions`)."""
        planned = plan_sessions(sessions, self.shared.workload.requests)
        return (each for each in planned if self.is_mine(each[0]))

    def users(self) -> list[tuple[float, float]]:
        """From when and until when this worker's users send requests, in seconds."""
        if self.shared.workload.in_flight is None or self.shared.workload.group_size is not None:
            return [(0.0, math.inf)]
        return self.shared.workload.users()[self.worker :: self.shared.workers]


def in_environment(api_key: str | None, headers: Sequence[tuple[str, str]]) -> dict[str, str]:
    """The variables by which a worker has what `SharedLoad` leaves out."""
    return {HEADERS_VARIABLE: json.dumps(headers), **({KEY_VARIABLE: api_key} if api_key else {})}


class ClockReading(Record):
    """The two clocks of a machine at one moment, and which run of which machine it is."""

    boot: str
    monotonic_ns: int
    wall_ns: int

    @classmethod
    def now(cls) -> ClockReading:
        """Those of this machine."""
        boot = _BOOT.read_text().strip() if _BOOT.exists() else ""
        return cls(boot=boot, monotonic_ns=time.monotonic_ns(), wall_ns=time.time_ns())

    def offset_to(self, other: ClockReading) -> int:
        """What to add to the other machine's monotonic times to have them on this one's clock.

        On one machine the monotonic clock is one; between two the wall clocks are the bridge, as exact as they are set.
        """
        if self.boot and self.boot == other.boot:
            return 0
        return (other.wall_ns - other.monotonic_ns) - (self.wall_ns - self.monotonic_ns)


_TIMES = ("scheduled_ns", "sent_ns", "headers_ns", "first_token_ns", "last_token_ns", "end_ns")


def packed(records: list[RequestRecord]) -> bytes:
    """Records as an Arrow stream, to travel in a message."""
    sink = io.BytesIO()
    stream = ArrowStream(sink)
    stream.write(Batch.of(records))
    stream.close()
    return sink.getvalue()


def unpacked(data: bytes, offset_ns: int) -> list[RequestRecord]:
    """The same records, their times moved onto another clock."""
    records = list(Records(list(read_batches(io.BytesIO(data)))))
    for record in records if offset_ns else []:
        for name in _TIMES:
            at = getattr(record, name)
            setattr(record, name, None if at is None else at + offset_ns)
        record.arrival_ns = [at + offset_ns for at in record.arrival_ns]
    return records
