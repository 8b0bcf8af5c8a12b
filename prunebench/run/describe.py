"""The facts of a configuration besides its trials: its server, idle power, perplexity."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from energy.records import IdleWindow, WindowEnergy
from loadgen import UNREADABLE
from loadgen.endpoint import Endpoint, LoadError, ServedModel, check_endpoint
from loadgen.energy.source import (
    LEAD_IN_S,
    EnergySource,
    measure_idle,
    measure_idle_in_halves,
    meters_without_server,
)
from prunebench.experiment.file import Experiment
from prunebench.experiment.tables.quality import QualitySettings
from prunebench.experiment.tokenizers import tokenizer_sha256
from prunebench.quality.perplexity import PerplexityProbe, checkpoint_tokens, no_perplexity
from prunebench.quality.quick import served_tokens_of
from prunebench.servers.process import Server
from prunebench.servers.run_servers import ServerPool
from prunebench.terminal.progress import Progress
from reports.runs.records.configuration import ConfigurationInfo
from reports.runs.records.quality import Quality

AFTER_LOAD_S = 10.0  # length of the power measurement right after a load: power falls to the idle level within seconds
_REST_S = 5.0  # before idle power is measured around a visit, at most
_QUESTION, _ANSWER_TOKENS = "The three things that everybody should know about the sea are", 12
_BESIDE = "other servers started at the same time, so that no joules are its own"
_SHORTEST_S = 0.5  # a counter that refreshes ten times a second needs at least this long


def visit_idle(experiment: Experiment) -> tuple[float, float]:
    """(rest before it, length) of each measurement of idle power around a visit, seconds.

    `energy.idle_s` is the length before a configuration's loads, and after them, over all blocks together.
    """
    idle_s = experiment.energy.idle_s
    length = max(idle_s / experiment.protocol.blocks, min(idle_s, _SHORTEST_S))
    return min(_REST_S, length), length


class Describer:
    """Measures the same facts of every configuration; they are fields of its ConfigurationInfo."""

    def __init__(self, experiment: Experiment, *, serves_here: bool, one_tokenizer: Callable[[], bool]) -> None:
        self._energy = experiment.energy
        self._visit_idle = visit_idle(experiment)
        self._one_tokenizer = one_tokenizer  # whether all configurations are known to share one
        self._serves_here = serves_here  # and not on another host
        quality = experiment.quality
        self._probes: dict[str | None, PerplexityProbe] = {}  # by tokenizer
        self._quality = quality if quality and quality.perplexity_files else None

    def start(self, pool: ServerPool, label: str, acquire: Callable[[], Server]) -> tuple[Server, dict[str, Any]]:
        """A configuration's server, started with this machine's meters read meanwhile, and what they said before and of it.

        There is no idle power without a model where another's stays loaded beside it, and if idle_s is 0; neither figure where
        the servers are another host's.
        """
        if not self._serves_here:
            return acquire(), {}
        with meters_without_server(self._energy.source) as meters:
            facts: dict[str, Any] = {}
            if self._energy.idle_s and not (pool.keep and pool.any_running()):
                pool.close()
                facts["idle_without_model"] = measure_idle(meters, self._energy.idle_s)
            elif meters.measures and not pool.is_up(label):
                time.sleep(LEAD_IN_S)
            start_ns = time.monotonic_ns()
            server = acquire()
            end_ns = time.monotonic_ns()
            lasted_ns = round((server.load_s or 0.0) * 1e9)
            if pool.was_started_together(label):
                facts["load_energy"] = WindowEnergy(start_ns=start_ns, end_ns=end_ns, reason=_BESIDE)
            elif 0 < lasted_ns <= end_ns - start_ns:  # else it was up already
                facts["load_energy"] = meters.over(end_ns - lasted_ns, end_ns).model_copy(update={"conditions": []})
            return server, facts

    def idle_of_visit(self, energy: EnergySource, *, rested: bool = False) -> IdleWindow | None:
        """Idle power before or after a visit's load, once it is quiet; None without a meter and if idle_s is 0."""
        rest_s, length_s = self._visit_idle
        if not length_s or not energy.measures:
            return None
        time.sleep(0 if rested else rest_s)
        return measure_idle_in_halves(energy, length_s)

    def first_visit(
        self,
        info: ConfigurationInfo,
        server: Server,
        energy: EnergySource,
        before: IdleWindow | None,
        progress: Progress,
    ) -> dict[str, Any]:
        """Engine, idle power with the model loaded, perplexity. Raises LoadError if the server is lost meanwhile.

        `before` is the idle power before the visit's load, where that is measured.
        """
        served = check_endpoint(server.endpoint)

        def windows(done: int, total: int, what: str) -> None:
            progress(done, total, f"perplexity, {what}")

        facts: dict[str, Any] = {
            "engine_version": served.engine_version,
            "dtype": served.dtype,
            "resolved_options": served.options,
            "served_model": server.endpoint.model,
            "load_s": server.load_s,
            "idle": before.whole if before else self.when_quiet(energy),
            "quality": self._perplexity(info, server.endpoint, served, windows),
        }
        if served.engine:
            facts["engine"] = served.engine
        if problem := server.problem():  # facts from a server that has died since may be incomplete
            raise LoadError(problem)
        return facts

    def _perplexity(
        self, info: ConfigurationInfo, endpoint: Endpoint, served: ServedModel, progress: Progress
    ) -> Quality | None:
        """Tokenized by the configuration's checkpoint, or by its server where there is none here."""
        if self._quality is None:
            return None
        written = 0 if served.engine else 1  # our server scores a prompt alone
        try:
            probe = self._probe(info, self._quality, endpoint, served)
        except LoadError as error:
            return no_perplexity(f"{error}, and its tokenizer is not here")
        except ValueError as error:
            return no_perplexity(f"{error}")
        return probe.measure(endpoint, written=written, progress=progress)

    def _probe(
        self, info: ConfigurationInfo, quality: QualitySettings, endpoint: Endpoint, served: ServedModel
    ) -> PerplexityProbe:
        same_text = not self._one_tokenizer()
        if info.checkpoint is None:
            encode, _ = served_tokens_of(endpoint, served.max_model_len)
            return PerplexityProbe(quality, encode, same_text=same_text)
        key = tokenizer_sha256(Path(info.checkpoint))
        if key not in self._probes:
            encode = checkpoint_tokens(Path(info.checkpoint))
            self._probes[key] = PerplexityProbe(quality, encode, same_text=same_text)
        return self._probes[key]

    def answer(self, endpoint: Endpoint) -> str:
        """The model's name, and what it answers greedily to one prompt: another model rarely answers the same.

        Raises LoadError if the server does not list the model.
        """
        check_endpoint(endpoint)
        request = {"model": endpoint.model, "prompt": _QUESTION, "max_tokens": _ANSWER_TOKENS, "temperature": 0}
        try:
            with endpoint.client(endpoint.timeout_s) as client:
                found = client.post("/v1/completions", json=request)
                found.raise_for_status()
                text = f"{found.json()['choices'][0]['text']!r}"
        except (httpx.HTTPError, *UNREADABLE) as error:
            text = f"no answer to a completion: {type(error).__name__}"
        return f"{endpoint.model}: {text}"

    def right_after_load(self, energy: EnergySource) -> WindowEnergy | None:
        """The power from the end of a load on; None if idle_s is 0."""
        if not self._energy.idle_s:
            return None
        return measure_idle(energy, min(self._energy.idle_s, AFTER_LOAD_S), at_once=True)

    def when_quiet(self, energy: EnergySource) -> WindowEnergy | None:
        """Idle power with the model loaded, after it has settled; None if idle_s is 0."""
        return measure_idle(energy, self._energy.idle_s) if self._energy.idle_s else None
