from __future__ import annotations

import itertools
import json
import re
import signal
import subprocess
import sys
import time

import pytest

from loadgen.endpoint import Endpoint, LoadError
from loadgen.energy.source import NoEnergy
from loadgen.link.messages import Steadiness
from loadgen.prompts.synthetic import FilePrompts, SyntheticPrompts, make_prompts
from loadgen.trial import Watcher, run_trial
from tests.loadgen.made import MS, workload
from tests.loadgen.scripted import CLOSE, HEAD, ScriptedServer, chunked, event, sized, stream, token

POOL = range(100, 200)
METRICS = (
    b'# TYPE vllm:generation_tokens_total counter\nvllm:generation_tokens_total{engine="0"} %d\n'
    b'# TYPE vllm:prefix_cache_hits_total counter\nvllm:prefix_cache_hits_total{engine="0"} 7\n'
    b'# TYPE vllm:num_preemptions_total counter\nvllm:num_preemptions_total{engine="0"} %d\n'
)


def run(script, load, *, pages=None, prompts=None, **settings):
    """(result, what the server was asked, in order)."""
    with ScriptedServer(script, pages=pages or {}) as server:
        endpoint = Endpoint(server.url, "m", **settings)
        prompts = prompts or SyntheticPrompts(POOL, load.prompt_tokens, seed=0)
        result = run_trial(endpoint, load, prompts, seed=0, energy=NoEnergy("not here"))
        return result, server.asked


def quick(*_):
    return stream(2, first_s=0.01, token_s=0.01)


def test_single_requests_go_one_after_another_after_the_warm_up():
    result, asked = run(quick, workload("single", requests=3, warmup_requests=2, output_tokens=2))
    assert len(asked) == 5
    assert [r.index for r in result.records] == [0, 1, 2]
    assert all(a.end_ns <= b.sent_ns for a, b in itertools.pairwise(result.records))
    assert all(r.error is None and r.arrival_tokens == [1, 2] for r in result.records)
    trial = result.trial
    assert (trial.window_rule, trial.window_start_ns) == ("whole", result.records[0].sent_ns)
    assert trial.window_end_ns == result.records[-1].end_ns


def test_what_is_asked_is_greedy_streamed_of_fixed_length_and_different_each_time():
    _, asked = run(quick, workload("single", requests=3, warmup_requests=2, prompt_tokens=9, output_tokens=2))
    bodies = [a.body for a in asked]
    assert all(len(body["prompt"]) == 9 for body in bodies)
    assert len({tuple(body.pop("prompt")) for body in bodies}) == 5
    assert bodies[0] == {
        "model": "m",
        "max_tokens": 2,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True, "continuous_usage_stats": True},
        "ignore_eos": True,
    }


def test_a_natural_stop_leaves_the_end_to_the_model_and_texts_go_as_they_are():
    load = workload("single", requests=2, warmup_requests=0, natural_stop=True)
    _, asked = run(quick, load, prompts=FilePrompts(["one", "two"]))
    assert all("ignore_eos" not in a.body for a in asked)
    assert [a.body["prompt"] for a in asked] == ["one", "two"]


def test_a_batch_is_sent_at_once_and_the_next_when_all_have_ended():
    def script(n, _):
        return stream(2, first_s=0.02 if n % 3 else 0.1)

    load = workload("batch", batch_size=3, requests=6, warmup_requests=1)
    result, asked = run(script, load)
    assert len(asked) == 9  # the warm-up is a whole batch too
    first, second = result.records[:3], result.records[3:]
    assert [r.group for r in result.records] == [0, 0, 0, 1, 1, 1]
    assert max(r.sent_ns for r in first) < min(r.first_token_ns for r in first)
    assert max(r.end_ns for r in first) <= min(r.sent_ns for r in second)
    assert len({r.scheduled_ns for r in first}) == 1


def test_a_closed_loop_keeps_its_number_in_flight_and_no_more():
    load = workload("concurrency", concurrency=4, requests=20, warmup_requests=1)
    result, asked = run(quick, load)
    assert len(asked) == 24
    for r in result.records:
        beside = [o for o in result.records if o.sent_ns <= r.sent_ns < o.end_ns]
        assert len(beside) <= 4
    trial = result.trial
    assert (trial.window_rules, trial.window_rule, trial.generations) == (2, "generations", 3)
    assert trial.first_sent_ns < trial.window_start_ns < trial.window_end_ns < trial.last_end_ns


