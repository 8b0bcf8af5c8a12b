"""How rows are cut, joined and credited; every quantity against plain Python is in tests/reports/analysis/test_quantities.py."""

from __future__ import annotations

import itertools
import math
from dataclasses import fields, replace

import numpy as np
import pytest

from loadgen.metrics.latencies import percentiles
from loadgen.metrics.measuring.measure import measure_records, read_metrics
from loadgen.metrics.metrics import NO_GAPS
from loadgen.metrics.window import cut_window
from loadgen.records import parquet
from loadgen.results.result import TrialResult
from loadgen.results.store import write_trial
from tests.loadgen.made import MS, failed, record, summary_of, trial, workload

RECORDS = [record(0, 0, 10, 30), failed(1, 5, 6), record(2, 20, 40, 45, tokens=1), record(3, 25, 50, 95, tokens=6)]


def same(one, other):
    for field in fields(one):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if field.name == "completed_itl":  # sums of sums: their last digit depends on the parts
            assert a.percentiles == b.percentiles
            assert (a.mean, a.std) == pytest.approx((b.mean, b.std), rel=1e-12)
        else:
            np.testing.assert_array_equal(a, b, err_msg=field.name)


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_however_many_rows_are_read_at_once_the_figures_are_the_same(tmp_path, monkeypatch, rows):
    within = trial(0, 100)
    whole = measure_records(within, RECORDS)
    write_trial(tmp_path / "t", TrialResult(within, RECORDS), [])
    monkeypatch.setattr(parquet, "ROWS_AT_ONCE", rows)
    same(measure_records(within, RECORDS), whole)
    same(read_metrics(within, tmp_path / "t" / "requests.parquet"), whole)
    assert (whole.requests, whole.chunks) == (4, 10)


def test_latencies_have_one_entry_a_request_and_no_number_where_it_did_not_happen():
    found = measure_records(trial(0, 100), RECORDS)
    np.testing.assert_array_equal(found.ttft_ms, [10, np.inf, 20, 25])
    np.testing.assert_array_equal(found.tpot_ms, [10, np.inf, np.nan, 9])  # the third has a single token
    np.testing.assert_array_equal(found.completed, [True, False, True, True])
    assert found.first_error == "HTTP 500: no"


@pytest.mark.parametrize(
    ("start", "end", "tokens", "by_rules_1"),
    [(9, 30, 3, 3), (10, 30, 2, 3), (11, 30, 2, 2), (10, 29, 1, 2), (30, 31, 0, 1), (31, 40, 0, 0)],
)
def test_tokens_at_the_windows_end_are_inside_it_and_at_its_start_only_by_the_rules_of_earlier_runs(
    start, end, tokens, by_rules_1
):
    found = measure_records(trial(start, end), RECORDS[:1])  # tokens at 10, 20 and 30
    assert measure_records(trial(start, end, rules=1), RECORDS[:1]).window_output_tokens == by_rules_1
    assert found.window_output_tokens == tokens
    assert found.output_tokens_per_s == pytest.approx(tokens / (end - start) * 1e3)


def test_adjoining_windows_share_out_every_token_once():
    edges = [0, 20, 30, 60, 100]  # tokens fall on three of them
    parts = [measure_records(trial(a, b), RECORDS) for a, b in itertools.pairwise(edges)]
    whole = measure_records(trial(0, 100), RECORDS)
    for name in ("window_output_tokens", "window_prompt_tokens", "window_requests"):
        assert sum(getattr(part, name) for part in parts) == getattr(whole, name)
    assert (whole.window_output_tokens, whole.window_prompt_tokens, whole.window_requests) == (10, 15, 3)


def test_characters_are_credited_with_the_tokens_that_brought_them():
    spelled = [
        replace(RECORDS[0], output_characters=12),
        RECORDS[1],
    ]  # four a token, at 10, 20 and 30; one failed before any
    found = measure_records(trial(10, 30), spelled)
    assert (found.window_output_characters, found.window_output_tokens) == (8, 2)
    np.testing.assert_array_equal(found.character_ms, [10 / 4, np.nan])
    assert measure_records(trial(0, 100), spelled).window_output_characters == 12


def test_where_the_characters_of_one_answer_are_not_known_there_is_no_count_of_them():
    found = measure_records(trial(0, 100), [replace(RECORDS[0], output_characters=12), RECORDS[2]])
    assert found.window_output_characters is None


def test_requests_and_latencies_are_those_of_requests_that_ended_in_the_window():
    found = measure_records(trial(30, 90), RECORDS)  # they ended at 30, 6, 45 and 95
    np.testing.assert_array_equal(found.ttft_ms, [np.nan, np.nan, 20, np.nan])
    assert found.window_requests == 1
    found = measure_records(trial(29, 95), RECORDS)
    np.testing.assert_array_equal(found.e2e_ms, [30, np.nan, 20, 70])
    assert found.window_requests == 3


