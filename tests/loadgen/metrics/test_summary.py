from __future__ import annotations

import ast
import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from energy.carbon import read_intensity
from loadgen.records.schema import Flag, SteadyState, WarmUp
from tests.loadgen.made import MS, failed, record, summary_of, trial, workload

# fmt: off
VLLM_KEYS = {
    "date", "endpoint_type", "backend", "label", "model_id",
    "tokenizer_id", "num_prompts", "request_rate", "burstiness", "max_concurrency",
    "duration", "completed", "failed", "total_input_tokens", "total_output_tokens",
    "request_throughput", "request_goodput", "output_throughput", "total_token_throughput", "max_output_tokens_per_s",
    "max_concurrent_requests",
} | {f"{s}_{m}_ms" for s in ("mean", "median", "std", "p99") for m in ("ttft", "tpot", "itl", "e2el")}
# fmt: on


def test_it_has_the_keys_of_vllm_bench_serve_and_is_json():
    summary = summary_of(trial(0, 100), [record(0, 0, 10, 30)], [])
    assert set(summary) >= VLLM_KEYS
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary


# Of single requests, which are in requests.parquet (and in `prunebench report --format vllm-json`); of speech only; of a ramp.
NOT_OURS = {"input_lens", "output_lens", "ttfts", "itls", "latencies", "start_times", "queue_times", "generated_texts"}
RAMP = {"ramp_up_strategy", "ramp_up_start_rps", "ramp_up_end_rps"}
NOT_OURS |= {"errors", "rtfx", *RAMP}


@pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed")
def test_the_installed_vllm_writes_no_key_that_we_lack():
    tree = ast.parse((Path(find_spec("vllm").origin).parent / "benchmarks" / "serve.py").read_text("utf-8"))
    keys = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            named = {key.value for key in node.keys if isinstance(key, ast.Constant)}
            keys |= named if "total_output_tokens" in named else set()
        elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
            keys |= {node.slice.value} if ast.unparse(node.value) == "result_json" else set()
    assert len(keys - NOT_OURS) > 20
    assert keys - NOT_OURS <= set(summary_of(trial(0, 100), [record(0, 0, 10, 30)], []))


def test_a_ramp_has_vllms_keys_for_one():
    ramp = workload("ramp", rate=1.0, end_rate=5.0, duration_s=3.0)
    summary = summary_of(trial(0, 100, load=ramp), [record(0, 0, 10, 30)], [])
    assert [summary[key] for key in sorted(RAMP)] == [5.0, 1.0, "linear"]
    assert not RAMP & set(summary_of(trial(0, 100), [record(0, 0, 10, 30)], []))


def test_latencies_are_those_of_the_definitions():
    records = [record(0, 0, 10, 30, tokens=5), record(1, 30, 50, 70, tokens=3)]
    summary = summary_of(trial(0, 100), records, [])
    assert (summary["mean_ttft_ms"], summary["median_ttft_ms"]) == (15, 15)
    assert summary["mean_tpot_ms"] == pytest.approx((20 / 4 + 20 / 2) / 2)
    assert summary["mean_e2el_ms"] == pytest.approx(35)
    assert summary["mean_itl_ms"] == pytest.approx((4 * 5 + 2 * 10) / 6)
    assert summary["p99_ttft_ms"] == pytest.approx(19.9)


def test_a_chunk_of_several_tokens_is_several_gaps():
    chunky = record(0, 0, 10, 40, arrival_ns=[10 * MS, 40 * MS], arrival_tokens=[1, 4], output_tokens=4)
    summary = summary_of(trial(0, 100), [chunky], [])
    assert (summary["mean_itl_ms"], summary["median_itl_ms"], summary["mean_tpot_ms"]) == (10, 10, 10)


