"""What a server is warmed up with before Locust loads it."""

from __future__ import annotations

from loadgen.endpoint import Endpoint
from loadgen.locust.trial import warm_up
from loadgen.prompts.files import workload_prompts
from tests.loadgen.made import workload
from tests.loadgen.scripted import ScriptedServer, stream

PARTS = [
    {"name": "chat", "prompt_tokens": 5, "output_tokens": 2},
    {"name": "long", "prompt_tokens": 30, "output_tokens": 7},
]


def test_it_is_of_the_parts_of_a_mix_in_their_lengths():
    load = workload("mix", rate=5, parts=PARTS, warmup_requests=8)
    with ScriptedServer(lambda _, asked: stream(asked.body["max_tokens"])) as server:
        warmup = warm_up(Endpoint(server.url, "m"), load, workload_prompts(load, 1, lambda: range(100)), 1)
    asked = [(len(each.body["prompt"]), each.body["max_tokens"]) for each in server.asked]
    assert asked == [(load.prompt_length(1, -1 - n), load.answer_length(1, -1 - n)) for n in range(8)]
    assert set(asked) == {(5, 2), (30, 7)}
    assert warmup.requests == 8
