"""The content of a sink, read back with the other tool's own reader."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from reports.analysis.analyse import analyse_folder
from reports.analysis.records import Analysis
from reports.errors import ReportError
from reports.exports.sinks import send
from tests.reports.example_run import SINGLE, Example, write_run

SHORT = SINGLE.model_copy(update={"requests": 3})


@pytest.fixture
def analysis(tmp_path: Path) -> Analysis:
    example = Example(widths=(1024, 512), workloads=(SHORT,), blocks=2, noise=0.02)
    return analyse_folder(write_run(tmp_path / "run", example))


def test_the_textfile_holds_the_figures_of_the_report(analysis, tmp_path):
    file = tmp_path / "prunebench.prom"
    send([analysis], f"prometheus:{file}")
    families = {family.name: family for family in text_string_to_metric_families(file.read_text())}
    samples = {s.labels["configuration"]: s for s in families["prunebench_joules_per_output_token"].samples}
    cell = analysis.cell("width-512", SHORT.name)
    value = cell.values["joules_per_output_token"]
    assert samples["width-512"].value == value.median
    assert samples["width-512"].labels == {
        "run": "run",
        "configuration": "width-512",
        "width": "512",
        "workload": SHORT.name,
    }
    [low] = families["prunebench_joules_per_output_token_ratio_low"].samples
    assert low.value == value.comparison.low
    checks = {s.labels["check"]: s.value for s in families["prunebench_check_outcome"].samples}
    assert checks["failed-requests"] == 0
    assert checks["too-few-repeats"] == 2
    assert "prunebench_modelled_joules_per_output_token" not in families  # not measured, so not there
    assert sorted(p.name for p in tmp_path.iterdir()) == ["prunebench.prom", "run"]  # nothing half-written


@pytest.mark.filterwarnings("ignore:.*filesystem tracking backend.*")
def test_mlflow_holds_a_run_for_each_configuration_and_a_second_sending_replaces_it(analysis, tmp_path):
    mlflow = pytest.importorskip("mlflow")
    uri = (tmp_path / "store").as_uri()
    for _ in range(2):
        send([analysis], f"mlflow:{uri}")
    client = mlflow.tracking.MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("example")
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert set(runs) == {"run/width-1024", "run/width-512"}
    pruned = runs["run/width-512"]
    value = analysis.cell("width-512", SHORT.name).values["median_tpot_ms"]
    assert pruned.data.metrics[f"{SHORT.name}/median_tpot_ms"] == value.median
    assert pruned.data.metrics[f"{SHORT.name}/median_tpot_ms_ratio_high"] == value.comparison.high
    assert pruned.data.params["width"] == "512"
    assert pruned.data.params["baseline"] == "False"
    assert pruned.data.tags["prunebench.check.too-few-repeats"] == "warn"
    assert pruned.info.status == "FINISHED"
    assert runs["run/width-1024"].data.metrics["perplexity"] == pytest.approx(8.0)


@pytest.mark.parametrize("sink", ["wandb:x", "prometheus", "prometheus:", "mlflow"])
def test_a_sink_that_there_is_not_is_named(analysis, sink):
    with pytest.raises(ReportError, match="must be mlflow:URI or prometheus:FILE"):
        send([analysis], sink)


def test_a_file_that_cannot_be_written_is_named(analysis):
    with pytest.raises(ReportError, match=r"--sink prometheus:/no/such/folder/x\.prom: cannot be written"):
        send([analysis], "prometheus:/no/such/folder/x.prom")


def test_a_tracking_server_that_does_not_answer_is_one_line(analysis):
    pytest.importorskip("mlflow")
    with pytest.raises(ReportError) as caught:
        send([analysis], "mlflow:http://127.0.0.1:9")
    assert "--sink mlflow:http://127.0.0.1:9: " in str(caught.value)
    assert "\n" not in str(caught.value)