def listed(size, tokens=2, usage="own"):
    """One stream with chunks of every prompt by turns, and the total at the end. `usage` in a chunk: its own, of all, none."""
    chunks = []
    for t, n in itertools.product(range(1, tokens + 1), range(size)):
        done = {"own": (3, t), "all": (3 * size, (t - 1) * size + n + 1), "none": None}[usage]
        said = {} if done is None else {"usage": {"prompt_tokens": done[0], "completion_tokens": done[1]}}
        choice = {"index": n, "text": "a", "finish_reason": "length" if t == tokens else None}
        chunks.append(chunked(event(choices=[choice], **said)))
    total = event(choices=[], usage={"prompt_tokens": 3 * size, "completion_tokens": tokens * size})
    return [HEAD, *chunks, chunked(total + b"data: [DONE]\n\n") + b"0\r\n\r\n"]


@pytest.mark.parametrize("usage", ["own", "all", "none"])
def test_a_batch_may_be_one_request_with_a_list_of_prompts_and_has_a_record_for_each(usage):
    def script(_, asked):
        return listed(len(asked.body["prompt"]), usage=usage)

    load = workload("batch", batch_size=3, batch_as="list", requests=7, warmup_requests=1, output_tokens=2)
    result, asked = run(script, load)
    assert [len(a.body["prompt"]) for a in asked] == [3, 3, 3, 1]  # the warm-up, two whole lists and the rest
    assert len({tuple(prompt) for a in asked for prompt in a.body["prompt"]}) == 10
    assert [(r.index, r.group) for r in result.records] == [(0, 0), (1, 0), (2, 0), (3, 1), (4, 1), (5, 1), (6, 2)]
    assert [r.error for r in result.records] == [None] * 7
    assert {(r.output_tokens, len(r.arrival_ns), r.asked_tokens) for r in result.records} == {(2, 2, 2)}
    # Without usage in every chunk only a list of one has totals that are its own.
    counted = ["chunks"] * 6 + ["server-usage"] if usage == "none" else ["server-continuous-usage"] * 7
    assert [r.counted_by for r in result.records] == counted
    assert [r.prompt_tokens for r in result.records] == ([None] * 6 + [3] if usage == "none" else [3] * 7)


def test_a_list_that_breaks_off_is_an_error_of_every_prompt_in_it():
    def script(_, asked):
        return [*listed(len(asked.body["prompt"]))[:3], CLOSE]

    load = workload("batch", batch_size=2, batch_as="list", requests=2, warmup_requests=0, output_tokens=2)
    result, _ = run(script, load)
    assert all("connection was lost" in r.error for r in result.records)
    assert [r.arrival_tokens for r in result.records] == [[1], [1]]


def test_the_users_of_a_ramp_join_one_after_another():
    load = workload("ramp", concurrency=1, end_concurrency=4, duration_s=0.8, warmup_requests=0, output_tokens=2)
    result, _ = run(lambda *_: stream(2, first_s=0.02), load)
    assert most_in_flight(result.records, before_s=0.15) == 1
    assert most_in_flight(result.records, before_s=9) == 4
    assert result.trial.window_rule == "whole"


def test_the_users_of_a_falling_ramp_leave_one_after_another_and_no_number_is_lost():
    load = workload("ramp", concurrency=4, end_concurrency=1, duration_s=0.8, warmup_requests=0, output_tokens=2)
    result, _ = run(lambda *_: stream(2, first_s=0.02), load)
    assert most_in_flight(result.records, before_s=0.1) == 4
    last = max(r.sent_ns for r in result.records)
    assert most_in_flight([r for r in result.records if r.sent_ns > last - 0.1e9], before_s=9) == 1
    assert [r.index for r in result.records] == list(range(len(result.records)))


