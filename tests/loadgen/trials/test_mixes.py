"""Mixes offered for real: each part has what it has alone, its own prompts and its own arrivals."""

from __future__ import annotations

import json

import pytest

from loadgen.endpoint import Endpoint
from loadgen.energy.source import NoEnergy
from loadgen.prompts.files import input_notes, workload_prompts
from loadgen.trial import run_trial
from reports.statistics.ratios import geometric_mean, verdict_of
from tests.loadgen.made import summary_of, workload
from tests.loadgen.scripted import ScriptedServer, stream

CHAT = {"prompt_tokens": 6, "output_tokens": 4, "slo_ttft_ms": 700}
LONG = {"prompt_tokens": 40, "output_tokens": 16, "slo_e2e_ms": "60s"}
POOL = range(100, 200)
FAST_S, SLOW_S, TOKEN_S = 0.1, 0.8, 0.02
MARGIN, SURE = 0.1, 0.999


def fixed(_, asked):
    """Delays that the prompt alone decides: a first token is late for a chat after half of the prompts."""
    return stream(
        asked.body["max_tokens"], first_s=SLOW_S if is_slow(asked.body["prompt"]) else FAST_S, token_s=TOKEN_S
    )


def is_slow(prompt):
    return prompt[0] % 2 == 1


def offered(load, prompts, server, **settings):
    result = run_trial(Endpoint(server.url, "m"), load, prompts, seed=1, energy=NoEnergy("not here"), **settings)
    assert {r.error for r in result.records} == {None}
    return result


def records_of(mixed, part):
    load = mixed.trial.workload
    return [r for r in mixed.records if load.part_number(mixed.trial.seed, r.index) == part]


@pytest.fixture(scope="module")
def rounds():
    """Twice a mix of two and each of its parts alone with as many of the same requests: mix, parts, parts, mix."""
    mix = workload("mix", rate=60.0, requests=24, parts=[{"name": "chat", **CHAT}, {"name": "long", **LONG}])
    prompts = workload_prompts(mix, 1, lambda: POOL)
    counts = [sum(mix.part_number(1, index) == part for index in range(24)) for part in range(2)]
    loads = [workload("poisson", rate=60.0, requests=n, **own) for n, own in zip(counts, (CHAT, LONG), strict=True)]
    with ScriptedServer(fixed) as server:

        def alone():
            return [offered(load, own, server) for load, own in zip(loads, prompts.parts, strict=True)]

        first = offered(mix, prompts, server), alone()
        second = alone(), offered(mix, prompts, server)
    return [first, second[::-1]]


@pytest.mark.slow
@pytest.mark.parametrize("part", [0, 1])
def test_a_part_of_a_mix_is_reported_as_it_is_alone(rounds, part):
    for mixed, alone in rounds:
        summary, own = summary_of(mixed.trial, mixed.records)["parts"][part], alone[part]
        of_own = summary_of(own.trial, own.records)
        # Counts, tokens and verdicts exactly: the same requests were judged by the same objectives.
        prompts = workload_prompts(mixed.trial.workload, 1, lambda: POOL).parts[part]
        in_time = [part == 1 or not is_slow(prompts[n]) for n in range(len(own.records))]
        assert sum(in_time) > 0
        assert (in_time.count(False) > 0) == (part == 0)
        assert summary["requests"] == of_own["completed"] == len(in_time)
        assert summary["mean_prompt_tokens"] == of_own["total_input_tokens"] / len(in_time)
        assert summary["good_share"] == own.metrics.good_share() == sum(in_time) / len(in_time)
        for mine, its in zip(records_of(mixed, part), own.records, strict=True):
            for name in ("asked_tokens", "prompt_tokens", "output_tokens", "arrival_tokens", "finish_reason"):
                assert getattr(mine, name) == getattr(its, name)


@pytest.mark.slow
@pytest.mark.parametrize("part", [0, 1])
def test_a_parts_latencies_are_those_of_its_own_records_to_the_last_digit(rounds, part):
    for mixed, alone in rounds:
        summary = summary_of(mixed.trial, mixed.records)["parts"][part]
        apart = summary_of(
            mixed.trial.model_copy(update={"workload": alone[part].trial.workload}), records_of(mixed, part)
        )
        for name in ("ttft", "tpot", "e2el"):
            for which in ("mean", "median", "std", "p99"):
                assert summary[f"{which}_{name}_ms"] == apart[f"{which}_{name}_ms"]


def took_ns(record):
    """To the first token, to the last, and between them."""
    return (
        record.first_token_ns - record.sent_ns,
        record.last_token_ns - record.sent_ns,
        record.last_token_ns - record.first_token_ns,
    )


@pytest.mark.slow
@pytest.mark.parametrize("part", [0, 1])
def test_request_by_request_a_part_takes_as_long_as_alone_within_the_noise_of_the_pairs(rounds, part):
    """The server's delays are fixed, so that a pair differs by noise; what the noise is, the pairs say themselves."""
    pairs = [
        zip(took_ns(mine), took_ns(its), strict=True)
        for mixed, alone in rounds
        for mine, its in zip(records_of(mixed, part), alone[part].records, strict=True)
    ]
    for ratios in zip(*([mine / its for mine, its in pair] for pair in pairs), strict=True):
        found = geometric_mean(ratios, SURE)
        assert verdict_of(found.low, found.high, "lower", margin=MARGIN) in {"equivalent", "undecided"}


