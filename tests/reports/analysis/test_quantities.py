"""Every quantity against the same figure worked out from the records in plain Python."""

from __future__ import annotations

import statistics
from dataclasses import replace

import pytest

from loadgen.metrics.measuring.measure import measure_records, read_metrics
from loadgen.records.schema import RequestRecord, Trial
from loadgen.workloads.base import Workload
from loadgen.workloads.open_loop import ConstantLoad
from reports.analysis.quantities import OF_TEXT, QUANTITIES
from tests.reports.example_run import (
    BATCH,
    EPOCH_NS,
    HIDDEN,
    SINGLE,
    Example,
    TrialCell,
    measure,
    request,
    window_energy,
    write_trial,
)


def trial_of(records: list[RequestRecord], workload: Workload = SINGLE, energy: str = "nvml") -> Trial:
    return measure(Example(energy=energy), 4 * HIDDEN, workload, records)


def value(key: str, trial: Trial, records: list[RequestRecord]):
    return QUANTITIES[key].of(trial, measure_records(trial, records))


@pytest.fixture
def records() -> list[RequestRecord]:
    return [request(i, i, EPOCH_NS + i * 10**9, 20.0 + i, 10.0 + i / 10, SINGLE) for i in range(7)]


def test_latencies_are_those_of_the_definitions(records):
    trial = trial_of(records)
    ttft = [(r.first_token_ns - r.sent_ns) / 1e6 for r in records]
    tpot = [(r.last_token_ns - r.first_token_ns) / 1e6 / (r.output_tokens - 1) for r in records]
    e2e = [(r.last_token_ns - r.sent_ns) / 1e6 for r in records]
    assert value("median_ttft_ms", trial, records).value == pytest.approx(statistics.median(ttft))
    assert value("median_tpot_ms", trial, records).value == pytest.approx(statistics.median(tpot))
    assert value("median_e2e_ms", trial, records).value == pytest.approx(statistics.median(e2e))


def test_figures_per_character_are_those_per_token_over_the_answers_characters_per_token(records):
    spelled = [replace(r, output_characters=4 * r.output_tokens) for r in records]
    trial = trial_of(spelled)
    for of_tokens, of_text in OF_TEXT.items():
        if of_tokens in {"median_tpot_ms", "joules_per_output_token", "output_tokens_per_s"}:
            factor = 4 if QUANTITIES[of_text].better == "higher" else 1 / 4
            expected = factor * value(of_tokens, trial, spelled).value
            assert value(of_text, trial, spelled).value == pytest.approx(expected), of_text
    assert value("joules_per_output_character", trial, records) == (None, "output characters were not recorded")


def test_joules_are_divided_by_the_tokens_credited_in_the_same_window(records):
    trial = trial_of(records)
    joules, output, prompt = trial.energy.gross_joules, 7 * SINGLE.output_tokens, 7 * SINGLE.prompt_tokens
    assert value("joules_per_output_token", trial, records).value == pytest.approx(joules / output)
    assert value("joules_per_total_token", trial, records).value == pytest.approx(joules / (output + prompt))
    assert value("joules_per_request", trial, records).value == pytest.approx(joules / 7)
    seconds = (trial.window_end_ns - trial.window_start_ns) / 1e9
    assert value("mean_watts", trial, records).value == pytest.approx(joules / seconds)
    assert value("net_joules_per_output_token", trial, records).value == pytest.approx(trial.energy.net_joules / output)


def test_tokens_outside_the_window_are_not_credited(records):
    whole = trial_of(records)
    cut = whole.model_copy(update={"window_start_ns": records[2].sent_ns, "window_end_ns": records[4].arrival_ns[9]})
    seconds = (cut.window_end_ns - cut.window_start_ns) / 1e9
    tokens = 2 * SINGLE.output_tokens + 10
    assert value("output_tokens_per_s", cut, records).value == pytest.approx(tokens / seconds)


def test_latencies_of_requests_sent_in_the_ramp_are_not_counted(records):
    cut = trial_of(records).model_copy(update={"window_start_ns": records[5].sent_ns})
    assert value("median_ttft_ms", cut, records).value == pytest.approx(25.5)