def most_in_flight(records, before_s):
    began = min(r.sent_ns for r in records)
    inside = [r for r in records if r.sent_ns - began < before_s * 1e9]
    return max(sum(o.sent_ns <= r.sent_ns < o.end_ns for o in inside) for r in inside)


def test_every_request_asks_for_the_length_that_is_drawn_for_it():
    load = workload("single", requests=6, warmup_requests=0, prompt_tokens="uniform:3-30", output_tokens="uniform:1-9")
    result, asked = run(lambda _, a: stream(a.body["max_tokens"]), load)
    assert [a.body["max_tokens"] for a in asked] == [load.answer_length(0, n) for n in range(6)]
    assert [len(a.body["prompt"]) for a in asked] == [load.prompt_length(0, n) for n in range(6)]
    assert [r.asked_tokens for r in result.records] == [r.output_tokens for r in result.records]
    assert len({r.asked_tokens for r in result.records}) > 1


def test_a_trace_leaves_at_its_times_with_its_lengths(tmp_path):
    file = tmp_path / "t.jsonl"
    rows = [(0, 600, 2, [1, 2]), (30, 520, 3, [1, 9]), (100, 5, 1, [])]
    file.write_text(
        "".join(
            f'{{"timestamp": {t}, "input_length": {i}, "output_length": {o}, "hash_ids": {h}}}\n' for t, i, o, h in rows
        )
    )
    load = workload("trace", trace=file, requests=None, speed=0.5, warmup_requests=1)
    result, asked = run(lambda _, a: stream(a.body["max_tokens"]), load, prompts=make_prompts(load, POOL, seed=0))
    assert [(len(a.body["prompt"]), a.body["max_tokens"]) for a in asked[1:]] == [(600, 2), (520, 3), (5, 1)]
    assert asked[1].body["prompt"][:512] == asked[2].body["prompt"][:512] != asked[0].body["prompt"][:512]
    first = result.records[0].scheduled_ns
    assert [round((r.scheduled_ns - first) / MS) for r in result.records] == [0, 60, 200]


@pytest.mark.parametrize("kind", ["constant", "poisson"])
def test_an_open_loop_sends_on_schedule_whatever_has_come_back_and_never_early(kind):
    load = workload(kind, rate=100.0, requests=20, warmup_requests=0)
    result, _ = run(lambda *_: stream(2, first_s=0.5), load)
    records = result.records
    assert max(r.sent_ns for r in records) < min(r.end_ns for r in records)
    assert all(r.sent_ns >= r.scheduled_ns for r in records)
    gaps = [b.scheduled_ns - a.scheduled_ns for a, b in itertools.pairwise(records)]
    if kind == "constant":
        assert all(gap == pytest.approx(10 * MS, abs=2) for gap in gaps)
    assert result.trial.client.schedule_lag_p99_ms >= 0


@pytest.mark.parametrize("kind", ["single", "concurrency", "constant"])
def test_a_duration_stops_new_requests_and_lets_the_last_ones_end(kind):
    load = workload(kind, duration_s=0.4, warmup_requests=0, **({"rate": 50.0} if kind == "constant" else {}))
    result, _ = run(quick, load)
    start = min(r.sent_ns for r in result.records)
    assert len(result.records) > 5
    assert all(r.scheduled_ns - start < 0.6e9 for r in result.records)
    assert all(r.error is None for r in result.records)


class Noting(Watcher):
    def __init__(self, noted):
        self._noted = noted

    def finished(self, record):
        self._noted.append(record.index)


def test_every_request_that_ends_is_reported():
    noted = []
    with ScriptedServer(quick) as server:
        endpoint = Endpoint(server.url, "m")
        load = workload("concurrency", requests=6, warmup_requests=2)
        prompts = SyntheticPrompts(POOL, 4, 0)
        run_trial(endpoint, load, prompts, seed=0, energy=NoEnergy(""), watcher=Noting(noted))
    assert sorted(noted) == [0, 1, 2, 3, 4, 5]


