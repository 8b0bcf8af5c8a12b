"""Servers that count reasoning in their usage and do not stream it: the tokens are known, their times are not."""

from __future__ import annotations

import json

import pytest

from loadgen.answers.sse import Answer
from loadgen.endpoint import Endpoint
from loadgen.energy.source import NoEnergy
from loadgen.metrics.latencies import record_tpot_ms
from loadgen.prompts.synthetic import FilePrompts
from loadgen.trial import run_trial
from reports.analysis.quantities import FIRST_REASONING, QUANTITIES
from tests.loadgen.made import MS, summary_of, workload
from tests.loadgen.scripted import END, HEAD, ScriptedServer, chunked, event

DONE = b"data: [DONE]\n\n"


def chunk(text=None, running=None, finish=None, reasoning=None):
    delta = {"content": text} if reasoning is None else {"reasoning_content": reasoning}
    usage = {} if running is None else {"usage": {"prompt_tokens": 3, "completion_tokens": running}}
    return event(choices=[{"index": 0, "delta": delta, "finish_reason": finish}], **usage)


def usage(total, reasoning):
    details = {"completion_tokens_details": {"reasoning_tokens": reasoning}}
    return event(choices=[], usage={"prompt_tokens": 3, "completion_tokens": total, **details})


def read(*parts):
    answer = Answer()
    for n, part in enumerate(parts, 1):
        answer.feed(n * MS, part)
    answer.settle()
    return answer


def test_its_tokens_are_counted_before_the_first_chunk_and_the_answer_begins_with_that():
    answer = read(chunk("a"), chunk("b"), chunk("c", finish="stop"), usage(103, 100), DONE)
    assert (answer.reasoning_tokens, answer.hidden_reasoning_tokens, answer.output_tokens) == (100, 100, 103)
    assert answer.arrival_tokens == [101, 102, 103]
    assert answer.first_answer_ns == answer.arrival_ns[0] == MS
    assert answer.incomplete is None


@pytest.mark.parametrize("running", [(101, 102, 103), (1, 2, 3)])
def test_a_running_count_with_or_without_it_comes_to_the_same(running):
    first, *others = running
    answer = read(chunk("a", first), *(chunk("b", n) for n in others), chunk(finish="stop"), usage(103, 100), DONE)
    assert (answer.reasoning_tokens, answer.hidden_reasoning_tokens, answer.output_tokens) == (100, 100, 103)
    assert answer.arrival_tokens == [101, 102, 103]


def test_chunks_of_several_tokens_share_only_what_was_shown():
    answer = read(chunk("a"), chunk("b", finish="stop"), usage(108, 100), DONE)
    assert answer.arrival_tokens == [104, 108]


def test_an_answer_of_nothing_else_says_why_it_has_no_tokens():
    answer = read(chunk("", finish="length"), usage(64, 64), DONE)
    assert (answer.reasoning_tokens, answer.first_answer_ns) == (64, None)
    assert answer.incomplete == "the answer had no tokens that were streamed, only 64 of reasoning that were not"


def test_an_answer_in_one_piece_with_reasoning_is_counted_too():
    message = {"role": "assistant", "reasoning_content": "hm", "content": "4"}
    whole = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    said = {"prompt_tokens": 3, "completion_tokens": 9, "completion_tokens_details": {"reasoning_tokens": 8}}
    answer = read(json.dumps(whole | {"usage": said}).encode())
    assert (answer.reasoning_tokens, answer.output_tokens, answer.arrival_tokens) == (8, 9, [9])


@pytest.mark.parametrize("reasoning", [0, None, 500, -1, "many"])
def test_a_count_that_is_none_or_above_all_tokens_is_passed_over(reasoning):
    answer = read(chunk("a"), chunk("b", finish="stop"), usage(2, reasoning), DONE)
    assert (answer.reasoning_tokens, answer.first_answer_ns, answer.arrival_tokens) == (None, None, [1, 2])


def test_reasoning_that_is_streamed_keeps_its_times():
    answer = read(chunk(reasoning="hm"), chunk("4", finish="stop"), usage(10, 6), DONE)
    assert (answer.reasoning_tokens, answer.arrival_ns[0], answer.first_answer_ns) == (6, MS, 2 * MS)


def measured(script):
    load = workload("single", requests=4, warmup_requests=0, output_tokens=13, natural_stop=True)
    with ScriptedServer(script) as server:
        endpoint = Endpoint(server.url, "m")
        return run_trial(endpoint, load, FilePrompts(["x"]), seed=0, energy=NoEnergy("not here"))


def thinks(*, streamed=()):
    """Ten tokens of reasoning, streamed in the requests named, and three of an answer, on a usage at the end alone."""

    def script(n, _):
        thought = [chunk(reasoning="hm") for _ in range(10)] if n in streamed else []
        steps = [chunked(each) for each in (*thought, chunk("a"), chunk("b"), chunk("c", finish="stop"), usage(13, 10))]
        return [0.01, HEAD, *(step for one in steps for step in (one, 0.02)), chunked(DONE) + END]

    return script


def test_its_share_is_reported_and_its_times_are_null_with_the_reason_while_the_answers_are_known():
    result = measured(thinks())
    summary = summary_of(result.trial, result.records)
    assert (summary["total_reasoning_tokens"], summary["reasoning_share"]) == (40, 40 / 52)
    assert {summary[f"{name}_first_reasoning_ms"] for name in ("mean", "median", "std", "p99")} == {None}
    assert summary["first_reasoning_reason"] == (
        "the server does not stream the reasoning of 4 of 4 requests that reasoned"
    )
    assert QUANTITIES[FIRST_REASONING].of(result.trial, result.metrics) == (None, summary["first_reasoning_reason"])
    assert summary["mean_first_answer_ms"] == summary["mean_ttft_ms"]
    for record in result.records:  # a time per token is over the three that came, each in a chunk of its own
        assert record_tpot_ms(record) == pytest.approx((record.last_token_ns - record.first_token_ns) / 2e6)
    assert summary["mean_tpot_ms"] == pytest.approx(sum(map(record_tpot_ms, result.records)) / 4)


def test_of_requests_of_both_kinds_only_those_that_streamed_have_a_first_reasoning_token():
    result = measured(thinks(streamed={1, 3}))
    summary = summary_of(result.trial, result.records)
    seen = [r.first_token_ns - r.sent_ns for r in result.records if r.hidden_reasoning_tokens is None]
    assert len(seen) == 2
    assert summary["mean_first_reasoning_ms"] == pytest.approx(sum(seen) / 2e6)
    assert "2 of 4 requests" in summary["first_reasoning_reason"]
    assert summary["total_reasoning_tokens"] == 40


def test_reasoning_that_was_all_streamed_has_no_such_reason():
    result = measured(thinks(streamed=range(4)))
    summary = summary_of(result.trial, result.records)
    assert summary["first_reasoning_reason"] is None
    assert summary["mean_first_reasoning_ms"] == summary["mean_ttft_ms"] < summary["mean_first_answer_ms"]