def test_failed_requests_cost_energy_and_are_slower_than_any(records):
    broken = replace(records[3], error="connection reset", last_token_ns=None, finish_reason=None)
    some = [*records[:3], broken, *records[4:]]
    trial = trial_of(records)
    assert value("joules_per_request", trial, some).value == pytest.approx(trial.energy.gross_joules / 6)
    assert value("median_ttft_ms", trial, some).value == pytest.approx(24.0)  # of 20, 21, 22, 24, 25, 26, and one above
    assert value("output_tokens_per_s", trial, some).value == value("output_tokens_per_s", trial, records).value


def test_a_percentile_among_the_failed_requests_has_no_number_but_says_so(records):
    some = [replace(r, error="timeout") for r in records[:4]] + records[4:]
    for key in ("median_ttft_ms", "median_tpot_ms", "median_e2e_ms"):
        found = value(key, trial_of(records), some)
        assert found.value is None
        assert "among the failed requests" in found.reason
    many = [request(i, i, EPOCH_NS + i * 10**9, 20.0, 10.0, SINGLE) for i in range(400)]
    late = [replace(r, error="timeout") for r in many[:5]] + many[5:]
    assert value("p99_ttft_ms", trial_of(many), many).value == pytest.approx(20.0)
    assert "among the failed requests" in value("p99_ttft_ms", trial_of(many), late).reason


def test_itl_includes_the_tokens_of_failed_requests(records):
    slow = replace(request(7, 7, EPOCH_NS + 8 * 10**9, 20.0, 90.0, SINGLE), error="timeout")
    trial = trial_of([*records, slow])
    assert value("p99_itl_ms", trial, [*records, slow]).value == pytest.approx(90.0)
    assert value("p99_itl_ms", trial, records).value < 11


def bundled(index: int, first: int, *, running: bool = True, ends: bool = False) -> RequestRecord:
    """A first chunk of `first` tokens, then one token each 5 ms, 32 in all; without a running usage they are spread evenly."""
    record = request(index, index, EPOCH_NS + index * 10**9, 20.0, 5.0, SINGLE)
    chunks = SINGLE.output_tokens - first + 1 - ends
    record.arrival_ns = record.arrival_ns[:chunks]
    record.last_token_ns = record.arrival_ns[-1]
    counts = range(first, SINGLE.output_tokens + 1) if running else range(1, chunks + 1)
    record.arrival_tokens = [n if running else round(n * SINGLE.output_tokens / chunks) for n in counts]
    record.counted_by = "server-continuous-usage" if running else "server-usage"
    record.finish_reason = "stop" if ends else "length"
    return record


def test_the_tokens_of_the_first_chunk_took_no_time_per_token():
    records = [bundled(i, 6) for i in range(3)]
    assert value("median_tpot_ms", trial_of(records), records).value == pytest.approx(5.0)


def test_chunks_of_one_read_are_one_arrival():
    records = [request(i, i, EPOCH_NS + i * 10**9, 20.0, 5.0, SINGLE) for i in range(3)]
    for record in records:  # a proxy that passes on three events at once: the first when the third came
        late = record.arrival_ns[2::3]
        record.arrival_ns = [at for at in late for _ in range(3)] + record.arrival_ns[30:]
        record.first_token_ns = record.arrival_ns[0]
    found = value("median_tpot_ms", trial_of(records), records).value
    assert found == pytest.approx(5.0)
    assert value("median_itl_ms", trial_of(records), records).value == pytest.approx(5.0)


def test_time_per_token_is_unknown_where_the_tokens_of_the_first_chunk_are():
    records = [bundled(i, 6, running=False) for i in range(3)]
    for key in ("median_tpot_ms", "p99_tpot_ms", "median_itl_ms"):
        found = value(key, trial_of(records), records)
        assert found.value is None
        assert "first chunk are unknown in 3 of 3" in found.reason


@pytest.mark.parametrize("ends", [False, True])
def test_without_a_running_usage_equal_numbers_of_chunks_and_tokens_are_one_each(ends):
    records = [bundled(i, 1, running=False, ends=ends) for i in range(3)]
    trial = trial_of(records)
    assert value("median_tpot_ms", trial, records).value == pytest.approx(5.0)
    assert value("p99_itl_ms", trial, records).value == pytest.approx(5.0)