def test_failed_requests_are_records_with_their_reasons():
    def script(n, _):
        return [
            stream(2),
            [sized(b'{"error": {"message": "too long"}}', "400 Bad Request")],
            [HEAD + chunked(token(usage=1)), 0.05, CLOSE],
            [HEAD + chunked(token(usage=1)) + chunked(b'data: {"error": {"message": "died"}}\n\n') + b"0\r\n\r\n"],
            [HEAD + chunked(token(usage=1)) + chunked(b"data: []\n\n") + b"0\r\n\r\n"],
            [5.0],
        ][n]

    result, _ = run(script, workload("single", requests=6, warmup_requests=0), timeout_s=0.5)
    errors = [r.error for r in result.records]
    assert errors[0] is None
    for error, reason in zip(
        errors[1:], ("HTTP 400: too long", "lost", "died", "not a completion", "0.5 s"), strict=True
    ):
        assert reason in error
    assert [r.arrival_tokens for r in result.records] == [[1, 2], [], [1], [1], [1], []]
    assert [r.status for r in result.records] == [200, 400, 200, 200, 200, None]


@pytest.mark.parametrize("kind", ["single", "constant"])
def test_a_server_that_hangs_is_asked_nothing_more(kind):
    # Enough that a slow machine, where the second answer may end after others were sent, stops long before the last.
    load = workload(kind, requests=400, warmup_requests=0, **({"rate": 20.0} if kind == "constant" else {}))
    result, asked = run(lambda n, _: stream(2) if n < 2 else [20.0], load, timeout_s=0.4)
    assert result.stalled
    assert len(asked) == len(result.records) < 400
    assert [r.error for r in result.records[:2]] == [None, None]


def test_one_request_that_hangs_among_others_that_end_is_no_hung_server():
    load = workload("concurrency", concurrency=2, requests=8, warmup_requests=0)
    result, _ = run(lambda n, _: [20.0] if n == 0 else stream(2), load, timeout_s=0.4)
    assert not result.stalled
    assert [r.error is None for r in result.records] == [False] + [True] * 7


def test_the_warm_up_goes_on_until_it_is_steady_and_the_trial_keeps_how_it_went():
    waits = [0.4, 0.2, 0.05]

    def script(n, _):
        return [waits[n] if n < len(waits) else 0.05, *stream(2)]

    with ScriptedServer(script) as server:
        endpoint, load = Endpoint(server.url, "m"), workload("single", requests=2, warmup_requests=1)
        prompts = SyntheticPrompts(POOL, 4, 0)
        result = run_trial(endpoint, load, prompts, seed=0, energy=NoEnergy(""), until=Steadiness(0.3, 20))
    warmup = result.trial.warmup
    assert warmup.steady
    assert warmup.requests == warmup.groups > 3
    assert len(result.records) == 2


def test_a_server_that_refuses_every_warm_up_request_is_reported_before_the_load():
    no = sized(b'{"error": {"message": "max_tokens is too large"}}', "400 Bad Request")
    with pytest.raises(LoadError, match="warm-up request failed, the first with: HTTP 400: max_tokens is too large"):
        run(lambda *_: [no], workload("single", requests=100))


@pytest.mark.parametrize(
    ("message", "body", "key"),
    [
        ("Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.", "max_completion_tokens", 7),
        ("Extra inputs are not permitted: ignore_eos", "ignore_eos", None),
        ("unknown field `continuous_usage_stats`", "stream_options", {"include_usage": True}),
        ("stream_options is not supported", "stream_options", None),
    ],
)
def test_a_server_that_refuses_a_key_of_ours_is_asked_without_it_by_the_body_that_its_error_names(message, body, key):
    def script(_, asked):
        refused = asked.body.get(body) != key
        no = sized(json.dumps({"error": {"message": message}}).encode(), "400 Bad Request")
        return [no] if refused else stream(7)

    load = workload("single", requests=2, warmup_requests=1, output_tokens=7)
    with pytest.raises(LoadError, match="this server may take --body") as caught:
        run(script, load)
    advised = re.search(r"--body '(.*)'$", str(caught.value))
    assert advised
    result, asked = run(script, load.model_copy(update={"body": json.loads(advised[1])}))
    assert [record.error for record in result.records] == [None, None]
    assert {str(a.body.get(body)) for a in asked} == {str(key)}


