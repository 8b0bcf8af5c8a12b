"""A mix: each request is of one part, with that part's lengths, prompts and objectives."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from loadgen.prompts.synthetic import make_prompts
from loadgen.records.schema import RequestRecord
from tests.loadgen.made import MS, record, summary_of, trial, workload

CHAT = {"name": "chat", "weight": 3, "prompt_tokens": 20, "output_tokens": 8, "slo_ttft_ms": "15ms"}
LONG = {"name": "long", "prompt_tokens": "uniform:50-60", "shared_prefix": 40, "slo_e2e_ms": 100}


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
    prompts = make_prompts(load, range(1000), seed=1)
    assert [len(prompts[index]) for index in range(-5, 50)] == [load.prompt_length(1, index) for index in range(-5, 50)]
    begun = {(load.part_number(1, index), tuple(prompts[index][:20])) for index in range(100)}
    assert sum(part == 1 for part, _ in begun) == 1
    assert sum(part == 0 for part, _ in begun) > 50


def test_groups_of_a_shared_prefix_are_the_workloads_or_a_parts_own():
    for load in (
        mix(parts=[CHAT, {**LONG, "prefix_groups": 3}]),
        mix(parts=[CHAT, LONG], prompt_tokens=50, shared_prefix=10, prefix_groups=3),
    ):
        prompts = make_prompts(load, range(1000), seed=1)
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
        ({"parts": [CHAT, {**LONG, "shared_prefix": 50, "prompt_tokens": 50}]}, "`shared_prefix` must be below"),
        ({"parts": [CHAT, {**LONG, "shared_prefix": 0, "prefix_groups": 2}]}, "`prefix_groups` needs `shared_prefix`"),
        ({"prompts": "chats.jsonl"}, "`prompts` cannot be combined with `parts`"),
    ],
)
def test_what_is_no_mix_is_named(other, said):
    with pytest.raises(ValidationError, match=said):
        mix(**other)


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
