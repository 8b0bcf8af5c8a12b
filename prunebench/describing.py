"""What is learnt of a configuration besides its trials: who serves it, idle power, perplexity."""

from __future__ import annotations

from typing import Any

from energy.records import WindowEnergy
from loadgen.endpoint import LoadError, check_endpoint
from loadgen.metering import EnergySource, measure_idle, measure_idle_without_server
from prunebench.experiment import Experiment
from prunebench.quality import PerplexityProbe
from prunebench.serving import Server, ServerPool

AFTER_LOAD_S = 10.0  # how long the power right after load is watched: it falls to the quiet level within seconds


class Describer:
    """The same questions to every configuration; the answers are fields of its ConfigurationInfo."""

    def __init__(self, experiment: Experiment, *, serves_here: bool) -> None:
        self._energy = experiment.energy
        self._serves_here = serves_here  # and not on another host
        quality = experiment.quality
        self._probe = (
            PerplexityProbe(quality, experiment.model.source) if quality and quality.perplexity_files else None
        )

    def idle_without_model(self, pool: ServerPool) -> WindowEnergy | None:
        """Idle power before a configuration's server is started; None where another's stays loaded beside it, where the
        servers are another host's, and if idle_s is 0.
        """
        if not self._energy.idle_s or not self._serves_here or (pool.keep and pool.any_running()):
            return None
        pool.close()
        return measure_idle_without_server(self._energy.source, self._energy.idle_s)

    def first_visit(self, server: Server, energy: EnergySource) -> dict[str, Any]:
        """Who answers, idle power with the model loaded, quality. Raises LoadError if the server is lost meanwhile."""
        served = check_endpoint(server.endpoint)
        facts: dict[str, Any] = {
            "engine_version": served.engine_version,
            "dtype": served.dtype,
            "resolved_options": served.options,
            "load_s": server.load_s,
            "idle": measure_idle(energy, self._energy.idle_s) if self._energy.idle_s else None,
            "quality": self._probe and self._probe.measure(server.endpoint),
        }
        if served.engine:
            facts["engine"] = served.engine
        if problem := server.problem():  # what was learnt of a server that has died since may be half the truth
            raise LoadError(problem)
        return facts

    def after_load(self, energy: EnergySource) -> dict[str, Any]:
        """After a configuration's last trial: the power right then, and once more when all is quiet."""
        if not self._energy.idle_s:
            return {}
        right_then = measure_idle(energy, min(self._energy.idle_s, AFTER_LOAD_S), at_once=True)
        return {"idle_after_load": right_then, **self.when_quiet(energy)}

    def when_quiet(self, energy: EnergySource) -> dict[str, Any]:
        """Idle power after the trials, the model still loaded."""
        return {"idle_again": measure_idle(energy, self._energy.idle_s)}
