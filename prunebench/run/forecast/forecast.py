"""How long the cells of a run will take and how much disk they will use.

Every figure is an estimate, with its assumptions in words. What can be known is not assumed: widths and bytes of the
checkpoints, the length of loads that have one, the rests and idle measurements, the times of the synthetic engine.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from base.quantities import SECONDS
from base.records import Record
from loadgen.client.warmup import FEWEST_GROUPS
from loadgen.workloads.base import Workload
from prunebench.experiment.tables.configuration import Configuration
from prunebench.experiment.file import Experiment, ExperimentError
from prunebench.experiment.tables.protocol import Protocol
from prunebench.experiment.plan import Planned
from prunebench.experiment.smallest_effect import FamilyForecast
from prunebench.experiment.treatment import treatment
from prunebench.run.describe import AFTER_LOAD_S, visit_idle
from prunebench.run.folder.resume import CellState
from prunebench.run.schedule import Order, Visit
from prunebench.run.serving import starts_together
from prunebench.servers.run_servers import starts_at_once
from reports.analysis.order import describe_order, imbalance
from reports.runs.records.cells import TrialCell
from server.engines.registry import find_engine

_AUTO_START_S = 30.0  # of an engine that the serving machine chooses
_BYTES_A_REQUEST, _BYTES_A_TOKEN = 150, 6  # of requests.parquet; timestamps of tokens hardly compress
_BYTES_A_TRIAL, _BYTES_A_REPORT = 20_000, 12_000_000


@dataclass(frozen=True)
class Assumptions:
    """What the forecast does not know, seconds. None: the engine's own default."""

    ttft_s: float = 0.2
    tpot_s: float = 0.02
    start_s: float | None = None

    @classmethod
    def parse(cls, text: str | None) -> Assumptions:
        """Such as "ttft=200ms,tpot=20ms,start=60s". Raises ExperimentError naming the part to fix."""
        given: dict[str, float] = {}
        for part in (text or "").split(",") if text else []:
            name, _, value = part.strip().partition("=")
            try:
                seconds = float(SECONDS.read(value))
            except ValueError:
                seconds = -1.0
            if name not in {"ttft", "tpot", "start"} or not 0 <= seconds < math.inf:
                raise ExperimentError(f"--assume {part}: must be like ttft=200ms, tpot=20ms or start=60s")
            given[f"{name}_s"] = seconds
        return cls(**given)


@dataclass(frozen=True)
class Times:
    """Of one request, seconds."""

    ttft_s: float
    tpot_s: float

    def of(self, tokens: float) -> float:
        """Seconds from send to the `tokens`-th token, clamped above 0."""
        return max(1e-6, self.ttft_s + (tokens - 1) * self.tpot_s)


class Forecast(Record):
    """What a run would do. `cells` are [block, label, workload] in order, those that are finished left out."""

    name: str
    configurations: dict[str, str]  # label -> in words
    cells: list[tuple[int, str, str]]
    order: str  # its rule, and the remaining effect of a linear drift, in words
    imbalance: float  # the largest distance of a configuration's mean place from the baseline's, in blocks
    goes_on: str | None = None  # how results add blocks to these, in words
    finished: int
    seconds: float
    parts: dict[str, float]  # what the seconds are spent on
    window_s: float  # measured windows: the load without its ramps
    measured_share: float | None  # of the seconds; None: nothing is left to do
    disk_bytes: int  # still to be written
    free_bytes: int
    assumptions: list[str]
    family: FamilyForecast
    resumed: list[CellState] = []  # what --resume does with each cell of a run that was begun


def forecast(
    experiment: Experiment,
    plan: Sequence[Planned],
    every: Sequence[Visit],
    order: Order,
    *,
    finished: Callable[[TrialCell], bool],
    place: Path,
    assumed: Assumptions,
) -> Forecast:
    """Add up what the visits of `every` that are not finished will take. `place` is where the run folder will be."""
    visits = [rest for visit in every if (rest := visit.without(finished)).cells]
    planned = [cell for visit in every for cell in visit.cells]
    residual = imbalance(planned, plan[0].label)
    served = {one.label: _engine_times(one.asked, assumed) for one in plan}
    pruned = {one.pruning.place: one.pruning.row.bytes for one in plan if one.pruning}
    cells = [cell for visit in visits for cell in visit.cells]
    workloads = {w.name: w for w in experiment.workloads}
    energy, protocol = experiment.energy, experiment.protocol
    starts = [v.label for v in visits]
    if experiment.serve.keep_servers:
        starts = [*dict.fromkeys(starts)]
    fewest = FEWEST_GROUPS if protocol.warmup_limit_s else 0
    # Before and after every visit, once it is quiet; right after the last load of a configuration there is no rest but the power of
    # that; and without a model, where none stays loaded beside it.
    rest_s, length_s = visit_idle(experiment)
    around = len(visits) * 2 * (rest_s + length_s)
    once = min(energy.idle_s, AFTER_LOAD_S) - rest_s + (0 if experiment.serve.keep_servers else energy.idle_s)
    parts = {
        "starting servers": _starting_s(experiment, [(label, served[label].start_s) for label in starts]),
        "idle power": around + len({v.label for v in visits}) * once,
        "rests": len(cells) * protocol.cooldown_s,
        "warm-up": sum(_warmup_s(workloads[c.workload], served[c.label].times, fewest) for c in cells),
        "load": sum(_load_s(workloads[c.workload], served[c.label].times) for c in cells),
    }
    window_s = sum(_window_s(workloads[c.workload], served[c.label].times) for c in cells)
    records = sum(_record_bytes(workloads[c.workload], served[c.label].times) for c in cells)
    return Forecast(
        name=experiment.name,
        configurations={one.label: _what(one, plan[0]) for one in plan},
        cells=[(c.block + 1, c.label, c.workload) for c in cells],
        order=describe_order(
            order.rule,
            residual,
            blocks=None if protocol.until else order.counts[-1],
            configurations=len({v.label for v in every}),
        ),
        imbalance=residual,
        goes_on=_goes_on(protocol),
        finished=len(planned) - len(cells),
        seconds=sum(parts.values()),
        parts=parts,
        window_s=window_s,
        measured_share=window_s / sum(parts.values()) if cells else None,
        disk_bytes=records + _BYTES_A_REPORT + sum(pruned.values()),
        free_bytes=shutil.disk_usage(_existing(place)).free,
        assumptions=_assumptions(experiment, served.values()),
        family=FamilyForecast.of(experiment.workloads, len(plan) - 1, protocol.blocks, joules=energy.source != "none"),
    )


