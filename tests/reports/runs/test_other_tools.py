"""Results that guidellm and aiperf wrote themselves (peers/README.md) become loads of ours, without invented figures."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from loadgen.metrics.metrics import NO_GAPS
from reports.build import build_report
from reports.errors import ReportError
from reports.exports.trials import export
from reports.runs.loads import read_loads
from reports.runs.other_tools import import_result

PEERS = Path(__file__).parent / "peers"


@pytest.fixture
def guidellm(tmp_path) -> Path:
    return Path(shutil.copy(PEERS / "guidellm.json", tmp_path))


@pytest.fixture
def aiperf(tmp_path) -> Path:
    shutil.copy(PEERS / "profile_export_aiperf.json", tmp_path)
    return Path(shutil.copy(PEERS / "profile_export.jsonl", tmp_path))


def requests_of(file: Path) -> list[dict]:
    found = json.loads(file.read_text())["benchmarks"][0]["requests"]["successful"]
    return sorted(found, key=lambda each: each["request_start_time"])


def rewritten(file: Path, change) -> Path:
    report = json.loads(file.read_text())
    change(report["benchmarks"][0])
    file.write_text(json.dumps(report))
    return file


def test_guidellms_figures_of_each_request_are_those_that_it_computed(guidellm):
    (load,) = import_result(guidellm)
    theirs, ours = requests_of(guidellm), load.metrics
    assert ours.ttft_ms == pytest.approx([each["time_to_first_token_ms"] for each in theirs], abs=1e-3)
    assert ours.tpot_ms == pytest.approx([each["inter_token_latency_ms"] for each in theirs], abs=1e-3)
    assert ours.output_tokens.tolist() == [each["output_tokens"] for each in theirs]
    assert ours.lag_ms == pytest.approx([1e3 * each["request_dispatch_delay"] for each in theirs], abs=1e-3)
    assert (load.trial.workload.kind, load.trial.workload.rate) == ("constant", 5.0)
    assert load.trial.model == "tinyglu"


def test_guidellm_has_no_times_between_tokens_and_so_no_itl_and_no_fullest_second(guidellm):
    (load,) = import_result(guidellm)
    assert (load.metrics.itl_ms, load.metrics.completed_itl, load.metrics.busiest_second_tokens) == ({}, NO_GAPS, None)
    text = build_report([guidellm]).with_suffix(".md").read_text()
    assert "guidellm records the first and the last token of a request, and no time between them" in text
    assert "guidellm measures no energy" in text


def test_a_chunk_of_several_tokens_leaves_guidellms_request_without_a_tpot(guidellm):
    def in_pairs(benchmark):
        for request in benchmark["requests"]["successful"]:
            request["info"]["timings"]["token_iterations"] = 4

    (load,) = import_result(rewritten(guidellm, in_pairs))
    assert np.isnan(load.metrics.tpot_ms).all()
    assert np.isfinite(load.metrics.ttft_ms).all()


def test_guidellms_failed_requests_fail_and_those_it_cancelled_are_left_out(guidellm):
    def failing(benchmark):
        requests = benchmark["requests"]
        requests["errored"] = [requests["successful"].pop()]
        requests["errored"][0]["info"]["error"] = "Traceback\nConnectionError: reset"
        requests["incomplete"] = [requests["successful"].pop()]

    (load,) = import_result(rewritten(guidellm, failing))
    assert load.metrics.completed.tolist() == [True, True, False]
    assert load.metrics.first_error == "ConnectionError: reset"


@pytest.mark.parametrize(
    ("strategy", "kind", "level"),
    [
        ({"type_": "synchronous"}, "concurrency", 1),
        ({"type_": "concurrent", "streams": 8}, "concurrency", 8),
        ({"type_": "poisson", "rate": 3.0}, "poisson", 3.0),
        ({"type_": "throughput", "max_concurrency": None}, "batch", 4),
    ],
)
def test_the_offered_load_is_guidellms_strategy(guidellm, strategy, kind, level):
    (load,) = import_result(rewritten(guidellm, lambda benchmark: benchmark["config"].update(strategy=strategy)))
    assert (load.trial.workload.kind, load.trial.workload.level) == (kind, level)


def test_a_report_of_several_benchmarks_is_as_many_loads(guidellm):
    report = json.loads(guidellm.read_text())
    report["benchmarks"] *= 2
    guidellm.write_text(json.dumps(report))
    assert [load.name for load in read_loads(guidellm).trials] == ["guidellm-1", "guidellm-2"]


def test_aiperfs_figures_of_each_request_are_those_that_it_computed(aiperf):
    (load,) = import_result(aiperf)
    theirs = sorted(
        map(json.loads, aiperf.read_text().splitlines()), key=lambda each: each["metadata"]["request_start_ns"]
    )
    metrics = [each["metrics"] for each in theirs]
    assert load.metrics.ttft_ms == pytest.approx([each["time_to_first_token"]["value"] for each in metrics])
    assert load.metrics.e2e_ms == pytest.approx([each["request_latency"]["value"] for each in metrics], abs=1e-3)
    assert load.metrics.output_tokens.tolist() == [each["usage_completion_tokens"]["value"] for each in metrics]
    gaps = [gap for each in metrics for gap in each["inter_chunk_latency"]["value"]]
    assert load.metrics.completed_itl.mean == pytest.approx(np.mean(gaps))  # eight chunks of eight tokens
    assert (load.trial.workload.kind, load.trial.workload.concurrency) == ("concurrency", 2)
    assert load.trial.energy.reason == "joules of aiperf's GPU telemetry are not read"


def test_aiperfs_failed_request_fails_by_its_message_and_its_warm_up_is_left_out(aiperf):
    records = [json.loads(line) for line in aiperf.read_text().splitlines()]
    records[0] |= {
        "metrics": {},
        "error": {"code": 499, "type": "RequestCancellationError", "message": "was cancelled"},
    }
    records[1]["metadata"]["benchmark_phase"] = "warmup"
    aiperf.write_text("".join(json.dumps(record) + "\n" for record in records))
    (load,) = import_result(aiperf)
    assert (load.metrics.requests, load.metrics.failed, load.metrics.first_error) == (3, 1, "was cancelled")


@pytest.mark.parametrize(
    ("phase", "kind"),
    [({"type": "poisson", "rate": 4.0}, "poisson"), ({"type": "gamma", "rate": 4.0, "smoothness": 0.5}, "burst")],
)
def test_aiperfs_phase_is_the_offered_load_and_credits_are_its_schedule(aiperf, phase, kind):
    beside = aiperf.with_name("profile_export_aiperf.json")
    summary = json.loads(beside.read_text())
    summary["input_config"]["phases"][0] |= phase
    beside.write_text(json.dumps(summary))
    (load,) = import_result(aiperf)
    assert load.trial.workload.kind == kind
    assert (load.metrics.lag_ms > 0).all()


def test_what_cannot_be_used_is_refused_in_one_line_that_says_why(guidellm, aiperf, tmp_path):
    def without_requests(benchmark):
        benchmark["requests"]["successful"] = []

    def trace(benchmark):
        benchmark["config"]["strategy"]["type_"] = "trace"

    for change, why in ((trace, "replayed a trace"), (without_requests, "it has no single requests")):
        with pytest.raises(ReportError, match=rf"guidellm\.json: .*{why}"):
            import_result(rewritten(guidellm, change))
    aiperf.with_name("profile_export_aiperf.json").unlink()
    with pytest.raises(ReportError, match=r"lacks profile_export_aiperf\.json beside it"):
        import_result(aiperf)
    (tmp_path / "other.json").write_text('{"a": 1}')
    with pytest.raises(ReportError, match=r"is no result of vllm bench serve .*, guidellm .* or aiperf"):
        import_result(tmp_path / "other.json")


def test_imported_loads_are_written_in_other_formats(guidellm, aiperf, tmp_path):
    written = json.loads(export([guidellm, aiperf], "vllm-json", tmp_path / "out.json").read_text())
    assert [each["completed"] for each in written] == [4, 4]
