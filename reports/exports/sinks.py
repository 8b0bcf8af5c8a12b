"""Send a report's figures to an MLflow tracking server, or to a textfile for Prometheus' node exporter.

    mlflow:http://tracking:5000      one MLflow run a configuration, in an experiment of the run's name
    mlflow:file:///var/lib/mlruns    the same, in MLflow's folder layout
    prometheus:/var/lib/node_exporter/prunebench.prom

The figures are those of report.json: medians over the trials, ratios to the baseline with their intervals, outcomes of the checks.
Missing values are left out; sending a run again replaces its figures.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Gauge, write_to_textfile

from reports.analysis.analyse import analyse_folder
from reports.analysis.quantities import QUANTITIES
from reports.analysis.records import Analysis, ConfigurationFigures
from reports.checks.rules import SEVERITY
from reports.errors import ReportError

_LABELS = ("run", "configuration", "width", "workload")
_PARTS = ("ratio", "ratio_low", "ratio_high")


def send_runs(runs: Sequence[Path], sinks: Sequence[str], *, margin: float) -> None:
    """Send run folders to every sink. Raises ReportError naming a folder or sink that cannot be read, reached or written."""
    analyses = [analyse_folder(run, margin=margin) for run in runs] if sinks else []
    for sink in sinks:
        send(analyses, sink)


def send(analyses: Sequence[Analysis], sink: str) -> None:
    """Send runs to a sink, KIND:WHERE. Raises ReportError if the kind is unknown, or the sink cannot be reached or written."""
    kind, _, where = sink.partition(":")
    if kind not in {"mlflow", "prometheus"} or not where:
        raise ReportError(f"--sink {sink}: must be mlflow:URI or prometheus:FILE")
    if kind == "prometheus":
        _write_textfile(analyses, Path(where))
    else:
        for analysis in analyses:
            _send_to_mlflow(analysis, where)


def _figures(analysis: Analysis, label: str) -> Iterator[tuple[str, str, str, float]]:
    """(workload, quantity, "" or a part of its ratio, value) of one configuration."""
    for cell in analysis.cells:
        for key, value in cell.values.items():
            if cell.label != label or value.median is None:
                continue
            yield cell.workload, key, "", value.median
            found = value.comparison
            parts = zip(_PARTS, (found.ratio, found.low, found.high) if found else (), strict=False)
            yield from ((cell.workload, key, part, number) for part, number in parts if number is not None)


def _write_textfile(analyses: Sequence[Analysis], file: Path) -> None:
    registry = CollectorRegistry()
    gauges: dict[str, Gauge] = {}
    checks = Gauge(
        "prunebench_check_outcome", "0 pass, 1 no data, 2 warn, 3 fail.", ("run", "check"), registry=registry
    )
    for analysis in analyses:
        for check in analysis.checks:
            checks.labels(analysis.folder, check.check).set(SEVERITY[check.outcome])
        for configuration in analysis.configurations:
            info = configuration.info
            for workload, key, part, number in _figures(analysis, info.label):
                name = "_".join(filter(None, ("prunebench", key, part)))
                if name not in gauges:
                    gauges[name] = Gauge(name, _help(key, part), _LABELS, registry=registry)
                gauges[name].labels(
                    analysis.folder, info.label, "" if info.width is None else info.width, workload
                ).set(number)
    try:
        write_to_textfile(str(file), registry)  # by rename, so that no partial file is ever scraped
    except OSError as error:
        raise ReportError(f"--sink prometheus:{file}: cannot be written: {error.strerror}") from None


def _help(key: str, part: str) -> str:
    quantity = QUANTITIES[key]
    meanings = {
        "": f"{quantity.title}, {quantity.unit}, the median over the trials.",
        "ratio": f"{quantity.title} over the baseline's, paired within blocks.",
        "ratio_low": f"Lower end of the 95 % interval of the ratio of {quantity.title}.",
        "ratio_high": f"Upper end of the 95 % interval of the ratio of {quantity.title}.",
    }
    return meanings[part]


def _send_to_mlflow(analysis: Analysis, uri: str) -> None:
    for name, value in (
        ("MLFLOW_HTTP_REQUEST_TIMEOUT", "10"),
        ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1"),  # report a wrong address within seconds
        ("MLFLOW_ALLOW_FILE_STORE", "true"),  # the URI requests a folder explicitly
    ):
        os.environ.setdefault(name, value)
    try:
        tracking, problems = import_module("mlflow.tracking"), import_module("mlflow.exceptions")
    except ImportError:
        raise ReportError(f"--sink mlflow:{uri}: needs MLflow; pip install 'prunebench[mlflow]'") from None
    try:
        client = tracking.MlflowClient(tracking_uri=uri)
        known = client.get_experiment_by_name(analysis.info.name)
        experiment = known.experiment_id if known else client.create_experiment(analysis.info.name)
        for configuration in analysis.configurations:
            _log(client, experiment, analysis, configuration)
    except (problems.MlflowException, OSError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ReportError(f"--sink mlflow:{uri}: {reason}") from None


def _log(client: Any, experiment: str, analysis: Analysis, configuration: ConfigurationFigures) -> None:
    """Log one configuration as one MLflow run, in place of an earlier one."""
    info = configuration.info
    name = f"{analysis.folder}/{info.label}"
    for run in client.search_runs([experiment]):
        if run.data.tags.get("prunebench.source") == name:
            client.delete_run(run.info.run_id)
    tags = {"mlflow.runName": name, "prunebench.source": name, "prunebench.status": analysis.info.status}
    tags |= {f"prunebench.check.{check.check}": check.outcome for check in analysis.checks}
    run_id = client.create_run(experiment, tags=tags).info.run_id
    facts = info.model_dump(
        include={"width", "expansion_ratio", "pruning_percentage", "parameters", "engine", "engine_version", "dtype"}
    )
    facts |= {f"engine_option.{key}": value for key, value in info.engine_options.items()}
    facts |= {"baseline": info.is_baseline, "blocks": analysis.info.blocks, "seed": analysis.info.seed}
    for key, fact in facts.items():
        client.log_param(run_id, key, fact)
    for workload, key, part, number in _figures(analysis, info.label):
        client.log_metric(run_id, f"{workload}/{key}{part and '_' + part}", number)
    if info.quality and info.quality.perplexity is not None:
        client.log_metric(run_id, "perplexity", info.quality.perplexity)
    client.set_terminated(run_id)