def test_without_any_usage_the_tokens_are_known_where_the_server_stopped_at_the_length_asked_for():
    records = [bundled(i, 1, running=False) for i in range(3)]
    known = [replace(r, counted_by="chunks", asked_tokens=32) for r in records]
    other = [replace(r, counted_by="chunks", asked_tokens=40) for r in records]
    assert value("median_tpot_ms", trial_of(known), known).value == pytest.approx(5.0)
    assert value("median_tpot_ms", trial_of(other), other).value is None


def test_one_unknown_among_hundreds_is_left_out():
    records = [bundled(i, 1) for i in range(199)] + [bundled(199, 6, running=False)]
    assert value("median_tpot_ms", trial_of(records), records).value == pytest.approx(5.0)


def test_a_chunk_of_four_tokens_is_four_gaps_of_a_quarter():
    record = request(0, 0, EPOCH_NS, 20.0, 10.0, SINGLE)
    record.arrival_ns = [EPOCH_NS + 20_000_000, EPOCH_NS + 60_000_000, EPOCH_NS + 70_000_000]
    record.arrival_tokens = [1, 5, 6]
    record.output_tokens, record.last_token_ns = 6, record.arrival_ns[-1]
    assert value("median_itl_ms", trial_of([record]), [record]).value == pytest.approx(10.0)


def test_open_loops_also_count_from_the_scheduled_time():
    workload = ConstantLoad(name="steady", rate=10, requests=3, output_tokens=8)
    late = [
        request(i, i, EPOCH_NS + i * 10**8 + 5_000_000, 20.0, 10.0, workload, scheduled_ns=EPOCH_NS + i * 10**8)
        for i in range(3)
    ]
    trial = trial_of(late, workload)
    assert value("median_ttft_ms", trial, late).value == pytest.approx(20.0)
    assert value("median_scheduled_ttft_ms", trial, late).value == pytest.approx(25.0)


def test_a_closed_loop_has_no_time_from_the_schedule(records):
    found = value("median_scheduled_ttft_ms", trial_of(records), records)
    assert found == (None, "a closed loop has no schedule")


def test_modelled_joules_never_stand_in_for_measured_ones(records):
    trial = trial_of(records, energy="modelled")
    measured, modelled = (
        value(k, trial, records) for k in ("joules_per_output_token", "modelled_joules_per_output_token")
    )
    assert measured.value is None
    assert measured.reason == trial.energy.reason
    assert modelled.value == pytest.approx(trial.energy.modelled_joules / (7 * SINGLE.output_tokens))


def test_measured_joules_never_stand_in_for_modelled_ones(records):
    assert value("modelled_joules_per_output_token", trial_of(records), records).value is None


def test_net_joules_may_be_negative(records):
    trial = trial_of(records)
    trial = trial.model_copy(update={"energy": trial.energy.model_copy(update={"net_joules": -224.0})})
    assert value("net_joules_per_output_token", trial, records).value == pytest.approx(-1.0)


def test_a_trial_of_one_token_has_no_tpot_and_says_so():
    one = SINGLE.model_copy(update={"output_tokens": 1})
    records = [request(0, 0, EPOCH_NS, 20.0, 10.0, one)]
    trial = trial_of(records, one)
    assert value("median_tpot_ms", trial, records).value is None
    assert value("median_itl_ms", trial, records) == (None, "no request has a second token")
    assert value("median_ttft_ms", trial, records).value == pytest.approx(20.0)


def test_no_quantity_of_an_empty_trial_is_zero(records):
    trial = trial_of(records)
    for key in QUANTITIES:
        found = value(key, trial, [])
        assert found.value is None
        assert found.reason


def test_the_file_gives_what_the_records_give(tmp_path, records):
    (tmp_path / "trials").mkdir()
    trial = trial_of(records, BATCH)
    folder = write_trial(tmp_path, TrialCell(block=0, label="a", workload="b", order=0), trial, records)
    stored = read_metrics(trial, folder / "requests.parquet")
    for quantity in QUANTITIES.values():
        assert quantity.of(trial, stored) == quantity.of(trial, measure_records(trial, records))


def test_an_energy_that_is_not_there_is_a_reason_not_a_zero(records):
    trial = trial_of(records).model_copy(update={"energy": window_energy("none", 0, EPOCH_NS, EPOCH_NS + 1)})
    assert value("joules_per_output_token", trial, records).value is None
    assert "RAPL" in value("net_joules_per_output_token", trial, records).reason
