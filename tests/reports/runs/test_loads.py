"""Loads without a run around them: their page, other tools' formats, and a result of vLLM's as a load of ours."""

from __future__ import annotations

import csv
import json
from datetime import datetime

import numpy as np
import pytest

from loadgen.results.result import TrialResult
from loadgen.results.store import write_trial
from reports.build import build_report
from reports.errors import ReportError
from reports.exports.trials import export
from reports.runs.loads import read_loads
from reports.runs.other_tools import import_result
from tests.loadgen.made import failed, record, trial, workload

DETAILED = {
    "date": "20261125-011300",
    "backend": "openai",
    "label": None,
    "model_id": "m",
    "request_rate": "inf",
    "burstiness": 1.0,
    "max_concurrency": 2,
    "input_lens": [16, 17, 18],
    "output_lens": [4, 4, 0],
    "ttfts": [0.1, 0.2, 0.0],
    "itls": [[0.01, 0.01, 0.01], [0.03], []],
    "start_times": [100.0, 100.5, 101.0],
    "generated_texts": ["a", "b", ""],
    "errors": ["", "", "Traceback\nConnectionError: reset"],
}


@pytest.fixture
def folder(tmp_path):
    records = [record(0, 0, 10, 30), record(1, 5, 25, 65), failed(2, 7, 20)]
    write_trial(
        tmp_path / "load", TrialResult(trial(0, 100, load=workload("concurrency"), reason="no meter"), records), []
    )
    return tmp_path / "load"


@pytest.fixture
def imported(tmp_path):
    (tmp_path / "bench.json").write_text(json.dumps(DETAILED))
    return tmp_path / "bench.json"


def test_a_load_has_a_page_with_every_figure_and_the_reason_of_what_is_missing(folder):
    page = build_report([folder])
    text = page.with_suffix(".md").read_text()
    assert page == folder / "report.html"
    assert "2 of 3 requests completed" in text
    assert "| TTFT, ms | 20.0 |" in text  # 10, 20, and one that failed
    assert "no meter" in text
    assert "failed-requests" in text


def many(step_ms):
    return [record(n, n * step_ms, n * step_ms + 10, n * step_ms + 30) for n in range(40)]


@pytest.mark.parametrize(
    ("step_ms", "said"),
    [
        (5, "No interval: one trial; an interval over blocks requires 3."),
        (50, "95 % intervals of this trial: distribution-free, since none of its requests overlapped"),
    ],
)
def test_a_loads_percentiles_have_an_interval_only_if_no_two_requests_overlapped(tmp_path, step_ms, said):
    write_trial(tmp_path / "load", TrialResult(trial(0, 3000, load=workload("single")), many(step_ms)), [])
    text = build_report([tmp_path / "load"]).with_suffix(".md").read_text()
    assert said in text


def test_a_vllm_result_is_read_without_invented_figures(imported):
    (load,) = import_result(imported)
    found, rows, metrics = load.trial, load.rows, load.metrics
    assert metrics.ttft_ms[:2].tolist() == pytest.approx([100, 200])
    assert np.isnan(metrics.tpot_ms[:2]).all()
    assert "unknown in 1 of 2 requests" in metrics.tpot_reason
    assert metrics.completed.tolist() == [True, True, False]
    assert rows[2]["error"] == "ConnectionError: reset"
    assert rows[1]["arrival_tokens"] == [2, 4]  # two chunks of four tokens: how many the first had is unknown
    assert found.energy.gross_joules is None
    assert "no energy" in found.energy.reason
    assert found.client.cpu_fraction is None
    assert (found.workload.kind, found.workload.concurrency) == ("concurrency", 2)
    page = build_report([imported])
    assert page == imported.with_suffix(".html")
    assert "vllm bench serve measures no energy" in page.with_suffix(".md").read_text()


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ({"request_rate": 5.0}, "poisson"),
        ({"request_rate": 5.0, "burstiness": 0.5}, "burst"),
        ({"max_concurrency": None}, "batch"),
    ],
)
def test_the_offered_load_is_derived_from_the_file(imported, said, kind):
    imported.write_text(json.dumps(DETAILED | said | {"label": "../my label"}))
    load = import_result(imported)[0].trial.workload
    assert (load.kind, load.name) == (kind, "my-label")


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", json.dumps({**DETAILED, "ttfts": [0.1]}), json.dumps({**DETAILED, "errors": ["x", "y", "z"]})],
)
def test_another_file_is_refused_by_name(imported, text):
    imported.write_text(text)
    with pytest.raises(ReportError, match=r"bench\.json"):
        build_report([imported])


def test_vllms_format_can_be_read_back_with_the_same_figures(folder, tmp_path):
    there = read_loads(folder).trials[0].metrics
    back = import_result(export([folder], "vllm-json", tmp_path / "out.json"))[0].metrics
    assert back.ttft_ms[:2].tolist() == pytest.approx(there.ttft_ms[:2].tolist())
    assert back.tpot_ms[:2].tolist() == pytest.approx(there.tpot_ms[:2].tolist())
    written = json.loads((tmp_path / "out.json").read_text())
    assert written["errors"] == ["", "", "HTTP 500: no"]
    assert written["joules_per_output_token"] is None
    assert {flag["check"] for flag in written["flags"]} >= {"failed-requests"}


