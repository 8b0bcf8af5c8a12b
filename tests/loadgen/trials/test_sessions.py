"""Sessions: turns that wait for their answers and carry on what was said."""

from __future__ import annotations

import itertools
import json
from collections import defaultdict

import pytest

from loadgen.endpoint import Endpoint, LoadError
from loadgen.energy.source import NoEnergy
from loadgen.prompts.files import file_prompts, input_notes
from loadgen.prompts.sessions import in_turns, plan_sessions
from loadgen.prompts.synthetic import make_prompts
from loadgen.trial import run_trial
from tests.loadgen.made import record, summary_of, trial, workload
from tests.loadgen.scripted import END, HEAD, ScriptedServer, chunked, event, sized

SAID = [
    {"role": "system", "content": "be brief"},
    {"role": "user", "content": "one"},
    {"role": "assistant", "content": "recorded one"},
    {"role": "user", "content": "two"},
    {"role": "assistant", "content": "recorded two"},
    {"role": "user", "content": "three"},
]


def answer(n, _=None):
    """Its own text, of two chunks, and a usage that says what the cache had."""
    chunks = [event(choices=[{"index": 0, "delta": {"content": text}}]) for text in (f"answer {n}", "!")]
    chunks.append(event(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}]))
    usage = {"prompt_tokens": 20, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 15}}
    end = chunked(event(choices=[], usage=usage)) + chunked(b"data: [DONE]\n\n") + END
    return [0.01, HEAD, *map(chunked, chunks), 0.01, end]


def load_of(**other):
    given = {"prompt_as": "words", "prompt_tokens": 4, "output_tokens": 2, "warmup_requests": 0}
    given |= {} if "rate" in other else {"concurrency": 2}
    return workload("sessions", **(given | other))


def held(load, *, script=answer, processes=1, prompts=None):
    with ScriptedServer(script, pages={}) as server:
        prompts = prompts or make_prompts(load, (), 0)
        endpoint, nothing = Endpoint(server.url, "m"), NoEnergy("not here")
        return run_trial(endpoint, load, prompts, seed=0, energy=nothing, processes=processes), server.asked


def file_of(tmp_path, rows, **other):
    file = tmp_path / "chats.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return workload("sessions", concurrency=1, warmup_requests=0, prompts=str(file), output_tokens=2, **other)


def by_session(records):
    found = defaultdict(list)
    for each in records:
        found[each.group].append(each)
    return found


@pytest.mark.parametrize("processes", [1, 2])
def test_each_turn_is_sent_when_the_last_was_answered_and_a_session_begun_is_finished(processes):
    result, asked = held(load_of(requests=7, turns=3), processes=processes)
    assert len(asked) == 9  # the third session has one turn within the seven
    sessions = by_session(result.records)
    assert sorted(sessions) == [0, 1, 2]
    for number, turns in sessions.items():
        assert [(r.index, r.turn, r.error) for r in turns] == [(3 * number + n, n, None) for n in range(3)]
        assert all(a.end_ns <= b.sent_ns for a, b in itertools.pairwise(turns))


def test_the_servers_own_answers_are_carried_on():
    _, asked = held(load_of(concurrency=1, requests=3, turns=3))
    first, second, third = (one.body["messages"] for one in asked)
    assert [len(one) for one in (first, second, third)] == [1, 3, 5]
    assert second[:1] == first
    assert second[1] == {"role": "assistant", "content": "answer 0!"}
    assert third[:3] == second
    assert third[3] == {"role": "assistant", "content": "answer 1!"}
    assert len(third[4]["content"].split()) == 4


