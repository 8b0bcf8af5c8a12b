"""Verdicts on latency where requests failed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from reports.analysis.analyse import analyse_folder
from reports.build import build_report
from reports.compare.runs import compare_runs
from reports.statistics.failures import AMONG_FAILED, Failures, fisher_p, judge_failures, shares_differ
from reports.statistics.ratios import Comparison
from tests.reports.example_run import EPOCH_NS as START
from tests.reports.example_run import SINGLE, Example, TrialCell, measure, offer, write_run, write_trial

BETTER = Comparison(ratio=0.8, low=0.78, high=0.82, verdict="better", margin=0.01, ratios={0: 0.8, 1: 0.8})


@pytest.mark.parametrize(
    ("own", "other", "differ"),
    [
        ((0, 500), (0, 500), False),
        ((1, 500), (0, 500), False),
        ((10, 100), (0, 100), True),
        ((50, 500), (45, 500), False),
    ],
)
def test_shares_differ_beyond_chance_by_fishers_exact_test(own, other, differ):
    assert shares_differ(Failures(*own), Failures(*other)) is differ


SIDES = st.tuples(st.integers(1, 3000), st.floats(0, 1)).map(lambda side: Failures(int(side[0] * side[1]), side[0]))


@given(SIDES, SIDES)
def test_fishers_p_value_is_scipys(own, other):
    table = [[side.failed, side.requests - side.failed] for side in (own, other)]
    assert fisher_p(own, other) == pytest.approx(stats.fisher_exact(table).pvalue, rel=1e-9, abs=1e-14)


def test_without_failures_a_comparison_stays_as_it_is():
    assert judge_failures(BETTER, Failures(0, 60), Failures(0, 60), among_failed=False) == BETTER
    assert judge_failures(BETTER, Failures(1, 500), Failures(0, 500), among_failed=False) == BETTER


def test_different_failure_shares_leave_a_ratio_without_interval_and_verdict():
    found = judge_failures(BETTER, Failures(10, 100), Failures(0, 100), among_failed=False)
    assert (found.ratio, found.low, found.verdict) == (0.8, None, None)
    assert found.reason == "the shares of failed requests differ (10 of 100 against 0 of 100)"


def test_with_few_requests_the_side_with_more_failures_is_not_called_better():
    more, none = Failures(3, 60), Failures(0, 60)
    assert not shares_differ(more, none)
    assert judge_failures(BETTER, more, none, among_failed=False).verdict is None
    assert judge_failures(BETTER, none, more, among_failed=False).verdict == "better"
    undecided = BETTER.model_copy(update={"ratio": 0.99, "high": 1.02, "verdict": "undecided"})
    assert judge_failures(undecided, more, none, among_failed=False).verdict is None
    slower = BETTER.model_copy(update={"ratio": 1.2, "low": 1.1, "high": 1.3, "verdict": "worse"})
    assert judge_failures(slower, more, none, among_failed=False).verdict == "worse"


def test_a_percentile_among_the_failed_has_no_ratio():
    found = judge_failures(BETTER, Failures(9, 100), Failures(9, 100), among_failed=True)
    assert (found.ratio, found.ratios, found.verdict) == (None, {}, None)
    assert AMONG_FAILED in found.reason


@dataclass(frozen=True)
class Dropping(Example):
    """Width 512 answers twice as fast; of its requests the last `dropped` of a trial time out."""

    widths: tuple[int, ...] = (1024, 512)
    workloads: tuple = (SINGLE.model_copy(update={"requests": 20}),)
    dropped: int = 2

    def truth(self, width, workload):
        truth = super().truth(width, workload)
        return truth if width == 1024 else replace(truth, ttft_ms=truth.ttft_ms / 2, tpot_ms=truth.tpot_ms / 2)


def written(path, example):
    """The run, with requests of the narrow width failing after their first token."""
    import numpy as np

    write_run(path, replace(example, missing=frozenset((b, 512, "single-request") for b in range(example.blocks))))
    workload = example.workloads[0]
    for block in range(example.blocks):
        cell = TrialCell(block=block, label=example.label(512), workload=workload.name, order=100 + block)
        records = offer(workload, example.truth(512, workload), 1.0, START, np.random.default_rng(block), 0.0)
        failed = [replace(r, error="no end of the answer within 30 s") for r in records[: example.dropped]]
        write_trial(path, cell, measure(example, 512, workload, records), failed + records[example.dropped :])
    return path


def test_a_configuration_that_times_out_is_never_called_better_in_latency(tmp_path):
    analysis = analyse_folder(written(tmp_path / "run", Dropping()))
    values = analysis.cell("width-512", "single-request").values
    for key in ("median_ttft_ms", "median_tpot_ms", "median_itl_ms", "median_e2e_ms"):
        assert values[key].comparison.verdict is None
        assert values[key].comparison.reason == "the shares of failed requests differ (10 of 100 against 0 of 100)"
    assert values["median_ttft_ms"].median == pytest.approx(10.0)


def test_where_more_than_half_failed_there_is_no_median_and_the_page_says_failed(tmp_path):
    folder = written(tmp_path / "run", Dropping(dropped=11))
    cell = analyse_folder(folder).cell("width-512", "single-request")
    assert cell.values["median_e2e_ms"].median is None
    assert AMONG_FAILED in cell.values["median_e2e_ms"].reason
    assert AMONG_FAILED in cell.values["median_e2e_ms"].comparison.reason
    assert len(cell.distributions["e2e_ms"]) == 47  # 0, 0.1, 0.5, and 1 to 44 %
    assert "| failed |" in build_report([folder]).with_suffix(".md").read_text()


def test_between_two_runs_unlike_shares_have_no_verdict(tmp_path):
    before = analyse_folder(written(tmp_path / "before", Dropping(dropped=0)))
    after = analyse_folder(written(tmp_path / "after", Dropping(dropped=3)))
    compared = compare_runs(before, after, margin=0.01, keys=["median_ttft_ms"])
    found = {cell.width: cell.quantities[0].comparison for cell in compared.cells}
    assert found[512].verdict is None
    assert "shares of failed requests differ (15 of 100 against 0 of 100)" in found[512].reason
    assert found[1024].verdict is not None