def test_tokens_are_credited_by_their_own_arrival_and_joules_go_to_those():
    # Tokens at 10, 20 … 100: six of them within 35 to 95.
    records = [record(0, 0, 10, 100, tokens=10)]
    load = workload("concurrency")
    summary = summary_of(trial(35, 95, load=load, gross_joules=12.0, modelled_joules=3.0), records, [])
    assert summary["window_output_tokens"] == 6
    assert summary["output_throughput"] == pytest.approx(6 / 0.06)
    assert summary["joules_per_output_token"] == 2.0
    assert summary["modelled_joules_per_output_token"] == 0.5
    assert summary["total_output_tokens"] == 10


def test_tokens_of_requests_that_failed_are_credited_since_they_cost_energy_too():
    broken = record(0, 0, 10, 30, tokens=3, error="the connection was lost")
    summary = summary_of(trial(0, 100, gross_joules=6.0), [broken, record(1, 0, 10, 30, tokens=3)], [])
    assert (summary["completed"], summary["failed"], summary["joules_per_output_token"]) == (1, 1, 1.0)
    assert summary["joules_per_request"] == 6.0
    assert summary["joules_per_total_token"] == pytest.approx(6 / 16)  # 6 output tokens and twice 5 of prompts


def test_what_was_not_measured_is_null_and_never_nought():
    summary = summary_of(trial(0, 100, reason="no meter"), [record(0, 0, 10, 30)], [])
    for key in ("joules_per_output_token", "joules_per_request", "joules_per_total_token"):
        assert summary[key] is None
    assert summary["modelled_joules_per_output_token"] is None
    assert summary["energy"]["reason"] == "no meter"


def test_when_everything_failed_there_are_no_latencies():
    summary = summary_of(trial(0, 100, gross_joules=5.0), [failed(0, 0, 20)], [])
    assert (summary["completed"], summary["failed"]) == (0, 1)
    for key in ("mean_ttft_ms", "p99_tpot_ms", "median_itl_ms", "joules_per_output_token", "max_output_tokens_per_s"):
        assert summary[key] is None


def test_vllms_keys_are_of_completed_requests_and_others_rank_the_failed_above_them():
    records = [record(n, 0, 10 + n, 50) for n in range(4)]
    summary = summary_of(trial(0, 100), [*records, failed(4, 0, 90)], [])
    assert (summary["median_ttft_ms"], summary["median_ttft_ms_with_failures"]) == (11.5, 12)
    assert summary["median_ttft_ms_with_failures_reason"] is None
    assert summary["p99_ttft_ms"] == pytest.approx(12.97)
    assert summary["p99_ttft_ms_with_failures"] is None
    assert "among the failed" in summary["p99_ttft_ms_with_failures_reason"]
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary


def test_itl_of_a_failed_request_is_not_in_vllms_keys():
    slow = record(1, 0, 10, 90, error="timeout")
    assert summary_of(trial(0, 100), [record(0, 0, 10, 30), slow], [])["p99_itl_ms"] == 10


def test_where_the_first_chunks_tokens_are_unknown_there_is_no_tpot_and_no_goodput_on_it():
    load = workload("single", slo_tpot_ms=100.0)
    two = record(0, 0, 10, 40, arrival_ns=[10 * MS, 40 * MS], arrival_tokens=[2, 4], output_tokens=4)
    two.counted_by = "server-usage"
    summary = summary_of(trial(0, 100, load=load), [two], [])
    keys = ("mean_tpot_ms", "p99_tpot_ms", "median_itl_ms", "request_goodput", "p99_tpot_ms_with_failures")
    assert [summary[key] for key in keys] == [None] * 5
    assert "unknown" in summary["p99_tpot_ms_with_failures_reason"]


def test_a_failed_request_meets_no_objective():
    load = workload("single", slo_ttft_ms=15.0)
    late = record(1, 0, 10, 30, error="timeout")
    assert summary_of(trial(0, 200, load=load), [record(0, 0, 10, 30), late], [])["request_goodput"] == 5.0


