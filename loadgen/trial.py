"""One trial: warm up, offer the workload, record every request, meter the window.

Client processes (`loadgen.client.process`) offer the load; this process parses the answers, keeps the records and asks the server
for everything that is not measured.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from energy.records import PowerTimeline, WindowEnergy
from loadgen.client.polling import PAUSE_NS
from loadgen.endpoint import Endpoint, LoadError
from loadgen.energy.source import EnergySource
from loadgen.link.background import in_background
from loadgen.link.client_processes import Clients
from loadgen.link.client_watch import ClientWatch
from loadgen.link.interrupt import Interrupt
from loadgen.link.messages import Ended, Finished, Job, Part, Ready, Steadiness
from loadgen.metrics.client_health import client_health
from loadgen.metrics.read_lag import LagHistogram
from loadgen.metrics.steady_state import metered_warm_up, steady_state
from loadgen.metrics.window import cut_window
from loadgen.prompts.base import Prompts
from loadgen.prompts.request_body import part_forms, request_form
from loadgen.records.schema import RequestRecord, Trial, WarmUp, WindowRules
from loadgen.records.table import Records
from loadgen.results.recorder import Recorder
from loadgen.results.result import TrialResult
from loadgen.results.server_counters import (
    ACCEPTED,
    DRAFTED,
    GENERATED,
    PREEMPTIONS,
    PREFIX_HITS,
    change,
    server_counters,
)
from loadgen.workloads.base import Workload

_TOGETHER_NS = 2_000_000  # lead before the load starts, so that several processes start together
_LEAD_NS = 10**9  # of power kept before the first request and after the last


class Watcher:
    """Callbacks that follow a trial while it runs; these do nothing."""

    def started(self) -> None:
        """The measured load starts now."""

    def tokens(self, at_ns: int, count: int) -> None:
        """`count` output tokens have arrived since the last call, up to `at_ns`."""

    def finished(self, record: RequestRecord) -> None:
        """A measured request has ended."""

    def tick(self) -> None:
        """Called several times a second."""


def run_trial(
    endpoint: Endpoint,
    workload: Workload,
    prompts: Prompts,
    *,
    seed: int,
    energy: EnergySource,
    idle: WindowEnergy | None = None,
    until: Steadiness | None = None,
    processes: int = 1,
    keep: Path | None = None,
    count_tokens: Callable[[str], int] | None = None,
    watcher: Watcher | None = None,
    window_rules: WindowRules = 2,
    interrupt: Interrupt | None = None,
) -> TrialResult:
    """Measure one trial; blocks until it is over.

    The warm-up has the workload's `warmup_requests`, and with `until` as many more as it takes to be steady.
    `processes` share the load; prompts must be picklable, and are the same for any number of processes.
    `keep`: a file to which records are written as requests end, so that `recorder.read_stream` recovers them if this process
    is killed; the caller removes it after it has written the trial. `count_tokens` counts the tokens of answers whose server does
    not. `window_rules` 1 is for resuming a run that was recorded under them. Failed requests are records with an error. Raises LoadError if
    the whole warm-up failed, or if no request reached the server. KeyboardInterrupt ends the clients and is raised again.
    With `interrupt`, Ctrl-C after the load has begun ends it, and the trial holds the requests that had ended, without those in
    flight; KeyboardInterrupt if none had.
    """
    watcher = watcher or Watcher()
    started_at = datetime.now(UTC).isoformat(timespec="seconds")
    lanes = _lanes(workload, processes)
    jobs = [Job(endpoint, workload, prompts, seed, until, lane, lanes) for lane in range(lanes)]
    recorder = Recorder(
        workload,
        seed,
        prompts=prompts,
        file=keep,
        count_tokens=count_tokens,
        on_finished=watcher.finished,
        on_tokens=watcher.tokens,
    )
    with recorder, Clients(jobs) as clients:
        warmup = warmed_up(clients.ready())
        warmed_ns = time.monotonic_ns()
        before = server_counters(endpoint)
        if interrupt is not None:
            interrupt.note()
        interrupt = interrupt or Interrupt()
        watcher.started()
        clients.start(time.monotonic_ns() + _TOGETHER_NS)
        read = partial(_read_answers, clients, recorder, watcher, interrupt)
        # A session's next turn waits for what was read of the last.
        finished = read() if workload.holds_sessions else in_background(read, clients.stop_reading)
    records = recorder.records()
    if interrupt.came and not records:
        raise KeyboardInterrupt
    load = FinishedLoad(
        records,
        [each.watch for each in finished],
        recorder.lags,
        started_at,
        before,
        warmup,
        warmed_ns,
        lanes,
        read_pause_ms=PAUSE_NS / 1e6,
    )
    result = as_trial(
        endpoint,
        workload,
        prompts,
        seed,
        load,
        energy=energy,
        idle=idle,
        window_rules=window_rules,
        interrupt=interrupt,
    )
    return replace(result, stalled=any(each.stalled for each in finished))


def _read_answers(clients: Clients, recorder: Recorder, watcher: Watcher, interrupt: Interrupt) -> list[Finished]:
    """Until the load has ended."""
    finished: list[Finished] = []
    for message in clients.messages(recorder.tick, watcher.tick, interrupt=interrupt):
        if isinstance(message, Part):
            recorder.part(message)
        elif isinstance(message, Ended):
            said = recorder.ended(message)
            if message.send_back:  # of a session, whose number says which process holds it
                clients.reply(message.group, said)
        elif isinstance(message, Finished):
            finished.append(message)
    return finished


@dataclass(frozen=True)
class FinishedLoad:
    """A driver's finished load: the records, the health of its processes, and the counters before it."""

    records: Records
    watches: list[ClientWatch]
    lags: LagHistogram
    started_at: str
    counters_before: dict[str, float]  # `server_counters` when the warm-up was over
    warmup: WarmUp | None = None
    warmed_ns: int = 0  # when the warm-up ended
    lanes: int = 1
    read_pause_ms: float = 0.0  # between two looks at the sockets