def file_of(folder, name, rows):
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(folder / name)


def asked_of(server, kind):
    return [one for one in server.asked if kind in one.body]


@pytest.mark.parametrize("processes", [1, 2])
def test_parts_bring_their_own_prompts_and_each_has_its_objectives(tmp_path, processes):
    chats = [{"messages": [{"role": "user", "content": f"chat {n}"}]} for n in range(100)]
    lines = [{"body": {"prompt": f"line {n}", "max_tokens": 3, "top_p": 0.5}} for n in range(100)]
    parts = [
        {"name": "chat", "prompts": file_of(tmp_path, "chats.jsonl", chats), "output_tokens": 2, "slo_e2e_ms": "60s"},
        {"name": "line", "prompts": file_of(tmp_path, "lines.jsonl", lines), "slo_ttft_ms": 1e-6},
        {"name": "made", "prompt_tokens": 5, "output_tokens": 4},
    ]
    load = workload("mix", rate=200.0, requests=40, warmup_requests=0, parts=parts)
    assert input_notes(load) == ()
    with ScriptedServer(lambda _, asked: stream(asked.body["max_tokens"])) as server:
        result = offered(load, workload_prompts(load, 1, lambda: POOL), server, processes=processes)
    counts = [sum(load.part_number(1, n) == part for n in range(40)) for part in range(3)]
    spoken = [one.body["messages"][0]["content"] for one in asked_of(server, "messages")]
    written = [one.body for one in asked_of(server, "prompt") if isinstance(one.body["prompt"], str)]
    assert sorted(spoken, key=lambda text: int(text.split()[1])) == [f"chat {n}" for n in range(counts[0])]
    assert sorted(int(body["prompt"].split()[1]) for body in written) == list(range(counts[1]))
    assert {(body["max_tokens"], body["top_p"]) for body in written} == {(3, 0.5)}
    assert {one.head.split()[1] for one in asked_of(server, "messages")} == {"/v1/chat/completions"}
    asked = {(load.part_number(1, r.index), r.asked_tokens, r.output_tokens) for r in result.records}
    assert asked == {(0, 2, 2), (1, 3, 3), (2, 4, 4)}
    shares = [part["good_share"] for part in summary_of(result.trial, result.records)["parts"]]
    assert shares[:2] == [1.0, 0.0]
    forms = result.trial.part_forms
    assert [form.path for form in forms] == ["/v1/chat/completions", "/v1/completions", "/v1/completions"]
    assert ["top_p" in form.keys for form in forms] == [False, True, False]


@pytest.mark.parametrize("processes", [1, 2])
def test_parts_with_arrivals_of_their_own_come_by_their_own_schedules_and_loops(tmp_path, processes):
    trace = file_of(
        tmp_path, "trace.jsonl", [{"timestamp": 100 * n, "input_length": 9, "output_length": 3} for n in range(4)]
    )
    parts = [
        {"name": "shared", "prompt_tokens": 5, "output_tokens": 2},
        {"name": "even", "kind": "constant", "rate": 20, "prompt_tokens": 6, "output_tokens": 2},
        {"name": "replay", "kind": "trace", "trace": trace, "speed": 2},
        {"name": "loop", "kind": "concurrency", "concurrency": 3, "prompt_tokens": 7, "output_tokens": 2},
    ]
    load = workload("mix", rate=30.0, duration_s=0.5, warmup_requests=4, parts=parts)
    with ScriptedServer(lambda _, asked: stream(asked.body["max_tokens"], first_s=0.01, token_s=0.01)) as server:
        result = offered(load, workload_prompts(load, 1, lambda: POOL), server, processes=processes)
    warmed = [len(one.body["prompt"]) for one in server.asked[: result.trial.warmup.requests]]
    assert set(warmed) == {5, 6, 7, 9}  # one of each
    indices = [r.index for r in result.records]
    assert indices == sorted(set(indices))
    shared, even, replay, loop = (records_of(result, part) for part in range(4))
    assert [{r.prompt_tokens for r in each} for each in (shared, even, replay, loop)] == [{3}] * 4  # as the script says
    assert {r.asked_tokens for r in replay} == {3}
    start = even[0].scheduled_ns
    assert [round((r.scheduled_ns - start) / 1e6) for r in even] == [50 * n for n in range(10)]
    assert [round((r.scheduled_ns - start) / 1e6) for r in replay] == [0, 50, 100, 150]
    due = list(load.flows[0].load.arrivals(1))
    assert [round((r.scheduled_ns - start) / 1e3) for r in shared] == [round(at * 1e6) for at in due]
    assert len(loop) > 3
    assert max_in_flight(loop) <= 3
    summary = summary_of(result.trial, result.records)
    assert [part["requests"] for part in summary["parts"]] == [len(each) for each in (shared, even, replay, loop)]


def max_in_flight(records):
    moments = sorted([(r.sent_ns, 1) for r in records] + [(r.end_ns, -1) for r in records])
    most = now = 0
    for _, change in moments:
        now += change
        most = max(most, now)
    return most