@pytest.mark.parametrize("processes", [1, 2])
def test_long_answers_of_many_sessions_come_back_each_to_its_own(processes):
    texts = {}

    def script(n, asked):
        texts[n] = f"{n} \N{PILE OF POO} " * 2000
        end = chunked(event(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}])) + chunked(
            b"data: [DONE]\n\n"
        )
        halves = (event(choices=[{"index": 0, "delta": {"content": half}}]) for half in (texts[n][:9], texts[n][9:]))
        return [HEAD, *map(chunked, halves), end + END]

    _, asked = held(load_of(concurrency=16, requests=48, turns=3), script=script, processes=processes)
    assert len(asked) == 48
    firsts = {one.body["messages"][0]["content"]: n for n, one in enumerate(asked) if len(one.body["messages"]) == 1}
    for one in asked:
        first, *rest = one.body["messages"]
        if rest:
            assert rest[0] == {"role": "assistant", "content": texts[firsts[first["content"]]]}


def test_a_files_conversations_are_held_with_its_answers_or_the_servers(tmp_path):
    for carry, said in (("recorded", "recorded one"), ("answers", "answer 0!")):
        load = file_of(tmp_path, [{"messages": SAID}], requests=3, carry=carry)
        _, asked = held(load, prompts=file_prompts(load))
        assert asked[0].body["messages"] == SAID[:2]
        assert asked[1].body["messages"] == [*SAID[:2], {"role": "assistant", "content": said}, SAID[3]]


def test_a_batch_file_of_openais_holds_conversations_too(tmp_path):
    load = file_of(tmp_path, [{"custom_id": "1", "body": {"model": "x", "messages": SAID}}])
    assert file_prompts(load).session(0).turns[0].asked == SAID[:2]


def test_sharegpts_conversations_begin_where_a_user_speaks(tmp_path):
    turns = [("gpt", "hello"), ("human", "a"), ("gpt", "b"), ("gpt", "c"), ("human", "d")]
    row = {"conversations": [{"from": who, "value": text} for who, text in turns]}
    conversation = file_prompts(file_of(tmp_path, [row], requests=1)).session(0)
    assert [[m["content"] for m in turn.asked] for turn in conversation.turns] == [["a"], ["d"]]
    assert [[m["content"] for m in turn.recorded] for turn in conversation.turns] == [["b", "c"], []]


def test_sessions_of_a_rate_begin_on_schedule_whatever_is_answered():
    result, _ = held(load_of(rate=50.0, requests=6, turns=2))
    first = [turns[0] for turns in by_session(result.records).values()]
    starts = list(itertools.islice(result.trial.workload.session_starts(0), 3))
    begun = result.trial.first_sent_ns
    assert len(first) == 3
    gaps = [(r.scheduled_ns - first[0].scheduled_ns) / 1e9 for r in first]
    assert gaps == pytest.approx([at - starts[0] for at in starts], abs=1e-6)
    assert all(r.sent_ns >= r.scheduled_ns for r in first)
    assert begun == first[0].sent_ns


def test_a_user_thinks_between_an_answer_and_the_next_turn():
    result, _ = held(load_of(concurrency=1, requests=4, turns=4, think_time_s=0.05))
    for before, after in itertools.pairwise(result.records):
        assert after.scheduled_ns - before.end_ns == 50_000_000
        assert after.sent_ns >= after.scheduled_ns
    drawn = load_of(requests=1, think_time_s=2, thinking="exponential")
    mean = sum(drawn.think_s(0, n) for n in range(4000)) / 4000
    assert mean == pytest.approx(2, rel=0.1)


REFUSED = [sized(b'{"error": {"message": "too long"}}', "400 Bad Request")]
BROKEN_OFF = [HEAD, *map(chunked, [event(error={"message": "out of memory"}), b"data: [DONE]\n\n"]), END]


@pytest.mark.parametrize("failure", [REFUSED, BROKEN_OFF])
def test_a_session_ends_with_the_turn_that_failed_and_the_next_begins(failure):
    result, asked = held(
        load_of(concurrency=1, requests=6, turns=3), script=lambda n, _: failure if n == 1 else answer(n)
    )
    assert [(r.group, r.turn, r.error is None) for r in result.records] == [
        (0, 0, True), (0, 1, False), (1, 0, True), (1, 1, True), (1, 2, True),
    ]  # fmt: skip
    assert len(asked) == 5


