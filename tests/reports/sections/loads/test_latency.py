from __future__ import annotations

import pytest

from reports.analysis.analyse import analyse_folder
from reports.sections.loads.latency import percentile_table
from reports.sections.plots.distributions import distribution_plot
from tests.reports.example_run import BATCH, SINGLE, Example, write_run

FEW = BATCH.model_copy(update={"requests": 16})
ENOUGH = BATCH.model_copy(update={"requests": 376})


def analysed(folder, workload, blocks):
    return analyse_folder(write_run(folder / "run", Example(workloads=(workload,), widths=(1024, 512), blocks=blocks)))


def test_a_p99_of_few_requests_is_withheld_with_the_number_required(tmp_path):
    analysis = analysed(tmp_path, FEW, 2)
    table = percentile_table(analysis, "batch-8")
    assert [entry.text for entry in table.rows[0].entries][2:] == ["32", "60.0", "—", "—", "—"]
    assert "p99 is shown from 368 requests on; MLPerf asks for 662." in table.remarks
    assert "No interval: 2 blocks; an interval over blocks requires 3." in table.remarks
    value = analysis.cell("width-1024", "batch-8").values["p99_ttft_ms"]
    assert (value.median, value.trials) == (None, 0)
    assert value.reason == "p99 of 16 requests has no interval: 368 are needed (MLPerf asks for 662)"
    assert "p99" not in distribution_plot(analysis, "batch-8", "ttft_ms").alt


def test_three_blocks_give_an_interval_around_a_percentile_of_requests_that_wait_for_each_other(tmp_path):
    example = Example(workloads=(BATCH,), widths=(1024, 512), blocks=3, noise=0.05)
    analysis = analyse_folder(write_run(tmp_path / "run", example))
    table = percentile_table(analysis, "batch-8")
    assert "95 % intervals over blocks" in table.caption
    assert table.rows[0].entries[3].change
    median = analysis.cell("width-512", "batch-8").percentiles["ttft_ms"][0]
    assert median.basis == "blocks"
    assert median.low < 48 < median.high


def test_one_block_of_overlapping_requests_has_percentiles_without_an_interval_and_says_why(tmp_path):
    analysis = analysed(tmp_path, ENOUGH, 1)
    table = percentile_table(analysis, "batch-8")
    assert all(entry.text != "—" and not entry.change for row in table.rows for entry in row.entries[3:])
    assert table.remarks == ["No interval: one trial; an interval over blocks requires 3."]
    cell = analysis.cell("width-512", "batch-8")
    assert cell.values["p99_ttft_ms"].median == pytest.approx(cell.percentiles["ttft_ms"][-1].value)
    assert cell.percentiles["ttft_ms"][-1].reason == "no interval: one trial"


def test_one_block_of_requests_one_at_a_time_has_intervals_of_this_trial(tmp_path):
    analysis = analysed(tmp_path, SINGLE.model_copy(update={"requests": 40}), 1)
    table = percentile_table(analysis, "single-request")
    assert "of this trial" in table.caption
    assert [bool(entry.change) for entry in table.rows[0].entries[3:]] == [True, True, False, False]


def test_a_workload_without_a_completed_request_has_no_table(tmp_path):
    missing = frozenset((0, width, "batch-8") for width in (1024, 512))
    run = write_run(tmp_path / "run", Example(workloads=(FEW,), widths=(1024, 512), blocks=1, missing=missing))
    assert percentile_table(analyse_folder(run), "batch-8") is None
