"""The load against the real server with its synthetic engine, whose times and joules are known."""

from __future__ import annotations

import numpy as np
import pytest

from loadgen.endpoint import Endpoint
from loadgen.energy.source import measure_idle, pick_energy
from loadgen.metrics.measuring.measure import measure_records
from loadgen.metrics.summary import summarize
from loadgen.prompts.files import workload_prompts
from loadgen.prompts.synthetic import SyntheticPrompts, make_prompts
from loadgen.prompts.tokens import served_tokens
from loadgen.results.store import read_trial, write_trial
from loadgen.trial import run_trial
from reports.checks.findings import check_trial
from tests.loadgen.made import EVERY_KIND, one_of_every_kind, summary_of, workload
from tests.server.conftest import serve_process, url_once_ready, write_checkpoint

pytestmark = pytest.mark.slow  # real servers under real load

OPTIONS = {"prefill_ms": "30", "token_ms": "5", "idle_watts": "50", "active_watts": "10"}
TOKENS = 20


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory):
    folder = write_checkpoint(tmp_path_factory.mktemp("checkpoints") / "tiny")
    process = serve_process(checkpoint=folder, engine_options=OPTIONS)
    yield Endpoint(url_once_ready(process), "tiny")
    process.terminate()
    process.communicate(timeout=30)


def measured(endpoint, load, prompts=None, **more):
    prompts = prompts or SyntheticPrompts(served_tokens(endpoint), load.prompt_tokens, seed=1)
    return run_trial(endpoint, load, prompts, seed=1, energy=pick_energy("auto", endpoint), **more)


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_every_kind_of_load_finds_the_engines_own_figures(endpoint, tmp_path, kind):
    load = one_of_every_kind(kind, tmp_path)
    result = measured(endpoint, load, prompts=workload_prompts(load, 1, lambda: served_tokens(endpoint)))
    assert {(r.error, r.output_tokens, r.counted_by) for r in result.records} == {(None, 8, "server-continuous-usage")}
    if not load.holds_sessions:  # whose prompts are words, and what was said before
        assert [r.prompt_tokens for r in result.records] == [load.prompt_length(1, r.index) for r in result.records]
    assert len(result.records) >= 4
    assert result.trial.server_generated_tokens == 8 * len(result.records)
    metrics = measure_records(result.trial, result.records)
    # The engine never writes early; how late a busy machine makes it is not for a test to say.
    assert np.nanmin(metrics.ttft_ms) >= 29
    assert np.nanmedian(metrics.ttft_ms) < 150
    assert np.nanmin(metrics.e2e_ms) >= 29 + 5 * 7
    assert np.nanmedian(metrics.tpot_ms) < 25


def test_chats_through_the_checkpoints_template_are_counted_with_what_it_adds(endpoint):
    load = workload(
        "concurrency", requests=6, output_tokens=TOKENS, prompt_tokens=9, endpoint="chat", prompt_as="words"
    )
    result = run_trial(endpoint, load, make_prompts(load, (), 1), seed=1, energy=pick_energy("auto", endpoint))
    assert [(r.error, r.output_tokens, r.counted_by) for r in result.records] == [
        (None, TOKENS, "server-continuous-usage")
    ] * 6
    assert all(r.prompt_tokens > 9 for r in result.records)


