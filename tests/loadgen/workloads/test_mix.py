"""A mix: each request is of one part, with that part's lengths, prompts and objectives."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from loadgen.prompts.files import workload_prompts
from loadgen.records.schema import RequestRecord
from tests.loadgen.made import MS, record, summary_of, trial, workload

CHAT = {"name": "chat", "weight": 3, "prompt_tokens": 20, "output_tokens": 8, "slo_ttft_ms": "15ms"}
LONG = {"name": "long", "prompt_tokens": "uniform:50-60", "shared_prefix": 40, "slo_e2e_ms": 100}

STEADY = {"name": "steady", "kind": "constant", "rate": "4/s", "output_tokens": 3}
LOOP = {"name": "loop", "kind": "concurrency", "concurrency": 2, "prompt_tokens": 7}
TIMED = {"requests": None, "duration_s": 2}


def mix(**other):
    return workload("mix", **{"rate": 50.0, "parts": [CHAT, LONG], "output_tokens": 4, "requests": 2000, **other})


def test_requests_are_of_parts_by_weight_and_as_long_as_their_part_says():
    load = mix()
    numbers = [load.part_number(1, index) for index in range(2000)]
    assert numbers.count(0) == pytest.approx(1500, abs=80)
    asked = {(n, load.answer_length(1, index)) for index, n in enumerate(numbers)}
    assert asked == {(0, 8), (1, 4)}  # the second says nothing, and has the workload's
    lengths = {load.prompt_length(1, index) for index, n in enumerate(numbers) if n}
    assert lengths == set(range(50, 61))
    assert {load.prompt_length(1, index) for index, n in enumerate(numbers) if not n} == {20}


def test_prompts_are_as_long_as_the_workload_says_and_only_those_of_a_part_share_its_prefix():
    load = mix()
    prompts = workload_prompts(load, 1, lambda: range(1000))
    assert [len(prompts[index]) for index in range(-5, 50)] == [load.prompt_length(1, index) for index in range(-5, 50)]
    begun = {(load.part_number(1, index), tuple(prompts[index][:20])) for index in range(100)}
    assert sum(part == 1 for part, _ in begun) == 1
    assert sum(part == 0 for part, _ in begun) > 50


def test_groups_of_a_shared_prefix_are_the_workloads_or_a_parts_own():
    for load in (
        mix(parts=[CHAT, {**LONG, "prefix_groups": 3}]),
        mix(parts=[CHAT, LONG], prompt_tokens=50, shared_prefix=10, prefix_groups=3),
    ):
        prompts = workload_prompts(load, 1, lambda: range(1000))
        begun = {tuple(prompts[index][:10]) for index in range(200) if load.part_number(1, index)}
        assert len(begun) == 3


def test_a_mix_is_read_back_as_it_was_and_from_text_and_a_file(tmp_path):
    load = mix()
    assert type(load).model_validate_json(load.model_dump_json()) == load
    (tmp_path / "parts.json").write_text(json.dumps([CHAT, LONG]))
    assert mix(parts=json.dumps([CHAT, LONG])) == mix(parts=str(tmp_path / "parts.json")) == load


def test_a_changed_copy_of_a_mix_is_changed_in_its_parts(tmp_path):
    """As `run` changes workloads whose prompts must be text, and names of files that are relative to an experiment."""
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("prompt_tokens,output_tokens\n7,9\n")
    for load in (mix(), mix(parts=[{"name": "a"}, {"name": "b"}])):
        load.check()
        assert [part.prompt_as for part in load.model_copy(update={"prompt_as": "words"}).alone] == ["words", "words"]
        assert [part.prompt_as for part in load.alone] == ["ids", "ids"]
    copied = load.model_copy(update={"lengths": pairs})
    assert (copied.prompt_length(0, 0), copied.answer_length(0, 0)) == (7, 9)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"parts": [CHAT, CHAT]}, "two `parts` have the same name"),
        ({"parts": [CHAT]}, "at least 2"),
        ({"parts": "{"}, "is neither JSON like"),
        ({"parts": '["chat"'}, "is not JSON"),
        ({"parts": [CHAT, {**LONG, "wieght": 2}]}, "wieght"),
        (
            {"parts": [CHAT, {**LONG, "shared_prefix": 50, "prompt_tokens": 50}]},
            "part long: shared_prefix must be below prompt_tokens",
        ),
        (
            {"parts": [CHAT, {**LONG, "shared_prefix": 0, "prefix_groups": 2}]},
            "part long: prefix_groups needs shared_prefix",
        ),
        ({"prompts": "chats.jsonl"}, "`prompts` cannot be combined with `parts`"),
        ({"parts": [CHAT, {"name": "a", "kind": "sessions", "concurrency": 2}]}, "part a: kind 'sessions' is none of"),
        ({"parts": [CHAT, {"name": "a", "rate": 2}]}, "part a: rate needs a kind, one of constant"),
        ({**TIMED, "parts": [CHAT, {**STEADY, "weight": 2}]}, "part steady: weight is a share of the mix's rate"),
        ({**TIMED, "parts": [CHAT, {**STEADY, "kind": "burst"}]}, "part steady: a burst workload needs burstiness"),
        ({**TIMED, "parts": [CHAT, {**STEADY, "concurrency": 2}]}, "concurrency does not apply to a constant workload"),
        ({**TIMED, "rate": None, "parts": [CHAT, STEADY]}, "part chat has no kind of arrivals, so it needs the mix's"),
        ({**TIMED, "parts": [STEADY, LOOP]}, "`rate` is shared by the parts without a kind"),
        ({"parts": [CHAT, STEADY]}, "ends by `duration_s`, not by `requests`"),
        (
            {"parts": [CHAT, {"name": "a", "prompts": "a.jsonl", "shared_prefix": 3}]},
            "part a: prompts cannot be combined",
        ),
        ({"parts": [CHAT, {"name": "a", "output_tokens": "asked:9"}]}, "part a: output_tokens asked:… needs prompts"),
    ],
)
def test_what_is_no_mix_is_named(other, said):
    with pytest.raises(ValidationError, match=said):
        mix(**other)


def test_a_part_has_the_requests_that_it_has_alone_in_their_order():
    load = mix(parts=[CHAT, {**LONG, "prompt_tokens": "uniform:50-60"}])
    tokens = range(1000)
    prompts = workload_prompts(load, 1, lambda: tokens)
    for number, alone in enumerate(load.alone):
        seed = load.seed_of(1, number)
        own = workload_prompts(alone, seed, lambda: tokens)
        mine = [index for index in range(200) if load.part_number(1, index) == number]
        assert [prompts[index] for index in mine] == [own[n] for n in range(len(mine))]
        assert [load.answer_length(1, index) for index in mine] == [
            alone.answer_length(seed, n) for n in range(len(mine))
        ]


def test_parts_with_arrivals_of_their_own_come_beside_those_that_share_the_rate():
    load = mix(**TIMED, parts=[CHAT, STEADY, LONG, LOOP])
    assert [flow.part for flow in load.flows] == [None, 1, 3]  # numbers of requests go round them
    assert {load.part_number(0, index) for index in range(0, 300, 3)} == {0, 2}
    assert [load.place(0, index) for index in (1, 4, 7)] == [(1, 0), (1, 1), (1, 2)]
    assert [load.place(0, index) for index in (2, 5)] == [(3, 0), (3, 1)]
    assert [load.place(0, index)[1] for index in (-1, -2, -3, -4)] == [-1, -1, -1, -2]
    assert [flow.load.duration_s for flow in load.flows] == [2.0] * 3
    steady = {0.25 * n for n in range(8)}
    assert steady < set(load.arrivals(0))
    assert sorted(set(load.arrivals(0)) - steady) == list(mix(**TIMED, parts=[CHAT, LONG]).arrivals(0))


def test_a_mix_of_loops_alone_is_a_closed_one_and_one_that_is_never_steady_is_measured_whole():
    loops = mix(**TIMED, rate=None, parts=[LOOP, {**LOOP, "name": "other", "concurrency": 3}])
    assert (loops.open_loop, loops.in_flight, loops.window_cut) == (False, 5, "steady")
    assert (mix().open_loop, mix().in_flight, mix().window_cut) == (True, None, "steady")
    waves = {"name": "waves", "kind": "on-off", "rate": 5, "on_s": 1, "off_s": 1}
    assert mix(**TIMED, parts=[CHAT, waves]).window_cut == "whole"
    assert mix(**TIMED, parts=[CHAT, STEADY]).constant_rate == 54
    assert mix(**TIMED, parts=[CHAT, LOOP]).constant_rate is None


def test_a_mix_with_parts_of_every_arrival_is_read_back_and_described(tmp_path):
    trace = tmp_path / "azure.csv"
    trace.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n2024-01-01 00:00:00,7,9\n2024-01-01 00:00:01,8,3\n")
    parts = [
        CHAT,
        STEADY,
        LOOP,
        {"name": "replay", "kind": "trace", "trace": str(trace), "speed": 2},
        {"name": "bursts", "kind": "burst", "rate": 2, "burstiness": 0.3, "prompts": "chats.jsonl"},
        {"name": "waves", "kind": "on-off", "rate": 5, "on_s": "1s", "off_s": "500ms"},
    ]
    load = mix(**TIMED, parts=parts)
    assert type(load).model_validate_json(load.model_dump_json()) == load
    assert 0.5 in set(load.arrivals(0))  # the trace's second request, at twice its speed
    assert [load.answer_length(0, index) for index in (3, 3 + len(load.flows))] == [9, 3]
    said = load.describe()
    assert "100 % chat of 20 prompt and 8 output tokens" in said
    assert "loop: 2 requests in flight, 7 prompt and 4 output tokens" in said
    assert "replay: azure.csv replayed at 2 times its speed, prompts and outputs as long as recorded" in said
    assert "bursts: 2.0 requests/s in bursts (gamma gaps of shape 0.3), prompts of chats.jsonl, 4 output tokens" in said


def test_a_part_is_judged_by_its_own_objectives_and_has_its_own_figures():
    load = mix(requests=6)
    numbers = [load.part_number(0, index) for index in range(6)]
    assert {0, 1} <= set(numbers)
    # A chat's first token comes after 10 or 20 ms, a long one's after 50: late for a chat, in time for what it is.
    first = [50 if n else 10 + 10 * (index % 2) for index, n in enumerate(numbers)]
    records = [record(index, 0, ttft, ttft + 20) for index, ttft in enumerate(first)]
    summary = summary_of(trial(0, 200, load=load), records, [])
    chat, long = summary["parts"]
    in_time = [ttft == 10 for ttft, n in zip(first, numbers, strict=True) if not n]
    assert (chat["part"], chat["requests"], chat["good_share"]) == ("chat", len(in_time), sum(in_time) / len(in_time))
    assert (long["part"], long["requests"], long["good_share"]) == ("long", sum(numbers), 1.0)
    assert (long["mean_ttft_ms"], long["mean_e2el_ms"]) == (50, 70)
    assert summary["request_goodput"] == pytest.approx((sum(in_time) + sum(numbers)) / 0.2)


def test_what_a_server_refuses_after_it_has_died_was_not_in_time_though_the_window_ends_before():
    load = mix(requests=40)
    answered = [record(index, 10 * index, 10 * index + 10, 10 * index + 20) for index in range(10)]
    refused = [
        RequestRecord(f"0-{n}", n, n, 10 * n * MS, end_ns=(10 * n + 1) * MS, error="no connection: refused")
        for n in range(12, 40)
    ]
    summary = summary_of(trial(0, 115, load=load), answered + refused)
    for number, part in enumerate(summary["parts"]):
        asked = [r.error is None for r in answered + refused if load.part_number(0, r.index) == number]
        assert part["good_share"] == pytest.approx(sum(asked) / len(asked))
        assert part["good_share"] < 0.5


def test_a_load_that_is_no_mix_has_no_parts():
    assert "parts" not in summary_of(trial(0, 100), [record(0, 0, 10, 30)], [])