def test_what_is_advised_for_one_refused_key_keeps_the_body_that_was_given():
    def script(_, asked):
        refused = next(
            (key for key in ("ignore_eos", "max_completion_tokens") if (key == "ignore_eos") == (key in asked.body)), ""
        )
        no = sized(json.dumps({"error": {"message": f"{refused}?"}}).encode(), "400 Bad Request")
        return [no] if refused else stream(7)

    load, advice = workload("single", requests=2, warmup_requests=1, output_tokens=7, body={"top_p": 0.5}), []
    for _ in range(2):
        with pytest.raises(LoadError) as caught:
            run(script, load)
        (found,) = re.findall(r"this server may take --body '(.*)'$", str(caught.value))
        advice.append(json.loads(found))
        load = load.model_copy(update={"body": advice[-1]})
    assert advice[0] == {"top_p": 0.5, "ignore_eos": None}
    assert advice[1] == {**advice[0], "max_tokens": None, "max_completion_tokens": "$output_tokens"}
    assert {record.error for record in run(script, load)[0].records} == {None}


def test_nobody_there_is_an_error_of_one_line():
    with ScriptedServer(quick) as server:
        url = server.url
    for warmup in (0, 2):
        load = workload("single", requests=2, warmup_requests=warmup)
        with pytest.raises(LoadError, match="no connection") as noted:
            run_trial(Endpoint(url, "m"), load, SyntheticPrompts(POOL, 4, 0), seed=0, energy=NoEnergy(""))
        assert "\n" not in str(noted.value)


def test_a_server_that_fails_at_once_is_not_asked_without_end():
    def script(n, _):
        return quick() if n == 0 else [sized(b"no", "503 Service Unavailable")]

    _, asked = run(script, workload("single", duration_s=0.5, warmup_requests=1))
    assert len(asked) < 10


def test_the_servers_counters_are_those_of_the_measured_requests_only():
    written = []

    def script(n, _):
        written.append(n)
        return stream(5)

    pages = {"/metrics": lambda: METRICS % (1000 + 5 * len(written), 2 * len(written))}
    result, _ = run(script, workload("single", requests=4, warmup_requests=3), pages=pages)
    assert (result.trial.server_generated_tokens, result.trial.server_prefix_hit_tokens) == (20, 0)
    assert result.trial.server_preemptions == 8


def test_a_counter_that_a_restarted_server_begins_anew_is_not_believed():
    asked = []

    def script(n, _):
        asked.append(n)
        return stream(5)

    pages = {"/metrics": lambda: METRICS % (1000 - 100 * len(asked), 0)}
    result, _ = run(script, workload("single", requests=2), pages=pages)
    assert result.trial.server_generated_tokens is None


def test_a_server_without_counters_has_none():
    result, _ = run(quick, workload("single", requests=1))
    assert (result.trial.server_generated_tokens, result.trial.server_prefix_hit_tokens) == (None, None)
    assert result.trial.server_preemptions is None


_LOAD = """
import sys
import time
from loadgen.trial import run_trial
from loadgen.endpoint import Endpoint
from loadgen.energy.source import NoEnergy
from loadgen.prompts.synthetic import SyntheticPrompts
from loadgen.workloads.base import Workload
needs = {"concurrency": {"concurrency": 8}, "batch": {"batch_size": 8}, "constant": {"rate": 50}}[sys.argv[2]]
load = Workload.model_validate({"name": "w", "kind": sys.argv[2], "requests": 1000, "warmup_requests": 0, **needs})
try:
    run_trial(Endpoint(sys.argv[1], "m"), load, SyntheticPrompts(range(9), 4, 0), seed=0, energy=NoEnergy(""))
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.mark.parametrize("kind", ["concurrency", "batch", "constant"])
def test_an_interrupt_ends_it_at_once_and_closes_the_connections(kind):
    def script(*_):
        return [HEAD, *[step for n in range(1, 2000) for step in (chunked(token(usage=n)), 0.05)]]  # 100 s

    command = [sys.executable, "-W", "error", "-c", _LOAD]
    with (
        ScriptedServer(script) as server,
        subprocess.Popen([*command, server.url, kind], stderr=subprocess.PIPE, text=True) as process,
    ):
        while len(server.asked) < 8:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (130, "")