@pytest.mark.parametrize("kind", ["single", "batch", "concurrency"])
def test_joules_per_token_are_those_of_the_engines_power_curve_within_the_uncertainty_reported(endpoint, kind):
    idle = measure_idle(pick_energy("auto", endpoint), 0.5)
    result = measured(endpoint, workload(kind, requests=20, output_tokens=TOKENS), idle=idle)
    trial, summary = result.trial, summarize(result.trial, result.metrics, [])
    seconds = (trial.window_end_ns - trial.window_start_ns) / 1e9
    least, most = running_s(result, prefill_ns=28e6, token_ns=10e6)
    tokens = summary["window_output_tokens"]
    uncertainty = trial.energy.gross_joules_uncertainty / tokens
    assert summary["joules_per_output_token"] >= (50 * seconds + 10 * least) / tokens - uncertainty
    assert summary["joules_per_output_token"] <= (50 * seconds + 10 * most) / tokens + uncertainty
    assert uncertainty < 0.1 * summary["joules_per_output_token"]
    assert trial.energy.idle_watts == pytest.approx(50, rel=0.01)
    assert trial.energy.net_joules == pytest.approx(trial.energy.gross_joules - trial.energy.idle_watts * seconds)
    assert trial.energy.source == "synthetic"


def running_s(result, prefill_ns, token_ns):
    """Request seconds in the engine within the window: (least, most).

    The engine has a request for less than the client has, and for no less than from its first to its last token, and the
    time that a first token takes.
    """
    edges = result.trial.window_start_ns, result.trial.window_end_ns
    most = sum(inside(edges, r.sent_ns, r.end_ns) for r in result.records)
    least = sum(inside(edges, r.first_token_ns - prefill_ns, r.last_token_ns - token_ns) for r in result.records)
    return least, most


def inside(edges, start_ns, end_ns):
    return max(0, min(end_ns, edges[1]) - max(start_ns, edges[0])) / 1e9


@pytest.fixture(scope="module")
def slow_to_begin(tmp_path_factory):
    """Where first tokens take as long as they do, windows that begin and end at unlike phases are wrong by many percent."""
    folder = write_checkpoint(tmp_path_factory.mktemp("checkpoints") / "slow")
    options = {"prefill_ms": "400", "token_ms": "10", "idle_watts": "50", "active_watts": "10"}
    process = serve_process(checkpoint=folder, engine_options=options)
    yield Endpoint(url_once_ready(process), "slow")
    process.terminate()
    process.communicate(timeout=30)


@pytest.mark.parametrize(("generations", "processes", "flagged"), [(2, 1, True), (4, 1, False), (8, 2, False)])
def test_a_closed_loops_figures_agree_with_each_other_and_with_the_engines_power(
    slow_to_begin, generations, processes, flagged
):
    streams, tokens = 8, 64
    load = workload("concurrency", concurrency=streams, requests=(generations + 2) * streams, output_tokens=tokens)
    result = measured(slow_to_begin, load, processes=processes)
    trial, flags = result.trial, {flag.check for flag in check_trial(result.trial, result.metrics)}
    summary = summary_of(trial, result.records, [])
    assert trial.generations == generations
    assert ("few-generations" in flags) is flagged
    # In the long run, at whatever pace: in flight = rate x E2E, tokens = rate x 64, watts = idle + running x active. Where a busy
    # machine made one generation last longer than another, the window's two ends count that much of one of them too much.
    lasted = [r.end_ns - r.sent_ns for r in result.records]
    off = max(0.02, (max(lasted) / min(lasted) - 1) / generations)
    rate, (least, most) = summary["request_throughput"], running_s(result, prefill_ns=398e6, token_ns=12e6)
    assert rate * summary["mean_e2el_ms"] / 1e3 == pytest.approx(most / summary["duration"], rel=off)
    assert summary["output_throughput"] == pytest.approx(rate * tokens, rel=off)
    watts, running = summary["joules_per_request"] * rate, (least / summary["duration"], most / summary["duration"])
    assert (1 - off) * (50 + 10 * running[0]) < watts < (1 + off) * (50 + 10 * running[1])
    assert summary["joules_per_output_token"] * tokens == pytest.approx(summary["joules_per_request"], rel=0.02)


def test_a_trial_comes_back_from_disk_as_it_was(endpoint, tmp_path):
    result = measured(endpoint, workload("single", requests=2, output_tokens=3))
    write_trial(tmp_path / "t", result, [])
    assert read_trial(tmp_path / "t") == result