def test_csv_has_a_row_for_every_request(folder):
    rows = list(csv.DictReader(export([folder], "csv", None).read_text().splitlines()))
    assert [row["ttft_ms"] for row in rows] == ["10.0", "20.0", ""]
    assert [float(row["tpot_ms"]) for row in rows[:2]] == [10.0, 20.0]
    assert rows[2]["error"] == "HTTP 500: no"


@pytest.mark.slow  # importing guidellm
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")
def test_guidellm_reads_its_format_back_with_the_same_figures(folder, imported, tmp_path):
    from guidellm.benchmark.schemas import GenerativeBenchmarksReport

    kinds = ("single", "batch", "constant", "poisson", "burst")
    rising = ({"rate": 1.0, "end_rate": 9.0}, {"concurrency": 1, "end_concurrency": 4})
    ramps = [workload("ramp", duration_s=1.0, **ends) for ends in rising]
    replayed = workload("trace", requests=None, trace=tmp_path / "trace.csv", speed=2.0)
    for number, load in enumerate([*map(workload, kinds), *ramps, replayed]):
        records = [record(n, 10 * n, 10 * n + 5, 10 * n + 30) for n in range(4)]
        write_trial(
            tmp_path / "more" / str(number), TrialResult(trial(0, 100, load=load, reason="no meter"), records), []
        )
    more = sorted((tmp_path / "more").iterdir())
    written = export([folder, *more, imported], "guidellm-json", tmp_path / "benchmarks.json")
    report = GenerativeBenchmarksReport.load_file(written)
    found = [b.config.strategy.type_ for b in report.benchmarks]
    assert found == [
        "concurrent", "synchronous", "concurrent", "constant", "poisson", "poisson", "constant", "concurrent", "trace", "concurrent"
    ]  # fmt: skip
    assert (report.config.spec.profile.kind, report.config.spec.profile.streams) == ("concurrent", [2])

    benchmark = report.benchmarks[0]
    metrics = benchmark.metrics
    assert metrics.request_totals.model_dump() == {"successful": 2, "errored": 1, "incomplete": 0, "total": 3}
    assert metrics.time_to_first_token_ms.successful.mean == 15
    assert metrics.inter_token_latency_ms.successful.max == 20  # a request's mean: our TPOT
    assert metrics.time_per_output_token_ms.successful.max == 20  # 60 ms over 3 tokens, TTFT included
    assert metrics.time_to_first_token_ms.incomplete.count == 0
    assert benchmark.config.constraints == {"max_requests": {"type_": "max_requests", "count": 4}}
    state = benchmark.scheduler_state
    assert (state.created_requests, state.successful_requests, state.errored_requests) == (3, 2, 1)
    assert state.start_time == datetime.fromisoformat("2026-01-01T00:00:00+00:00").timestamp()
    assert benchmark.scheduler_metrics.request_time_avg == pytest.approx(0.045)  # of 30 and 60 ms
    assert benchmark.scheduler_metrics.queued_time_avg == -1  # not measured
    assert benchmark.duration == pytest.approx(0.1, abs=1e-5)


@pytest.mark.parametrize("name", ["requests.parquet", "trial.json", "summary.json", "power.json"])
def test_a_load_with_a_damaged_file_is_refused_in_one_line_that_names_it(folder, name):
    for content in (b"", bytes(300)):
        (folder / name).write_bytes(content)
        with pytest.raises(ReportError, match=f"{folder / name}: has changed since it was written"):
            read_loads(folder)
    (folder / name).unlink()
    with pytest.raises(ReportError, match=name):
        read_loads(folder)


def test_a_load_without_its_sums_is_read_unverified_and_with_others_it_is_not(folder):
    sums = folder / "SHA256SUMS"
    sums.write_bytes(bytes(300))
    with pytest.raises(ReportError, match="SHA256SUMS is no list of sha256 and names"):
        read_loads(folder)
    sums.write_text(f"{'f' * 64}  trial.json\n")
    with pytest.raises(ReportError, match=r"trial\.json: has changed since it was written"):
        read_loads(folder)
    sums.unlink()
    assert len(read_loads(folder).trials) == 1


def test_an_unsuitable_path_is_named(tmp_path, folder):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ReportError, match="is no run, no load"):
        export([tmp_path / "empty"], "csv", None)
    with pytest.raises(ReportError, match="--output"):
        export([folder], "csv", tmp_path / "nowhere" / "out.csv")


def test_a_load_says_by_which_rule_its_window_was_cut_and_what_was_offered(tmp_path):
    load = workload("constant", rate=100.0, requests=60)
    records = [record(n, 10 * n, 10 * n + 1, 30 + 13 * n) for n in range(60)]
    cut = trial(200, 590, load=load, reason="no meter").model_copy(update={"window_rule": "half"})
    write_trial(tmp_path / "load", TrialResult(cut, records), [])
    text = build_report([tmp_path / "load"]).with_suffix(".md").read_text()
    assert (
        "a window of 0.390 s: the last half of the sending. Offered: 100 requests/s. The server was saturated." in text
    )
    recorded = trial(200, 590, load=load, rules=1, reason="no meter").model_copy(update={"window_rule": "steady"})
    write_trial(tmp_path / "earlier", TrialResult(recorded, records), [])
    text = build_report([tmp_path / "earlier"]).with_suffix(".md").read_text()
    assert "the load less its ramps, by window rules 1 of earlier versions. Offered: 103 requests/s." in text