def _goes_on(protocol: Protocol) -> str | None:
    if protocol.until is None:
        return None
    hours = f", {protocol.max_hours:g} h at most" if protocol.max_hours else ""
    return f"then one block at a time until {protocol.until}, up to {protocol.max_blocks} blocks{hours}; known configurations are left out"


def _what(one: Planned, baseline: Planned) -> str:
    """A configuration in words, with its treatment where its size does not say it all."""
    treated = [words for key, words in treatment(one, baseline).items() if key not in {"width", "layers", "server"}]
    return "; ".join([one.words(), *treated])


@dataclass(frozen=True)
class _Served:
    """What is taken as known of a configuration's server; `words` says why."""

    times: Times
    start_s: float
    words: tuple[str, ...]


def _engine_times(asked: Configuration, assumed: Assumptions) -> _Served:
    engine = None if asked.engine is None else find_engine(asked.engine)
    start_s = assumed.start_s
    if asked.url is not None:
        start_s, started = 0.0, "a server at an address is there"
    else:
        if start_s is None:
            start_s = _AUTO_START_S if engine is None else engine.start_s
        started = f"a server starts in {start_s:g} s"
    if engine is not None and engine.known_times is not None:
        times = Times(*engine.known_times(asked.options))
        return _Served(times, start_s, (started, f"the {engine.name} engine keeps its times"))
    times = Times(assumed.ttft_s, assumed.tpot_s)
    tokens = f"a first token after {times.ttft_s * 1e3:g} ms and another every {times.tpot_s * 1e3:g} ms"
    where = "for every configuration and load (change it with --assume ttft=…,tpot=…,start=…)"
    return _Served(times, start_s, (started, tokens, where))


def _assumptions(experiment: Experiment, served: Iterable[_Served]) -> list[str]:
    words = [*dict.fromkeys(words for one in served for words in one.words)]
    if experiment.protocol.warmup_limit_s:
        words.append(f"a warm-up is steady after {FEWEST_GROUPS} groups")
    uncounted = "pruning" if experiment.quality is None else "pruning, quality"
    words.append(f"{uncounted} and the report are not counted")
    return words


def _starting_s(experiment: Experiment, starts: Sequence[tuple[str, float]]) -> float:
    """Of servers one after another, and of those that start side by side as many at a time as do."""
    together = [start_s for label, start_s in starts if starts_together(experiment, label)]
    apart = [start_s for label, start_s in starts if not starts_together(experiment, label)]
    return sum(apart) + math.ceil(len(together) / starts_at_once()) * max(together, default=0.0)


def _load_s(workload: Workload, times: Times) -> float:
    """How long one trial's load lasts."""
    request_s = times.of(_mean_tokens(workload))
    together = workload.in_flight
    if together is None:
        return max(workload.arrivals(0), default=0.0) + request_s
    if workload.duration_s is not None:
        return workload.duration_s + request_s
    return math.ceil((workload.requests or 0) / together) * request_s


def _window_s(workload: Workload, times: Times) -> float:
    """How much of one trial's load becomes its window, by the rules of `loadgen.metrics.window`."""
    load_s, request_s = _load_s(workload, times), times.of(_mean_tokens(workload))
    if workload.window_cut == "generations":  # without the first, and without the one in which the last request leaves
        return max(load_s - 2 * request_s, request_s) if load_s >= 2 * request_s else load_s
    if workload.window_cut == "steady":  # of the span of sending, without its first request or its first half
        return max(load_s - 2 * request_s, (load_s - request_s) / 2)
    return load_s


def _warmup_s(workload: Workload, times: Times, fewest: int) -> float:
    groups = math.ceil(workload.warmup_requests / (workload.in_flight or 1))
    return max(groups, fewest) * times.of(_mean_tokens(workload))


def _record_bytes(workload: Workload, times: Times) -> int:
    """What a trial leaves on disk."""
    tokens = _mean_tokens(workload)
    together = workload.in_flight
    if workload.requests is not None:
        requests = float(workload.requests)
    elif together is None:
        requests = sum(1.0 for _ in workload.arrivals(0))
    else:
        requests = together * (workload.duration_s or 0.0) / times.of(tokens)
    return round(_BYTES_A_TRIAL + requests * (_BYTES_A_REQUEST + tokens * _BYTES_A_TOKEN))


def _mean_tokens(workload: Workload) -> float:
    """Output tokens of a request, where they are drawn on average over the first of them."""
    return mean(workload.answer_length(0, index) for index in range(100))


def _existing(path: Path) -> Path:
    """The nearest folder above that is there."""
    return next(p for p in (path.absolute(), *path.absolute().parents) if p.is_dir())