def test_open_loops_also_count_from_the_scheduled_time():
    late = record(0, 10, 30, 50, scheduled_ns=4 * MS)
    summary = summary_of(trial(0, 100, load=workload("constant")), [late], [])
    assert (summary["mean_ttft_ms"], summary["mean_scheduled_ttft_ms"]) == (20, 26)
    assert (summary["request_rate"], summary["max_concurrency"]) == (10.0, None)
    assert "mean_scheduled_ttft_ms" not in summary_of(trial(0, 100), [late], [])


def test_goodput_is_of_requests_that_met_every_objective():
    load = workload("single", slo_ttft_ms=15.0, slo_tpot_ms=12.0)
    good, slow_start, slow_tokens = record(0, 0, 10, 30), record(1, 30, 50, 70), record(2, 70, 80, 130)
    assert summary_of(trial(0, 200, load=load), [good, slow_start, slow_tokens], [])["request_goodput"] == 5.0
    assert summary_of(trial(0, 200), [good], [])["request_goodput"] is None


def test_goodput_is_also_of_requests_whose_slow_tokens_and_last_one_are_in_time():
    def gaps(index, *ends):
        at = [end * MS for end in ends]
        return record(
            index,
            0,
            ends[0],
            ends[-1],
            arrival_ns=at,
            arrival_tokens=list(range(1, len(at) + 1)),
            output_tokens=len(at),
        )

    smooth, stalled = gaps(0, 10, 20, 30, 40), gaps(1, 10, 12, 14, 40)  # the same TPOT
    for limits, good in (({"slo_itl_ms": 11.0}, 1), ({"slo_itl_ms": 26.0}, 2), ({"slo_e2e_ms": 39.0}, 0)):
        summary = summary_of(trial(0, 200, load=workload("single", **limits)), [smooth, stalled], [])
        assert summary["request_goodput"] == good / 0.2
    many = gaps(2, *range(10, 310), 400)  # one gap of 300 is beyond the 99th percentile
    assert summary_of(trial(0, 500, load=workload("single", slo_itl_ms=1.5)), [many], [])["request_goodput"] == 2.0


def test_the_busiest_second_and_the_most_in_flight():
    records = [
        record(0, 0, 100, 900, tokens=5),
        record(1, 50, 1100, 1900, tokens=9),
        record(2, 900, 1000, 1000, tokens=1),  # begins as the first ends: never three at once
    ]
    summary = summary_of(trial(0, 2000), records, [])
    assert (summary["max_output_tokens_per_s"], summary["max_concurrent_requests"]) == (10, 2)


def test_flags_go_with_their_reasons():
    flag = Flag(check="schedule-lag", outcome="warn", reason="late")
    assert summary_of(trial(0, 1), [], [flag])["flags"] == [flag.model_dump()]


def test_what_was_metered_beside_the_window_is_apart_and_null_with_the_reason_where_it_was_not():
    bare = trial(0, 100, reason="no meter")
    summary = summary_of(bare, [record(0, 0, 10, 30)])
    assert (summary["steady_state"], summary["warm_up"], summary["power_at_clock"]) == (None, None, None)
    assert summary["power_at_clock_reason"]
    assert "carbon" not in summary  # nothing was stated
    steady = SteadyState(batch=2, start_ns=0, end_ns=2 * 10**9, output_tokens=50, joules=100.0)
    warmup = WarmUp(requests=2, groups=1, seconds=1.0, steady=True, change=0.0, joules=7.0)
    whole = bare.model_copy(update={"steady_state": steady, "warmup": warmup}).with_carbon(read_intensity("350"))
    summary = summary_of(whole, [record(0, 0, 10, 30)])
    found = summary["steady_state"]
    assert (found["rule"], found["seconds"], found["joules_per_output_token"]) == ("ML.ENERGY", 2.0, 2.0)
    assert (summary["warm_up"]["joules"], summary["joules_per_output_token"]) == (7.0, None)
    assert (summary["carbon"]["grams"], summary["carbon"]["reason"]) == (None, "no meter")