def test_by_the_rules_of_earlier_runs_latencies_are_those_of_requests_sent_in_the_window():
    found = measure_records(trial(20, 90, rules=1), RECORDS)  # they were sent at 0, 5, 20 and 25
    np.testing.assert_array_equal(found.ttft_ms, [np.nan, np.nan, 20, 25])
    assert found.window_requests == 2  # of those that ended


def measured_open_loop(took_ms, *, rules=2):
    """A request every 10 ms, 100 in all, each taking what `took_ms` says of its number; the window as the rules cut it."""
    load = workload("constant", rate=100.0, requests=100)
    records = [record(n, 10 * n, 10 * n + 1, 10 * n + took_ms(n)) for n in range(100)]
    window = cut_window(load, records, rules=rules)
    cut = trial(window.start_ns // MS, window.end_ns // MS, load=load, rules=rules, gross_joules=99.0)
    cut = cut.model_copy(update={"window_rule": window.rule})
    return measure_records(cut, records), summary_of(cut, records, [])


def test_of_a_server_that_keeps_up_requests_are_those_that_were_sent_in_the_window():
    # The first half takes 20 ms, the second 100 ms; the window is from 100 ms to 990 ms, 89 arrivals and 81 ends.
    metrics, summary = measured_open_loop(lambda n: 20 if n < 50 else 100)
    assert (metrics.backlog.growing, metrics.window_requests, metrics.credited_requests) == (False, 81, 89)
    assert summary["request_throughput"] == summary["offered_rate"] == pytest.approx(100.0)
    assert summary["joules_per_request"] == 99.0 / 89


def test_of_a_saturated_server_requests_are_those_that_ended_in_the_window():
    metrics, summary = measured_open_loop(lambda n: 20 + 3 * n)  # one ends every 13 ms
    assert metrics.saturated
    assert summary["saturated"] is True
    assert summary["request_throughput"] == pytest.approx(1000 / 13, rel=0.02)
    assert summary["offered_rate"] == pytest.approx(100.0, rel=0.01)
    assert summary["joules_per_request"] == 99.0 / metrics.window_requests


def test_by_the_rules_of_earlier_runs_no_backlog_is_judged_and_ends_are_credited():
    metrics, summary = measured_open_loop(lambda n: 20 + 3 * n, rules=1)
    assert (metrics.backlog, metrics.credited_requests) == (None, metrics.window_requests)
    assert summary["saturated"] is None


def test_no_requests_give_empty_rows_and_no_statistics():
    found = measure_records(trial(0, 100), [])
    assert (found.requests, found.itl_ms, found.completed_itl, found.first_error) == (0, {}, NO_GAPS, None)


def test_a_failed_request_is_slower_than_any_even_if_it_failed_after_its_first_token():
    late = record(0, 0, 10, 30, error="timeout")
    never_sent = failed(1, 0, 5)
    never_sent.sent_ns = None
    one = failed(2, 0, 5)
    one.asked_tokens = 1  # has no time per token, failed or not
    found = measure_records(trial(0, 100), [late, never_sent, one])
    for values in (found.ttft_ms, found.e2e_ms, found.scheduled_ttft_ms):
        np.testing.assert_array_equal(values, [np.inf] * 3)
    np.testing.assert_array_equal(found.tpot_ms, [np.inf, np.inf, np.nan])
    outside = measure_records(trial(50, 100), [late, never_sent, one])
    np.testing.assert_array_equal(outside.ttft_ms, [np.nan] * 3)


@pytest.mark.parametrize("failures", [0, 1, 2, 3])
@pytest.mark.parametrize("wanted", [0, 10, 25, 50, 75, 99, 100])
def test_a_percentile_is_a_number_until_it_takes_a_failed_request(failures, wanted):
    finite = np.array([3.0, 1.0, 4.0, 2.0, 5.0][: 5 - failures])
    values = np.concatenate([[np.inf] * failures, finite])
    found = percentiles(values, [wanted])[wanted]
    place = wanted / 100 * 4
    assert math.isfinite(found) == (math.ceil(place) < 5 - failures)
    if math.isfinite(found):
        assert found == pytest.approx(np.percentile(np.concatenate([finite, [9.0] * failures]), wanted))


def test_percentiles_leave_out_what_did_not_happen_and_keep_what_they_are_given():
    values = np.array([4.0, np.nan, 1.0, 3.0, 2.0])
    assert percentiles(values, [0, 50, 100]) == {0: 1.0, 50: 2.5, 100: 4.0}
    np.testing.assert_array_equal(values, [4.0, np.nan, 1.0, 3.0, 2.0])
    assert percentiles(np.array([np.nan]), [50]) == {}
