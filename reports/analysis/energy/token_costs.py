"""What a token costs above idle power, from a run's energy models: by it the trials' active joules are shared over their requests."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from base.distributions import t_quantile
from loadgen.metrics.equal_shares import TokenCosts
from reports.analysis.energy.fit import fit_energy_models
from reports.analysis.energy.model import EnergyModel
from reports.runs.loads import Loads, read_loads
from reports.runs.reading import MeasuredRun, read_run
from reports.runs.records.cells import TrialCell
from reports.runs.run_folder import RunFolder
from reports.statistics.confidence import CONFIDENCE


def with_token_costs(run: MeasuredRun) -> MeasuredRun:
    """The run with the costs of tokens in the figures of each trial whose configuration and load have an energy model of net joules.

    A model counts if all its coefficients are identified and none is negative, and if its line fits.
    """
    models = fit_energy_models(run, lambda energy: energy.net_joules)
    costs = {(m.label, m.load): found for m in models if (found := _costs(m)) is not None}
    trials = [
        replace(t, metrics=replace(t.metrics, costs=costs.get((t.cell.label, t.trial.workload.level_words))))
        for t in run.trials
    ]
    return replace(run, trials=trials)


def _costs(model: EnergyModel) -> TokenCosts | None:
    prompt, output, request = model.prompt_token, model.output_token, model.request
    if model.incomplete is not None or model.is_bent or prompt is None or output is None or request is None:
        return None
    joules = (prompt.joules, output.joules, request.joules)
    if min(joules) < 0:
        return None
    quantile = t_quantile((1 + CONFIDENCE) / 2, model.degrees_of_freedom)
    return TokenCosts(joules, np.array(model.covariance), model.relative_deviation or 0.0, quantile)


def read_requests(path: Path) -> Loads:
    """The trials of a path, whose joules are shared over requests as in its report. Raises ReportError naming an unreadable file."""
    loads = read_loads(path)
    if not (path / "run.json").is_file():
        return loads
    measured = {_place(t.cell): t for t in with_token_costs(read_run(path)).trials}
    own = [measured.get(_place(stored.cell)) for stored in RunFolder(path).trials()]  # None: left out, as damaged
    shared = [
        load if one is None else replace(load, trial=one.trial, metrics=one.metrics)
        for load, one in zip(loads.trials, own, strict=True)
    ]
    return replace(loads, trials=shared)


def _place(cell: TrialCell) -> tuple[int, str, str]:
    return cell.block, cell.label, cell.workload