def test_a_session_of_a_batch_line_has_its_keys_and_its_length_in_every_turn(tmp_path):
    line = {"body": {"messages": SAID, "temperature": 0.3, "max_tokens": 5}}
    load = workload(
        "sessions", concurrency=1, requests=3, warmup_requests=0, prompts=file_of(tmp_path, [line], requests=3).prompts
    )
    result, asked = held(load, prompts=file_prompts(load))
    assert [(one.body["temperature"], one.body["max_tokens"]) for one in asked] == [(0.3, 5)] * 3
    assert [r.asked_tokens for r in result.records] == [5] * 3


def test_a_recorded_session_ends_too(tmp_path):
    load = file_of(tmp_path, [{"messages": SAID}], carry="recorded", requests=3)
    result, _ = held(load, script=lambda n, _: BROKEN_OFF if n == 1 else answer(n), prompts=file_prompts(load))
    assert [r.error for r in result.records] == [None, "out of memory"]


def test_no_session_begins_after_the_time_is_up():
    result, _ = held(load_of(duration_s=0.3, turns=2))
    sessions = by_session(result.records)
    assert all(len(turns) == 2 for turns in sessions.values())
    last = max(turns[0].sent_ns for turns in sessions.values())
    assert last - result.trial.first_sent_ns <= 0.3e9 + 1e8


def test_the_summary_has_every_turn_and_the_share_that_the_cache_had():
    result, _ = held(load_of(requests=4, turns=2))
    summary = summary_of(result.trial, result.records)
    assert [(t["turn"], t["requests"], t["failed"], t["cached_share"]) for t in summary["turns"]] == [
        (1, 2, 0, 0.75), (2, 2, 0, 0.75),
    ]  # fmt: skip
    assert (summary["total_cached_tokens"], summary["cached_share"]) == (60, 0.75)
    assert summary["turns"][1]["mean_prompt_tokens"] == 20


@pytest.mark.parametrize(("said", "share"), [({}, 0.3), ({"cached_tokens": 1}, 0.2)])
def test_the_engines_counter_says_what_the_cache_had_where_the_usage_does_not(said, share):
    records = [record(n, n, n + 1, n + 2, turn=n, **said) for n in range(2)]  # of 5 prompt tokens each
    cut = trial(0, 10, load=load_of(requests=2)).model_copy(update={"server_prefix_hit_tokens": 3})
    summary = summary_of(cut, records)
    assert (summary["cached_share"], summary["total_cached_tokens"]) == (share, 10 * share)


def test_a_plan_has_as_many_sessions_as_hold_the_requests(tmp_path):
    sessions = file_prompts(file_of(tmp_path, [{"messages": SAID}, {"messages": SAID[:2]}], requests=1))
    assert list(plan_sessions(sessions, 8)) == [(0, 0), (1, 3), (2, 4), (3, 7)]
    assert sessions.session(2).turns[0].asked[0]["content"] == "(1) be brief"


@pytest.mark.parametrize(
    ("rows", "other", "said"),
    [
        ([{"prompt": "x"}], {}, "entry 1: has a turn without from and value"),
        ([{"messages": [{"role": "assistant", "content": "x"}]}], {}, "holds no conversations"),
    ],
)
def test_a_file_that_holds_no_conversation_is_named(tmp_path, rows, other, said):
    load = file_of(tmp_path, rows, requests=1, **other)
    with pytest.raises(LoadError, match=said):
        input_notes(load)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"concurrency": 1, "rate": 2.0}, "exactly one of"),
        ({}, "exactly one of"),
        ({"concurrency": 1, "carry": "recorded"}, "needs `prompts`"),
        ({"concurrency": 1, "endpoint": "completions"}, "chat"),
        ({"concurrency": 1, "shared_prefix": 3}, "shared_prefix"),
    ],
)
def test_fields_that_contradict_each_other_are_refused(fields, said):
    with pytest.raises(ValueError, match=said):
        workload("sessions", **fields)


def test_a_conversation_without_a_user_is_none():
    with pytest.raises(ValueError, match="no user"):
        in_turns({"messages": [{"role": "system", "content": "x"}]})