def as_trial(
    endpoint: Endpoint,
    workload: Workload,
    prompts: Prompts,
    seed: int,
    load: FinishedLoad,
    *,
    energy: EnergySource,
    idle: WindowEnergy | None,
    window_rules: WindowRules = 2,
    interrupt: Interrupt | None = None,
) -> TrialResult:
    """Cut the window, meter it, read the server's counters. Raises LoadError if no request reached the server.

    After a Ctrl-C, meters and counters that do not answer within seconds are left out.
    """
    interrupt = interrupt or Interrupt()
    records = load.records
    if not len(records.times("sent_ns")):
        raise LoadError(
            f"{endpoint.url}: no request could be sent: {records[0].error if records else 'there were none'}"
        )
    start, end, rule, generations = cut_window(workload, records, lanes=load.lanes, rules=window_rules)
    unread = WindowEnergy(start_ns=start, end_ns=end, reason="the load was interrupted before the meters had answered")
    joules = interrupt.bounded(lambda: energy.over(start, end, idle=idle), unread)

    def over(begin: int, finish: int) -> WindowEnergy:
        none = unread.model_copy(update={"start_ns": begin, "end_ns": finish})
        return interrupt.bounded(lambda: energy.over(begin, finish), none)

    after = interrupt.bounded(lambda: server_counters(endpoint), dict[str, float]())
    trial = Trial(
        url=endpoint.url,
        model=endpoint.model,
        workload=workload,
        seed=seed,
        form=request_form(endpoint.model, workload, prompts, seed),
        part_forms=part_forms(endpoint.model, workload, prompts, seed),
        headers=[name for name, _ in endpoint.headers],
        request_timeout_s=endpoint.timeout_s,
        idle_timeout_s=endpoint.idle_timeout_s,
        window_start_ns=start,
        window_end_ns=end,
        window_rule=rule,
        window_rules=window_rules,
        generations=generations,
        first_sent_ns=int(records.times("sent_ns").min()),
        last_end_ns=int(records.times("end_ns").max()),
        started_at=load.started_at,
        client=client_health(
            workload, records, load.watches, load.lags, read_pause_ms=load.read_pause_ms, start_ns=start, end_ns=end
        ),
        energy=joules,
        warmup=load.warmup and metered_warm_up(load.warmup, load.warmed_ns, over),
        steady_state=steady_state(workload, records, over),
        interrupted=interrupt.came,
        server_prefix_hit_tokens=change(load.counters_before, after, PREFIX_HITS),
        server_generated_tokens=change(load.counters_before, after, GENERATED),
        server_preemptions=change(load.counters_before, after, PREEMPTIONS),
        server_draft_tokens=change(load.counters_before, after, DRAFTED),
        server_accepted_tokens=change(load.counters_before, after, ACCEPTED),
    )
    first, last = trial.first_sent_ns - _LEAD_NS, trial.last_end_ns + _LEAD_NS
    power = interrupt.bounded(lambda: energy.power(first, last), PowerTimeline(meters=[]))
    return TrialResult(trial, records, power)


def _lanes(workload: Workload, processes: int) -> int:
    """The number of client processes. Raises LoadError where they cannot share the load."""
    together = workload.in_flight
    if processes > 1 and workload.sequential:
        raise LoadError(
            f"--processes {processes}: a {workload.kind} load waits for its own answers, so one process sends it; leave it out"
        )
    if together is not None and processes > together:
        raise LoadError(f"--processes {processes}: at most {together}, the number of requests in flight")
    return processes


def warmed_up(ready: list[Ready]) -> WarmUp:
    """The warm-up of all processes together, as steady as the least steady. Raises LoadError if one failed."""
    for each in ready:
        if each.error is not None:
            raise LoadError(each.error)
    parts = [each.warmup for each in ready if each.warmup is not None]
    worst = max(parts, key=lambda part: abs(part.change or 0.0))
    return worst.model_copy(
        update={
            "requests": sum(part.requests for part in parts),
            "groups": max(part.groups for part in parts),
            "seconds": max(part.seconds for part in parts),
            "steady": None if worst.steady is None else all(part.steady for part in parts),
        }
    )
